# SPDX-License-Identifier: Apache-2.0
"""Tests of the refusal to overwrite inputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loopcore.errors import SequenceError
from loopcore.files.overwrite import refuse_overwriting


def test_an_input_is_recognised_under_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plate = tmp_path / "plate.exr"
    plate.write_bytes(b"plate")
    (tmp_path / "sub").mkdir()
    os.link(plate, tmp_path / "hard.exr")
    names = [plate, tmp_path / "sub" / ".." / "plate.exr", tmp_path / "hard.exr", Path("plate.exr")]
    if os.name != "nt":  # where links need a privilege
        (tmp_path / "soft.exr").symlink_to(plate)
        (tmp_path / "folder").symlink_to(tmp_path)
        names += [tmp_path / "soft.exr", tmp_path / "folder" / "plate.exr"]
    monkeypatch.chdir(tmp_path)
    for name in names:
        with pytest.raises(SequenceError, match="would be overwritten"):
            refuse_overwriting([None, tmp_path / "none.png", plate], [tmp_path / "other.exr", name])
        with pytest.raises(SequenceError, match="would be overwritten"):
            refuse_overwriting([name], [plate])


def test_other_files_may_be_overwritten(tmp_path: Path) -> None:
    for name in ("plate.exr", "copy.exr"):
        (tmp_path / name).write_bytes(b"plate")
    plate = tmp_path / "plate.exr"
    refuse_overwriting([plate, tmp_path], [tmp_path / "copy.exr", tmp_path, tmp_path / "missing.exr", Path("\0")])
    refuse_overwriting([tmp_path / "missing.exr", None], [tmp_path / "missing.exr", plate])
