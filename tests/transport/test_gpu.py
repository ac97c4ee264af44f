# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels against the reference, in Triton's interpreter and, if there is one, on the GPU.

The interpreter is chosen when triton is imported, so that the cases of `gpu/` run in separate processes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "gpu"
SUITES = sorted(path.name for path in FOLDER.glob("*_cases.py"))

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def run_suite(suite: str, interpret: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(FOLDER / suite)]
    environment = {**os.environ, "TRITON_INTERPRET": interpret}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_there_are_suites() -> None:
    assert {"warp_cases.py", "integrate_cases.py", "splat_cases.py", "compile_cases.py", "cycles_cases.py"} <= set(
        SUITES
    )


@pytest.mark.slow
@pytest.mark.parametrize("suite", [name for name in SUITES if name != "compile_cases.py"])
def test_in_the_interpreter(suite: str) -> None:
    run_suite(suite, "1")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="triton's compiler for Linux")
def test_the_kernels_compile() -> None:
    run_suite("compile_cases.py", "0")


@pytest.mark.slow
@pytest.mark.parametrize("suite", [name for name in SUITES if name != "compile_cases.py"])
def test_on_the_gpu(suite: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    run_suite(suite, "0")
