# SPDX-License-Identifier: Apache-2.0
"""Baking a plate of 24 channels with all its layers against writing the same files alone, and the peak of memory.

`python benchmarks/layers.py [FRAMES [WIDTH HEIGHT]]`: a beauty of RGBA, five light groups and normals, half; depth,
float; ids, uint32; all of it moving. Writing alone is `exr.write_parts` of finished parts, one file after another.
"""

import shutil
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
from bake import peak_megabytes

from loopcore import Loop, MotionField, read_plate
from loopcore.baking.bake import bake
from loopcore.exr import ExrPart, write_parts
from loopcore.parallel import thread_count

LIGHTS = 5


def write_still(path: Path, width: int, height: int) -> None:
    """A grainy 1/f picture, split among lights, with data beside it."""
    random = np.random.default_rng(3)
    light = 0.02 * random.random((height, width, 3), dtype=np.float32)
    for octave in range(2, 10):
        size = 2**octave
        noise = random.random((height // size + 2, width // size + 2, 3), dtype=np.float32)
        light += np.kron(noise, np.ones((size, size, 1), np.float32))[:height, :width] * size / 1024
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    channels = {"A": np.ones((height, width), np.float16), "Z": 10 + y / 100 + np.sin(x / 90)}
    channels["objectid"] = (x // 64 + 100 * (y // 64)).astype(np.uint32)
    for k, name in enumerate("RGB"):
        channels[name] = light[..., k].astype(np.float16)
        for group in range(LIGHTS):
            share = np.float32(1 / LIGHTS) * (1 + np.float32(0.5) * np.sin(x / 200 + 2 * np.pi * group / LIGHTS))
            channels[f"light{group}.{name}"] = (share * light[..., k]).astype(np.float16)
    for name, values in zip("XYZ", (np.sin(x / 300), np.cos(y / 300), np.ones_like(x)), strict=True):
        channels[f"N.{name}"] = values.astype(np.float16)
    window = (0, 0, width - 1, height - 1)
    write_parts(path, [ExrPart("", channels, window, window, 1.0, "zip")])


def motion(width: int, height: int) -> MotionField:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    velocity = np.stack([1.5 * np.sin(y / 300), 4 + np.cos(x / 400)], -1).astype(np.float32)
    return MotionField(velocity, np.ones((height, width), np.float32), np.ones((height, width), np.float32))


class Clock:
    """Seconds by the clock and of all threads' CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __call__(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def stages(loop: Loop, path: Path) -> dict[str, float]:
    """CPU seconds of each stage of a frame, the second time."""
    canvas, seconds = loop.canvas(np.float16), dict[str, float]()
    parts = loop.carried(30, canvas)
    jobs = {
        "render the picture": lambda: loop.render(30, canvas),
        "carry the layers": lambda: loop.carried(30, canvas, parts),
        "checksum": lambda: [zlib.crc32(v.data) for part in parts for v in part.channels.values()],
        "write alone": lambda: write_parts(path, parts),
    }
    for name, job in jobs.items():
        job()
        clock = Clock()
        job()
        seconds[name] = clock()[1]
    return seconds


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    width, height = map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (3840, 2160)
    folder = Path(tempfile.mkdtemp())
    try:
        write_still(folder / "still.exr", width, height)
        plate = read_plate(folder / "still.exr", layers="all")
        assert plate.layers is not None
        loop = Loop(plate, motion(width, height))
        bake(loop, folder, "warm", numbers=[1001])
        clock = Clock()
        bake(loop, folder, "bench", numbers=range(1010, 1010 + count))
        ours = [seconds / count for seconds in clock()]
        peak = peak_megabytes()
        canvas = loop.canvas(np.float16)
        loop.render(30, canvas)
        parts = loop.carried(30, canvas)
        clock = Clock()
        for k in range(count):
            write_parts(folder / f"alone.{k}.exr", parts)
        alone = [seconds / count for seconds in clock()]
        table = stages(loop, folder / "stages.exr")
    finally:
        shutil.rmtree(folder)
    print(f"{width}x{height}, {sum(len(part.channels) for part in parts)} channels, {thread_count()} threads")
    for name, seconds, other in zip(("by the clock", "CPU time"), ours, alone, strict=True):
        print(f"  bake {seconds:7.3f} s a frame, writing alone {other:7.3f} s: {seconds / other:5.2f} x {name}")
    for name, value in table.items():
        print(f"    {name:<20}{value:7.3f} s of CPU time")
    print(f"  peak memory {peak:.0f} MB, the plate's pixels {plate.layers.nbytes / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
