# SPDX-License-Identifier: Apache-2.0
"""Exporting 3840 x 2160 ST maps against writing the same bytes with the OpenEXR binding: ``flow_export.py [FRAMES]``.

The binding writes arrays that are ready, as float32 ZIP, one file after another; we also compute them. Both sides end
with every byte on the disk. A frame is three files: past, future and weights. A few frames of the 60 (6 by default)
tell the ratio of all, which would be 18 GB of pixels.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from loopcore.flowmap import Settings, export_flow
from loopcore.motion.field import MotionField
from loopcore.transport._bands import thread_count

HEIGHT, WIDTH, LENGTH, LIMIT = 2160, 3840, 60, 1.3


def whirl() -> MotionField:
    """Water-like motion up to 4 pixels a frame in the lower two thirds of the frame."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    velocity = np.stack([2 + np.sin(y / 90) + 0.5 * np.sin(x / 37), 1.5 * np.cos(x / 210)], axis=-1)
    mask = np.clip((y - HEIGHT / 3) / 40, 0, 1)
    return MotionField(velocity, mask, np.ones_like(mask))


def plain_write(path: Path, channels: dict[str, np.ndarray]) -> float:
    import OpenEXR

    start = time.perf_counter()
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, dict(channels)).write(str(path))
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - start


def export(motion: MotionField, folder: Path, numbers: list[int]) -> float:
    start = time.perf_counter()
    export_flow(motion, folder, "stmap", settings=Settings(frames=LENGTH, numbers=numbers))
    return time.perf_counter() - start


def read(path: Path) -> dict[str, np.ndarray]:
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.channels().items()}


def main() -> None:
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    numbers = [1001 + k * LENGTH // frames for k in range(frames)]
    motion = whirl()
    plain = size = 0.0
    with tempfile.TemporaryDirectory(prefix="loopcore-") as text:
        folder = Path(text)
        export(motion, folder, [1002])  # compile the kernels
        ours = export(motion, folder, numbers)
        for made in sorted(folder.glob("*.exr")):
            channels = read(made)
            size += sum(a.nbytes for a in channels.values())
            made.unlink()
            plain += plain_write(made, channels)
    print(f"STMaps {WIDTH}x{HEIGHT}, {frames} of {LENGTH} frames, {size / 1e9:.2f} GB, {thread_count()} threads")
    print(f"  loopcore export                {ours:8.2f} s")
    print(f"  OpenEXR binding, pixels ready  {plain:8.2f} s")
    print(f"  ratio {ours / plain:.2f} (at most {LIMIT})")
    if ours > LIMIT * plain:
        sys.exit(1)


if __name__ == "__main__":
    main()
