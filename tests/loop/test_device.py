# SPDX-License-Identifier: Apache-2.0
"""Which device is chosen, and that it is said why a GPU cannot be used."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from _textures import motion, plate
from PIL import Image

from loopcore.animate import run
from loopcore.errors import EngineError
from loopcore.job import Job, Source
from loopcore.loop import Loop, device, loop
from loopcore.observer import Observer

without_a_gpu = pytest.mark.skipif(device._driver_sees_a_gpu(), reason="there is a GPU")


@without_a_gpu
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(EngineError, match="'cuda' is not available: no NVIDIA GPU was found; use --device cpu"):
        Loop(plate(8, 9), motion(8, 9), device="cuda")


def test_auto_is_the_cpu_and_never_tries_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(self: Loop) -> str:
        raise AssertionError("auto moved to the GPU")

    monkeypatch.setattr(loop, "gpu_unavailable_reason", lambda: "")
    monkeypatch.setattr(Loop, "_move", moved)
    assert Loop(plate(8, 9), motion(8, 9)).device == "cpu"
    assert device.device_line().startswith("cpu, ")


@pytest.mark.parametrize(("asked", "usable", "said"), [("auto", True, 1), ("auto", False, 0), ("cpu", True, 0)])
def test_auto_says_once_how_to_ask_for_a_gpu(
    asked: str, usable: bool, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Listener(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    monkeypatch.setattr(device, "gpu_unavailable_reason", lambda load=True: "" if usable else "no NVIDIA GPU was found")
    Image.fromarray(np.full((8, 9, 3), 99, np.uint8)).save(tmp_path / "plate.png")
    motion(8, 9).save(tmp_path / "motion.exr")
    source = Source(tmp_path / "plate.png", motion=tmp_path / "motion.exr")
    run(Job(source, tmp_path / "out", frames=2, device=asked), Listener())
    assert sum("--device cuda" in text for text in notes) == said


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
    with pytest.raises(EngineError, match="needs 0.5 GB of the GPU's memory, and 0.3 GB are free; use --device cpu"):
        Loop(plate(8, 9), motion(8, 9), device="cuda")
    # A 4K plate needs more for a splat, and more the more of it moves.
    sizes = [gpu_loop.bytes_needed(2160, w, 3840, 540_000, splat) for splat in (False, True) for w in (100, 3840)]
    assert sizes[0] < sizes[1] < sizes[3] and sizes[0] < sizes[2] < sizes[3] and sizes[3] < 4 << 30
    # More with several cycles, and the more copies there are.
    more = [gpu_loop.bytes_needed(2160, 3840, 3840, 540_000, True, copies) for copies in (0, 3, 12)]
    assert sizes[3] == more[0] < more[1] < more[2] < 5 << 30


@without_a_gpu
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_kernels_that_fail_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is not there after all: what torch says of it is in the message, in a line."""
    from loopcore.loop.gpu import loop as gpu_loop
    from loopcore.transport import gpu

    if gpu.INTERPRETED:
        pytest.skip("Triton's interpreter needs no GPU")
    monkeypatch.setattr(loop, "gpu_unavailable_reason", lambda: "")
    monkeypatch.setattr(gpu_loop, "bytes_free", lambda: 64 << 30)
    with pytest.raises(EngineError, match=r"^device 'cuda' is not available: the GPU failed \(.*\); use --device cpu$"):
        Loop(plate(8, 9), motion(8, 9), device="cuda")


@without_a_gpu
def test_finding_no_gpu_loads_nothing() -> None:
    import subprocess

    script = "import sys; from loopcore.loop.device import gpu_hint; print([gpu_hint()], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[''] False"


@without_a_gpu
def test_info_says_which_device_is_used() -> None:
    from loopcore.cli.console import installed

    facts = installed()
    assert facts["gpu"] == "no NVIDIA GPU was found" and facts["device"].startswith("cpu, ")
