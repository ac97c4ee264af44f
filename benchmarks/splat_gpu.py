# SPDX-License-Identifier: Apache-2.0
"""The GPU's splat against other ways to splat, and splat, warp and integration against the memory's own speed.

For each size a floor: the bytes that have to move, over the speed at which this card copies. Every way of splatting
is first held against ours. Without a GPU it says so and measures nothing, but for the bytes, which are computed.
"""

import statistics
import sys
from collections.abc import Callable
from importlib.util import find_spec

import torch
from _timing import waves

SIZES = {"1080p": (1080, 1920), "4K": (2160, 3840), "8K": (4320, 7680)}
CHANNELS = (4, 64)
CUPY_SOURCE = r"""
extern "C" __global__ void splat(
    const float* values, const float2* shift, float* sums, float* weights, int width, int height, int channels
) {
    const long long n = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    const long long p = n / channels;
    if (p >= (long long)width * height) return;
    const int c = n % channels;
    const float x = p % width + shift[p].x, y = p / width + shift[p].y;
    if (!(x > -1 && y > -1 && x < width && y < height)) return;
    const int left = floorf(x), top = floorf(y);
    const float tx = x - left, ty = y - top, value = values[n];
    for (int k = 0; k < 4; ++k) {
        const int column = left + k % 2, row = top + k / 2;
        if (column < 0 || row < 0 || column >= width || row >= height) continue;
        const float w = (k % 2 ? tx : 1 - tx) * (k / 2 ? ty : 1 - ty);
        const long long t = row * (long long)width + column;
        atomicAdd(sums + t * channels + c, w * value);
        if (c == 0) atomicAdd(weights + t, w);
    }
}
"""
Pair = tuple[torch.Tensor, torch.Tensor]


def landing(shift: torch.Tensor) -> torch.Tensor:
    height, width = shift.shape[:2]
    y, x = (torch.arange(n, device=shift.device, dtype=shift.dtype) for n in (height, width))
    return shift + torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)


def index_add(values: torch.Tensor, shift: torch.Tensor) -> Pair:
    height, width, channels = values.shape
    place = landing(shift).reshape(-1, 2)
    corner = place.floor()
    part, corner = place - corner, corner.long()
    sums, weights = values.new_zeros(height * width, channels), values.new_zeros(height * width)
    source = values.reshape(-1, channels)
    for k in range(4):
        column, row = corner[:, 0] + k % 2, corner[:, 1] + k // 2
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        w = (part[:, 0] if k % 2 else 1 - part[:, 0]) * (part[:, 1] if k // 2 else 1 - part[:, 1]) * inside
        index = torch.where(inside, row * width + column, 0)
        sums.index_add_(0, index, source * w[:, None])
        weights.index_add_(0, index, w)
    return sums.reshape(values.shape), weights.reshape(height, width)


def grid_sample_backward(values: torch.Tensor, shift: torch.Tensor) -> Callable[[], Pair]:
    """A deposit is the transpose of a lookup; the weights come as one more channel."""
    height, width, channels = values.shape
    last = torch.tensor([width - 1, height - 1], device=shift.device)
    grid = (landing(shift) * 2 / last - 1)[None]
    source = torch.zeros(1, channels + 1, height, width, device=shift.device, requires_grad=True)
    sampled = torch.nn.functional.grid_sample(source, grid, padding_mode="zeros", align_corners=True)
    upstream = torch.cat([values, torch.ones_like(values[..., :1])], -1).permute(2, 0, 1)[None].contiguous()

    def run() -> Pair:
        (result,) = torch.autograd.grad(sampled, source, upstream, retain_graph=True)
        return result[0, :-1].permute(1, 2, 0), result[0, -1]

    return run


def cupy_atomic(values: torch.Tensor, shift: torch.Tensor) -> Callable[[], Pair]:
    import cupy

    kernel = cupy.RawKernel(CUPY_SOURCE, "splat")
    height, width, channels = values.shape

    def run() -> Pair:
        sums, weights = torch.zeros_like(values), torch.zeros_like(values[..., 0])
        arrays = [cupy.from_dlpack(tensor) for tensor in (values, shift, sums, weights)]
        sizes = [cupy.int32(n) for n in (width, height, channels)]
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            kernel(((values.numel() + 255) // 256,), (256,), (*arrays, *sizes))
        return sums, weights

    return run


def milliseconds(jobs: dict[str, Callable[[], object]], rounds: int = 9) -> dict[str, float]:
    """Median time of each job, taking turns, each from a cold cache."""
    cold = torch.empty(2**28, dtype=torch.uint8, device="cuda")
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(rounds + 2):
        for name, job in jobs.items():
            cold.zero_()
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            job()
            end.record()
            end.synchronize()
            if turn >= 2:  # the first two compile and warm up
                taken[name].append(start.elapsed_time(end))
    return {name: statistics.median(times) for name, times in taken.items()}


def copy_speed() -> float:
    """Bytes read and written per millisecond by a copy that no cache holds."""
    source = torch.empty(2**31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / milliseconds({"copy": lambda: target.copy_(source)})["copy"]


def ways_to_splat(values: torch.Tensor, shift: torch.Tensor) -> dict[str, Callable[[], Callable[[], Pair]]]:
    """Each way, to be set up when its turn comes: some need tens of gigabytes."""
    from loopcore.transport import splat

    ways: dict[str, Callable[[], Callable[[], Pair]]] = {
        "loopcore": lambda: lambda: splat(values, shift, backend="triton"),
        "loopcore, atomic": lambda: lambda: splat(values, shift, backend="triton-atomic"),
        "index_add_": lambda: lambda: index_add(values, shift),
        "grid_sample backward": lambda: grid_sample_backward(values, shift),
    }
    if find_spec("cupy"):
        ways["CuPy, atomic"] = lambda: cupy_atomic(values, shift)
    return ways


def differs(result: Pair, ours: Pair) -> float:
    return max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(result, ours, strict=True))


def floor_bytes(what: str, channels: int) -> int:
    """Bytes a pixel that no kernel can do without: each array read or written once."""
    # Values and displacement in; sums and weights, or values, out. Velocity in, displacement out.
    return {"splat": 4 * (2 * channels + 3), "warp": 4 * (2 * channels + 2), "integrate": 16}[what]


def own_bytes(what: str, channels: int) -> int:
    """Bytes a pixel that our kernels move at least, one piece a pixel, had they a perfect cache."""
    # Besides the floor. Count: displacement, pieces, counters, their clearing. Scan. Fill: displacement, pieces,
    # counters, entries. Gather: offsets, entries.
    return floor_bytes(what, channels) + ((8 + 1 + 8 + 4) + 8 + (8 + 1 + 8 + 4) + 8 if what == "splat" else 0)


def print_bytes() -> None:
    print("computed, not measured: MB that have to move, and that our kernels move")
    for size, (height, width) in SIZES.items():
        for what, channels in (("splat", 4), ("splat", 64), ("warp", 4), ("warp", 64), ("integrate", 2)):
            floor, ours = (height * width * f(what, channels) / 1e6 for f in (floor_bytes, own_bytes))
            print(f"  {size:<6}{what:<10}{channels:>3} channels{floor:10.0f}{ours:10.0f}    {ours / floor:.2f} x")


def measure_splat(size: str, channels: int, speed: float) -> None:
    height, width = SIZES[size]
    shift = torch.from_numpy(waves(height, width, 12.0)[0]).cuda()
    values = torch.rand(height, width, channels, device="cuda")
    floor = height * width * floor_bytes("splat", channels) / speed
    print(f"\nsplat {size}, {channels} channels, float32: floor {floor:.3f} ms")
    ours = None
    for name, prepare in ways_to_splat(values, shift).items():
        try:
            job = prepare()
            result = job()
            ours = ours or result
            error = differs(result, ours)
            taken = milliseconds({name: job})[name]
            print(f"  {name:<24}{taken:10.3f} ms {taken / floor:8.2f} x floor    differs by {error:.1e}")
        except torch.OutOfMemoryError:
            print(f"  {name:<24}out of memory")
        job = result = None
        torch.cuda.empty_cache()


def measure_others(size: str, speed: float) -> None:
    from loopcore.transport import integrate, warp

    height, width = SIZES[size]
    shift = torch.from_numpy(waves(height, width, 12.0)[0]).cuda()
    velocity = shift / 60
    print(f"\n{size}, float32, against the floor")
    for channels in CHANNELS:
        values = torch.rand(height, width, channels, device="cuda")
        floor = height * width * floor_bytes("warp", channels) / speed
        taken = milliseconds({"warp": lambda values=values: warp(values, shift)})["warp"]
        print(f"  warp, {channels:>2} channels       {taken:10.3f} ms {taken / floor:8.2f} x floor")
    floor = height * width * floor_bytes("integrate", 2) / speed
    taken = milliseconds({"integrate": lambda: integrate(velocity, 60)})["integrate"]
    print(f"  integrate, 60 frames    {taken:10.3f} ms {taken / floor:8.2f} x floor")


def main() -> int:
    print_bytes()
    if not torch.cuda.is_available():
        print("splat_gpu: torch sees no GPU here, so nothing was measured")
        return 0
    if not find_spec("triton"):
        print("splat_gpu: triton is not installed, so nothing was measured")
        return 0
    speed = copy_speed()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: copies {speed / 1e6:.0f} GB/s, read and written")
    if not find_spec("cupy"):
        print("CuPy is not installed: its kernel is left out")
    for size in SIZES:
        for channels in CHANNELS:
            measure_splat(size, channels, speed)
        measure_others(size, speed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
