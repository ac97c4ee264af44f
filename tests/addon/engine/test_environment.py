# SPDX-License-Identifier: Apache-2.0
"""Tests of the script that builds the worker's environment, in this process, with an index in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import _package
import pytest
from _setups import wheel

environment = _package.module("engine.environment")


def test_without_torch_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index"
    needed = wheel(index / "needed", "needed", {"needed.py": ""})
    (index / "needed" / "index.html").write_text(f'<a href="{needed.name}">{needed.name}</a>', "utf-8")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", index.as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(environment, "CPU_INDEX", (tmp_path / "no index").as_uri())
    loopcore = wheel(tmp_path, "loopcore", {}, ("needed", "torch>=2"))
    with pytest.raises(environment.Failed, match="torch .* cannot be downloaded.*Install torch"):
        environment.build(str(tmp_path / "made"), str(loopcore), None, True)
    assert not list((tmp_path / "made").rglob("needed.py"))
    environment.Pip(tmp_path / "made", None).install("needed")
    assert list((tmp_path / "made").rglob("needed.py"))
