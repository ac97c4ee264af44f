# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/pipeline.md, run as they stand there: all ways make the same frames."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import _farm
import _scenes
import numpy as np
import pytest
from PIL import Image

from loopcore.color import decode_codes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pipeline.md"

pytest.importorskip("openjd.cli", reason="openjd-cli is not installed")
pytest.importorskip("distributed", reason="distributed is not installed")
pytestmark = pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="shell scripts")


def test_the_examples_run_and_make_the_same_frames(tmp_path: Path) -> None:
    blocks = re.findall(r"<!-- run -->\n```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 6
    still, _ = _farm.scene(tmp_path)
    with Image.open(still) as picture:
        _scenes.exr(tmp_path / "plate.exr", decode_codes(np.asarray(picture)), "RGB")
    environment = _farm.executables(tmp_path / "bin")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for block in blocks:
        done = subprocess.run(
            ["bash", "-e", "-c", block.replace("8786", port)], cwd=tmp_path, env=environment, capture_output=True,
            text=True, encoding="utf-8", timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, block + done.stdout + done.stderr
    made = [
        _scenes.contents(_scenes.frames(tmp_path / name))
        for name in ("loop", "bundle/frames", "loop_daemon", "loop_dask")
    ]
    assert len(made[0]) == 12 and all(frames == made[0] for frames in made)
    assert {path.name for path in (tmp_path / "bundle" / "frames").iterdir()} >= {
        "plate_loop.mp4", "plate_loop_sheet.png", "motion.exr"
    }  # fmt: skip
    assert (tmp_path / "loop.mp4").stat().st_size > 1000 and (tmp_path / "scripts" / "loopcore_animate.js").is_file()
