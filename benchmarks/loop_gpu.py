# SPDX-License-Identifier: Apache-2.0
"""Frames of a loop made on the GPU: 3840 x 2160 RGBA, all of it moving, in half floats, without writing files.

A frame counts from its first kernel until it lies in the host's memory; frames follow one another as a bake lets them,
one being made while the one before comes down. Beside it the same without the way down, one frame at a time, and the
bytes that have to move. First the plain loop, whose bytes these are, then four cycles with steady looks. Without a GPU
it measures nothing, and says so; the bytes are computed all the same.

`python benchmarks/loop_gpu.py [FRAMES]`
"""

import statistics
import sys
import time
from importlib.util import find_spec

HEIGHT, WIDTH = 2160, 3840
# Data sheets of an H100 SXM: memory, and PCIe 5.0 x16 in one direction; bytes per millisecond.
MEMORY, BUS = 3.35e9, 63e6
TARGET = 3.0


def frame_bytes(height: int, width: int, nodes: int) -> dict[str, dict[str, float]]:
    """Bytes that each step reads and writes at least, had it a perfect cache: by method, then step."""
    pixels, pyramid = height * width, 4 / 3
    quarter = pyramid / 4  # all levels but the finest
    warp = {
        # Two traces of 8 + 8 bytes a node; the nodes of 36 bytes, their blend weights smoothed in four passes.
        "integrate": nodes * 32,
        "nodes": nodes * (16 + 36 + 4 * 8 + 24),
        # Mask and plate once; the blend and three tones.
        "blend": pixels * (4 + 16 + 16 + 12) + nodes * 36,
        "pyramids": pixels * (12 + 3) * pyramid,
        # Three planes and their coarser levels, the weights.
        "energies": pixels * (12 + 3 + 4) * pyramid,
        # Three rounds of: change, what is shown of it, its pyramid, its energies.
        "refinement": 3 * pixels * (quarter * (4 + 1 + 1 + 4) + 8 / 4 + quarter * 5 + quarter * 9),
        "change": pixels * (4 + 1 + 1 + 4) * pyramid,
        "brightness": pixels * 12,
        # Mask, blend, tone, change and plate; half floats.
        "composite": pixels * (4 + 16 + 4 + 4 + 16 + 8),
    }
    splat = {
        "integrate, two more": nodes * 32,
        "displacements": 2 * pixels * 8 + nodes * 16,
        # Displacement, pieces and counters; cleared before.
        "count": 2 * pixels * (4 + 8 + 1 + 8),
        "scan": 2 * pixels * 8,
        "fill": 2 * pixels * (8 + 1 + 8 + 4),
        # Offsets, entries, displacements, the plate for both; blend, weights, tone, mask.
        "gather": pixels * (2 * (4 + 4 + 8) + 16 + 16 + 4 + 4 + 4),
        "holes": pixels * 8,
    }
    return {"warp": warp, "splat": {**warp, **splat}}


def print_bytes() -> None:
    from loopcore.loop.paths import MAX_NODES

    for method, steps in frame_bytes(HEIGHT, WIDTH, MAX_NODES).items():
        total = sum(steps.values())
        print(f"computed, not measured: {method}, {WIDTH}x{HEIGHT} RGBA, {total / 1e9:.2f} GB a frame")
        print("  " + ", ".join(f"{name} {moved / 1e6:.0f} MB" for name, moved in steps.items()))
        print(f"  at the {MEMORY / 1e9:.2f} TB/s of an H100's data sheet: {total / MEMORY:.2f} ms")
    down = HEIGHT * WIDTH * 8
    print(f"computed, not measured: the way down, {down / 1e6:.0f} MB; at the {BUS / 1e6:.0f} GB/s of PCIe 5.0 x16: "
          f"{down / BUS:.2f} ms")  # fmt: skip


def measure(method: str, cycles: int, steady: float, frames: int) -> None:
    import numpy as np
    import torch
    from bake import motion, plate

    from loopcore import Loop

    loop = Loop(plate(), motion(1.0), frames=60, method=method, cycles=cycles, steady=steady, device="cuda")
    canvases = [loop.canvas(np.float16) for _ in range(3)]

    def stream(count: int) -> float:
        waiting = []
        start = time.perf_counter()
        for k in range(count):
            waiting.append(loop.begin((7 * k) % 60, canvases[k % len(canvases)]))
            if len(waiting) == len(canvases):
                waiting.pop(0)()
        for arrived in waiting:
            arrived()
        return (time.perf_counter() - start) / count * 1e3

    def alone(count: int) -> float:
        taken = []
        for k in range(count):
            torch.cuda.synchronize()
            start = time.perf_counter()
            loop.render((7 * k) % 60, canvases[0])
            taken.append((time.perf_counter() - start) * 1e3)
        return statistics.median(taken)

    stream(6)
    each = statistics.median(stream(frames) for _ in range(5))
    print(f"{method}, cycles {cycles}, steady {steady:g}, {WIDTH}x{HEIGHT} RGBA half, {frames} frames: "
          f"{each:.2f} ms a frame, the target being {TARGET:g}")  # fmt: skip
    print(f"  one frame alone, from the call until it is there: {alone(frames):.2f} ms")
    print(f"  GPU memory at most: {torch.cuda.max_memory_allocated() / 2**20:.0f} MB")


def main() -> int:
    print_bytes()
    import torch

    if not torch.cuda.is_available() or not find_spec("triton"):
        missing = "torch sees no GPU here" if find_spec("triton") else "triton is not installed"
        print(f"loop_gpu: {missing}, so nothing was measured")
        return 0
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    for method in ("warp", "splat"):
        for cycles, steady in ((1, 0.0), (4, 0.5)):
            measure(method, cycles, steady, int(sys.argv[1]) if len(sys.argv) > 1 else 60)
    return 0


if __name__ == "__main__":
    sys.exit(main())
