# SPDX-License-Identifier: Apache-2.0
"""Which device is chosen, and that it is said why it is not the GPU."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from _textures import motion, plate

from loopcore.errors import EngineError
from loopcore.loop import Loop, device, loop

without_a_gpu = pytest.mark.skipif(device._driver_sees_a_gpu(), reason="there is a GPU")


@without_a_gpu
def test_without_a_gpu_auto_is_the_cpu_and_says_why() -> None:
    still, field = plate(8, 9), motion(8, 9)
    chosen = Loop(still, field)
    assert chosen.device == "cpu" and chosen.remark == "no NVIDIA GPU was found"
    asked = Loop(still, field, device="cpu")
    assert asked.device == "cpu" and asked.remark == ""
    with pytest.raises(EngineError, match="'cuda' is not available: no NVIDIA GPU was found; use --device auto or cpu"):
        Loop(still, field, device="cuda")


def test_a_driver_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_driver_sees_a_gpu", lambda: True)
    assert device.gpu_unavailable_reason(load=False) == ("" if find_spec("triton") else device.gpu_unavailable_reason())
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert "triton is not installed" in device.gpu_unavailable_reason()


@without_a_gpu
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_a_torch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(device, "_driver_sees_a_gpu", lambda: True)
    assert torch.__version__ in device.gpu_unavailable_reason() and "sees no GPU" in device.gpu_unavailable_reason()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old card")
    assert device.gpu_unavailable_reason() == "Old card is too old (compute capability 6.1, 8.0 is needed)"


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_too_little_memory_is_said_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from loopcore.loop.gpu import loop as gpu_loop

    monkeypatch.setattr(loop, "gpu_unavailable_reason", lambda: "")
    monkeypatch.setattr(loop, "uses_triton_interpreter", lambda: False)
    monkeypatch.setattr(gpu_loop, "bytes_free", lambda: 300 << 20)
    chosen = Loop(plate(8, 9), motion(8, 9))
    assert chosen.device == "cpu"
    assert chosen.remark == "the loop needs 0.5 GB of the GPU's memory, and 0.3 GB are free"
    with pytest.raises(EngineError, match="0.3 GB are free; use --device auto or cpu"):
        Loop(plate(8, 9), motion(8, 9), device="cuda")
    # A 4K plate needs more for a splat, and more the more of it moves.
    sizes = [gpu_loop.bytes_needed(2160, w, 3840, 540_000, splat) for splat in (False, True) for w in (100, 3840)]
    assert sizes[0] < sizes[1] < sizes[3] and sizes[0] < sizes[2] < sizes[3] and sizes[3] < 4 << 30


@without_a_gpu
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_kernels_that_fail_lead_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is not there after all: what torch says of it becomes the remark."""
    from loopcore.loop.gpu import loop as gpu_loop
    from loopcore.transport import gpu

    if gpu.INTERPRETED:
        pytest.skip("Triton's interpreter needs no GPU")
    monkeypatch.setattr(loop, "gpu_unavailable_reason", lambda: "")
    monkeypatch.setattr(gpu_loop, "bytes_free", lambda: 64 << 30)
    chosen = Loop(plate(8, 9), motion(8, 9))
    assert chosen.device == "cpu" and chosen.remark.startswith("the GPU failed (") and "\n" not in chosen.remark
    assert chosen.frame(2).shape == (8, 9, 3)


@without_a_gpu
def test_finding_no_gpu_loads_nothing() -> None:
    import subprocess

    script = "import sys; from loopcore.loop.device import device_line; print(device_line(), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("cpu, ") and done.stdout.strip().endswith("False")


@without_a_gpu
def test_info_says_which_device_would_be_used() -> None:
    from loopcore.cli.console import installed

    facts = installed()
    assert facts["gpu"] == "no NVIDIA GPU was found" and facts["device"].startswith("cpu, ")
