# SPDX-License-Identifier: Apache-2.0
"""What training reads must be regular files: FIFOs are refused, not waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
from pathlib import Path
from loopcore.errors import LoopcoreError
from loopcore.motion.networks import read_published_encoder
from loopcore.training.checkpoint import load_checkpoint
from loopcore.training.dataset import Example, read_example
from loopcore.training.footage import Listed, _read
from loopcore.training.learned_flow import _read as read_flow_weights
from loopcore.training.motion_pth import read_motion_pth
from loopcore.training.peer import read_peer
from loopcore.training.video import read_shots

folder, fifo = Path(sys.argv[1]), Path(sys.argv[1]) / "fifo"
(folder / "state.json").write_text('{"tensors": "fifo"}')
readers = {
    "encoder": lambda: read_published_encoder(fifo),
    "checkpoint": lambda: load_checkpoint(folder),
    "example": lambda: read_example(Example("a", "a", "train", 1, fifo), 0),
    "footage": lambda: _read(fifo, Listed(fifo, "fall", "a")),
    "flow weights": lambda: read_flow_weights(fifo),
    "motion.pth": lambda: read_motion_pth(fifo),
    "peer": lambda: read_peer(fifo),
    "video": lambda: read_shots(fifo, 64, 2),
}
for name, reader in readers.items():
    try:
        reader()
    except LoopcoreError as error:
        print(json.dumps([name, str(error)]), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="FIFOs of POSIX")
def test_a_fifo_is_refused_by_every_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = dict(json.loads(line) for line in done.stdout.splitlines())
    assert [*said] == [
        "encoder", "checkpoint", "example", "footage", "flow weights", "motion.pth", "peer", "video"
    ]  # fmt: skip
    for name, text in said.items():
        assert "it is a FIFO or a device: give a regular file" in text and str(tmp_path) in text, name
