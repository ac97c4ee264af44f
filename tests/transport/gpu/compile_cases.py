# SPDX-License-Identifier: Apache-2.0
"""Every kernel compiles to machine code for real GPUs, which takes no GPU; run without the interpreter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from loopcore.transport import _gpu_integrate, _gpu_splat, _gpu_splat_gradient, _gpu_warp

KERNELS = [
    _gpu_warp.fetch, _gpu_warp.slope, _gpu_warp.bin_fetches, _gpu_warp.spread, _gpu_integrate.trace,
    _gpu_splat.bin_pieces, _gpu_splat.gather, _gpu_splat.scatter, _gpu_splat_gradient.slope,
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
        "TOLERANCE": 3e-3, "SHORTEST": 1 / 16, "FIRST": 1.0,
    }  # fmt: skip
    kinds = dict.fromkeys(WHOLE, "*i64" if wide else "*i32") | dict.fromkeys(FLOATS, f"*{real}")
    kinds |= {"choice": "*i8", "pieces": "*u8", "span": "fp32", "direction": "fp32"}
    kinds["places"] = "*fp64" if real == "fp64" else "*fp32"
    if kernel is _gpu_splat.scatter:  # adds up in its arithmetic's own type
        kinds["sums"] = kinds["weights"] = kinds["places"]
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
    # No float atomics but in the kernel that is made of them.
    atomics = re.findall(r"(?:atom|red)\S*\.add\S*\.(?:f|bf)\d+", assembly["ptx"])
    assert bool(atomics) == (kernel is _gpu_splat.scatter)


@pytest.mark.parametrize("kernel", [_gpu_warp.fetch, _gpu_warp.slope], ids=lambda kernel: kernel.fn.__name__)
def test_a_pixel_of_four_channels_is_one_load(kernel: Any) -> None:
    """Where the array's address allows, which torch's allocator sees to."""
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
