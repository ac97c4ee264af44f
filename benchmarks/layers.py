# SPDX-License-Identifier: Apache-2.0
"""Baking a plate of 24 channels with all its layers against writing the same files alone, and the peak of memory.

`python benchmarks/layers.py [FRAMES [WIDTH HEIGHT]]`: a beauty of RGBA, five light groups and normals, half; depth,
float; ids, uint32; all of it moving. Writing alone is `exr.write_parts` of finished parts, one file after another.
"""

import shutil
import sys
import tempfile
import time
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
        start = time.perf_counter()
        numbers = range(1010, 1010 + count)
        bake(loop, folder, "bench", numbers=numbers)
        ours = (time.perf_counter() - start) / count
        peak = peak_megabytes()
        canvas = loop.canvas(np.float16)
        loop.render(30, canvas)
        start = time.perf_counter()
        parts = loop.carried(30, canvas)
        carrying = time.perf_counter() - start
        start = time.perf_counter()
        for k in range(count):
            write_parts(folder / f"alone.{k}.exr", parts)
        alone = (time.perf_counter() - start) / count
    finally:
        shutil.rmtree(folder)
    print(f"{width}x{height}, {sum(len(part.channels) for part in parts)} channels, {thread_count()} threads")
    print(f"  bake                  {ours:7.3f} s a frame, {carrying:.3f} s of it to carry the layers")
    print(f"  writing alone         {alone:7.3f} s a frame   bake takes {ours / alone:5.2f} x")
    print(f"  peak memory           {peak:7.0f} MB, the plate's pixels {plate.layers.nbytes / 2**20:.0f} MB")


if __name__ == "__main__":
    main()
