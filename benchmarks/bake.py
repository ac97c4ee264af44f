# SPDX-License-Identifier: Apache-2.0
"""Baking a 3840 x 2160 RGBA loop against writing the same frames with OpenEXR alone, and the peak of memory.

`python benchmarks/bake.py [FRAMES [SPEED]]`: two plates as detailed as photographs, one with a third of it moving, one
with all of it, at about 4 px a frame times SPEED; a fast one is made of several cycles. Writing alone is what the
OpenEXR binding does with finished half arrays in memory, one file after another; the same again from as many threads as
the bake uses.
"""

import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import OpenEXR

from loopcore import Loop, MotionField, Plate
from loopcore.baking.bake import bake
from loopcore.parallel import thread_count

HEIGHT, WIDTH = 2160, 3840


def plate() -> Plate:
    """A grainy 1/f picture: compresses about as a photograph does."""
    random = np.random.default_rng(3)
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.float32)
    for octave in range(2, 10):
        size = 2**octave
        noise = random.random((HEIGHT // size + 2, WIDTH // size + 2, 3), dtype=np.float32)
        pixels[..., :3] += np.kron(noise, np.ones((size, size, 1), np.float32))[:HEIGHT, :WIDTH] * size / 1024
    pixels[..., :3] += 0.02 * random.random((HEIGHT, WIDTH, 3), dtype=np.float32)
    pixels[..., 3] = 1
    return Plate(pixels, ("R", "G", "B", "A"))


def motion(share: float, speed: float) -> MotionField:
    """A current that widens and winds, over this share of the frame's width."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    velocity = np.stack([1.5 * np.sin(y / 300), 4 + np.cos(x / 400)], -1) * np.float32(speed)
    mask = np.clip((share * WIDTH / 2 - np.abs(x - WIDTH / 2)) / 20 + (share >= 1) * 100, 0, 1)
    return MotionField(velocity, mask, np.ones((HEIGHT, WIDTH), np.float32))


def write_alone(folder: Path, frames: list[np.ndarray], count: int, threads: int) -> float:
    def write(k: int) -> None:
        header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        with OpenEXR.File(header, {"RGBA": frames[k % len(frames)]}) as file:
            file.write(str(folder / f"alone.{k}.exr"))

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, range(count)))
    return (time.perf_counter() - start) / count


def peak_megabytes() -> float:
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    speed = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    still = plate()
    for share in (1 / 3, 1.0):
        loop = Loop(still, motion(share, speed))
        canvases = []
        for t in (7, 30):
            canvases.append(loop.canvas(np.float16))
            loop.render(t, canvases[-1])
        folder = Path(tempfile.mkdtemp())
        try:
            numbers = range(1001, 1001 + count)
            start = time.perf_counter()
            bake(loop, folder, "bench", numbers=numbers)
            ours = (time.perf_counter() - start) / count
            one, many = (write_alone(folder, canvases, count, n) for n in (1, max(2, thread_count() // 2)))
        finally:
            shutil.rmtree(folder)
        print(
            f"bake {WIDTH}x{HEIGHT} RGBA, {share:.0%} moving at {4 * speed:.0f} px a frame, {count} frames, "
            f"{thread_count()} threads"
        )
        print(f"  loopcore bake                    {ours:7.3f} s a frame")
        print(f"  OpenEXR alone                    {one:7.3f} s a frame   bake takes {ours / one:5.2f} x")
        print(f"  OpenEXR alone, files in parallel {many:7.3f} s a frame   bake takes {ours / many:5.2f} x")
    print(f"  peak memory of this process, two finished frames included: {peak_megabytes():.0f} MB")


if __name__ == "__main__":
    main()
