# SPDX-License-Identifier: Apache-2.0
"""Every kernel compiles to machine code of real GPUs, for which no GPU is needed; run without the interpreter."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from loopcore.loop.gpu.kernels import bands as band_kernels
from loopcore.loop.gpu.kernels import blend as blend_kernels
from loopcore.loop.gpu.kernels import cycles as cycle_kernels
from loopcore.loop.gpu.kernels import mixing as mixing_kernels
from loopcore.loop.plate_contrast import COPY, POOL, SHIFT
from loopcore.transport.gpu.kernels import (
    integrate as integrate_kernels,
)
from loopcore.transport.gpu.kernels import (
    splat as splat_kernels,
)
from loopcore.transport.gpu.kernels import (
    splat_gradient,
)
from loopcore.transport.gpu.kernels import (
    warp as warp_kernels,
)

KERNELS = [
    warp_kernels.fetch, warp_kernels.slope, warp_kernels.bin_fetches, warp_kernels.spread, integrate_kernels.trace,
    splat_kernels.bin_pieces, splat_kernels.gather, splat_kernels.scatter, splat_gradient.slope,
]  # fmt: skip
WHOLE = {"counts", "offsets", "entries"}
FLOATS = {
    "values", "displacement", "out", "gradient", "moved", "velocity", "weight", "sums", "weights",
    "by_sums", "by_weights", "by_values", "by_shift", "by_weight",
}  # fmt: skip


def compiled(kernel: Any, channels: int, wide: bool, real: str, number: Any, way: bool) -> Any:
    constants = {
        "CHANNELS": channels, "COMPUTE": number, "WIDE": wide, "NONE": 2**63 - 1 if wide else 2**31 - 1,
        "TILE_X": 32 if channels <= 4 else 8, "TILE_Y": 4, "BLOCK_C": triton.next_power_of_2(channels),
        "SORTED": not way, "FILL": way, "WEIGHTED": way, "STRETCHED": way,
        "TOLERANCE": 3e-3, "MIN_STEP": 1 / 16, "FIRST": 1.0,
    }  # fmt: skip
    kinds = dict.fromkeys(WHOLE, "*i64" if wide else "*i32") | dict.fromkeys(FLOATS, f"*{real}")
    kinds |= {"choice": "*i8", "pieces": "*u8", "span": "fp32", "direction": "fp32"}
    if kernel is splat_kernels.scatter:  # sums in the type of its arithmetic
        kinds["sums"] = kinds["weights"] = "*fp64" if real == "fp64" else "*fp32"
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names}
    source = ASTSource(kernel, signature, {name: constants[name] for name in names if name in constants})
    return triton.compile(source, target=GPUTarget("cuda", 90, 32))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: f"{kernel.fn.__module__[20:]}.{kernel.fn.__name__}")
@pytest.mark.parametrize(
    ("channels", "wide", "real", "number", "way"),
    [(4, False, "fp32", tl.float32, True), (3, True, "fp16", tl.float32, True), (2, False, "fp64", tl.float64, False)],
    ids=["rgba", "half, 64 bits", "double, the other ways"],
)
def test_it_compiles(kernel: Any, channels: int, wide: bool, real: str, number: Any, way: bool) -> None:
    assembly = compiled(kernel, channels, wide, real, number, way).asm
    assert assembly["cubin"].startswith(b"\x7fELF")
    # Only one kernel uses float atomics.
    atomics = re.findall(r"(?:atom|red)\S*\.add\S*\.(?:f|bf)\d+", assembly["ptx"])
    assert bool(atomics) == (kernel is splat_kernels.scatter)


LOOP_KERNELS = [
    blend_kernels.nodes, blend_kernels.blend_weights, blend_kernels.blend, blend_kernels.expand,
    blend_kernels.gather_both, blend_kernels.composite,
    band_kernels.reduce, band_kernels.energies, band_kernels.gains, band_kernels.scales, band_kernels.change,
    band_kernels.surplus, band_kernels.lowering, band_kernels.pool, band_kernels.advected,
    cycle_kernels.time_weights, mixing_kernels.copy_nodes, mixing_kernels.mix_weights, mixing_kernels.mix,
]  # fmt: skip
# Arguments that are neither pointers to floats nor integers.
LOOP_KINDS = {
    "entries": "*i32", "offsets": "*i32", "pieces": "*u8", "nearest": "*i32", "table": "*i64", "partial": "*fp64",
    "floors": "*fp64", "layers": "*i32",
} | dict.fromkeys(("alpha", "ramp", "strength", "time", "frames", "cell", "white", "size"), "fp32")  # fmt: skip
NUMBERS = {
    "height", "width", "rows", "columns", "step", "period_y", "period_x", "stride", "margin", "patch_rows", "level",
    "patch_columns", "weight_columns", "out_stride", "sums_stride", "first", "tiles", "factor", "number", "count",
    "levels", "noise_rows", "noise_columns", "copies", "node_rows", "node_columns",
}  # fmt: skip


def spilled(ptx: str, folder: Path) -> set[int]:
    """Bytes of registers spilled to memory, as the assembler reports them."""
    (folder / "kernel.ptx").write_text(ptx)
    assembler = next(Path(triton.__file__).parent.glob("backends/nvidia/bin/ptxas*"))
    command = [assembler, "-v", "--gpu-name=sm_90a", folder / "kernel.ptx", "-o", folder / "kernel.cubin"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {int(size) for size in re.findall(r"(\d+) bytes spill", report)}


@pytest.mark.parametrize("kernel", LOOP_KERNELS, ids=lambda kernel: kernel.fn.__name__)
@pytest.mark.parametrize("way", [True, False])
def test_the_loops_kernels_compile(kernel: Any, way: bool, tmp_path: Path) -> None:
    names = kernel.arg_names
    constants = {
        "TILE_X": 32, "TILE_Y": 4, "WIDE": not way, "MIN_WEIGHT": 1e-4, "MIN_SQUEEZE": 1.25, "MAX": 16.0,
        "STRETCHED": way, "SORTED": not way, "NONE": 2**31 - 1, "HAS_CHANGE": way, "PATCH": 128, "MIN": 0.25,
        "HALF": 65504.0,
        "BLOCK": 8, "PER_PIXEL_FROM": 1, "INITIAL": way, "MIN_VARIANCE": 1e-9, "MAX_GAIN": 1.8, "SHOW": way, "ROWS": 8,
        "GIVEN": not way, "MIN_GAIN": 0.6, "CHANNELS": 2 if way else 1, "SHIFT": SHIFT, "COPY": COPY, "POOL": POOL,
        "MIN_MASK": 0.05, "MAX_SHIFT": 0.3, "NEGLIGIBLE": 1 / 128, "HAS_MEAN": way, "SHIFTED": way, "FETCHED": not way,
        "COUNT": 16 if kernel is band_kernels.energies else 256,
    }  # fmt: skip
    constants = {name: value for name, value in constants.items() if name in names}
    if not way:  # sizes of 1 are known to the compiler
        ones = {"step", "columns", "patch_rows", "patch_columns", "weight_columns"}
        constants |= {name: 1 for name in names if name in ones}
    kinds = LOOP_KINDS | dict.fromkeys(NUMBERS, "i32") | ({"out": "*fp16"} if way else {})
    signature = {name: "constexpr" if name in constants else kinds.get(name, "*fp32") for name in names}
    assembly = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32)).asm
    assert assembly["cubin"].startswith(b"\x7fELF")
    assert not re.search(r"(?:atom|red)\S*\.add", assembly["ptx"])
    assert max(spilled(assembly["ptx"], tmp_path)) <= 32


@pytest.mark.parametrize("kernel", [warp_kernels.fetch, warp_kernels.slope], ids=lambda kernel: kernel.fn.__name__)
def test_a_pixel_of_four_channels_is_one_load(kernel: Any) -> None:
    """If the array is aligned, as torch's allocator aligns it."""
    constants = {
        "CHANNELS": 4, "COMPUTE": tl.float32, "WIDE": False, "TILE_X": 32, "TILE_Y": 4, "BLOCK_C": 4,
    }  # fmt: skip
    names = kernel.arg_names
    kinds = dict.fromkeys(FLOATS, "*fp32") | {"choice": "*i8"}
    signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in names}
    aligned: dict[tuple[int, ...], Any] = {
        (k,): [["tt.divisibility", 16]] for k, name in enumerate(names) if signature[name].startswith("*")
    }
    source = ASTSource(kernel, signature, constants, aligned)
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"].count("ld.global.v4") >= 16
