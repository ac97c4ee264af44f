# SPDX-License-Identifier: Apache-2.0
"""Exporting 3840 x 2160 ST maps against writing the same bytes with the OpenEXR binding: ``flow_export.py [ROUNDS]``.

The binding writes arrays that are ready, as float32 ZIP, one file after another; we also compute them. Both sides end
with every byte on the disk. A frame is three files: past, future and weights. A few frames of the 60, three and three
from either side in turn, tell the ratio of all, which would be 18 GB of pixels.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from loopcore.flowmap import FlowSettings, export_flow
from loopcore.motion.field import MotionField
from loopcore.parallel import thread_count

HEIGHT, WIDTH, LENGTH, LIMIT, EACH = 2160, 3840, 60, 1.3, 3


def whirl() -> MotionField:
    """Water-like motion up to 4 pixels a frame in the lower two thirds of the frame."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    velocity = np.stack([2 + np.sin(y / 90) + 0.5 * np.sin(x / 37), 1.5 * np.cos(x / 210)], axis=-1)
    mask = np.clip((y - HEIGHT / 3) / 40, 0, 1)
    return MotionField(velocity, mask, np.ones_like(mask))


def plain_write(path: Path, channels: dict[str, np.ndarray]) -> np.ndarray:
    import OpenEXR

    start = clock()
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, dict(channels)).write(str(path))
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return clock() - start


def clock() -> np.ndarray:
    """Seconds by the clock, and of processors; the second hardly minds what else the machine does."""
    return np.array([time.perf_counter(), time.process_time()])


def export(motion: MotionField, folder: Path, numbers: list[int]) -> np.ndarray:
    start = clock()
    settings = FlowSettings(frames=LENGTH, numbers=numbers, cycles=1, steady=0)
    export_flow(motion, folder, "stmap", settings=settings)
    return clock() - start


def read(path: Path) -> dict[str, np.ndarray]:
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.channels().items()}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    motion, ours, plain, size = whirl(), [], [], 0
    with tempfile.TemporaryDirectory(prefix="loopcore-") as text:
        folder = Path(text)
        export(motion, folder, [1002])  # compile the kernels
        for k in range(rounds):
            numbers = [1001 + (k * EACH + i) * LENGTH // (rounds * EACH) for i in range(EACH)]
            for path in folder.glob("*.exr"):
                path.unlink()
            ours.append(export(motion, folder, numbers))
            plain.append(np.zeros(2))
            for path in sorted(folder.glob("*.exr")):
                channels = read(path)
                size += sum(a.nbytes for a in channels.values())
                path.unlink()
                plain[-1] += plain_write(path, channels)
    print(f"STMaps {WIDTH}x{HEIGHT}, {rounds} times {EACH} frames, {size / 1e9:.2f} GB, {thread_count()} threads")
    seconds = [np.median(times, axis=0) / EACH for times in (ours, plain)]
    ratios = np.median([a / b for a, b in zip(ours, plain, strict=True)], axis=0)
    print("  a frame                            clock  processors")
    for name, (wall, work) in zip(("loopcore export", "OpenEXR binding, pixels ready"), seconds, strict=True):
        print(f"  {name:<30}{wall:8.2f} s {work:8.2f} s")
    print(f"  ratio                         {ratios[0]:8.2f}   {ratios[1]:8.2f}     (by the clock at most {LIMIT})")
    if ratios[0] > LIMIT:
        sys.exit(1)


if __name__ == "__main__":
    main()
