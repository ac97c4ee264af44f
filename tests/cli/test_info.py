# SPDX-License-Identifier: Apache-2.0
"""`loopcore info PLATE`: layers, windows, colour and what seems to flow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from loopcore.cli.main import main
from loopcore.exr import write_exr
from loopcore.exr.windows import Windows

PLATE = Path(__file__).parents[2] / "examples" / "waterfall" / "plate.jpg"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main(["info", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_photograph(capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(capsys, str(PLATE))
    assert (facts["format"], facts["width"], facts["height"], facts["stored"]) == ("JPEG", 1920, 1080, "srgb")
    assert facts["channels"] == ["R", "G", "B"] and facts["layers"] == []
    flow = facts["flow"]
    assert flow["animates"] and flow["score"] >= flow["needed"] and 0 < flow["moving"] < 0.5
    assert max(flow["fluids"], key=flow["fluids"].get) == "water" and abs(sum(flow["fluids"].values()) - 1) < 0.01
    assert main(["info", str(PLATE)]) == 0
    assert "water" in capsys.readouterr().out


def test_an_exr_with_layers_and_overscan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    channels = {name: np.zeros((40, 60), np.float16) for name in ("R", "G", "B", "light.R", "light.G", "light.B")}
    path = tmp_path / "plate.exr"
    windows = Windows((-10, -5, 49, 34), (0, 0, 39, 29))
    write_exr(path, {**channels, "Z": np.zeros((40, 60), np.float32)}, windows=windows)
    facts = told(capsys, str(path))
    assert (facts["width"], facts["height"]) == (40, 30) and facts["data_window"] == [-10, -5, 49, 34]
    assert [layer["name"] for layer in facts["layers"]] == ["", "light"]
    assert facts["layers"][0]["channels"]["Z"] == "float32" and facts["layers"][1]["channels"]["light.R"] == "float16"
    assert not facts["flow"]["animates"]
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "x -10 to 49, y -5 to 34" in out and "nothing seems to flow" in out


def test_layers_are_listed_where_none_is_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"{layer}.{name}" for layer in ("key", "fill") for name in "RGB"]
    write_exr(tmp_path / "lights.exr", {name: np.zeros((8, 8), np.float16) for name in names})
    facts = told(capsys, str(tmp_path / "lights.exr"))
    assert {layer["name"] for layer in facts["layers"]} == {"key", "fill"} and "several layers" in facts["picture"]
    assert told(capsys, str(tmp_path / "lights.exr"), "--layer", "key")["layer"] == "key"


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "no.exr")]) == 2
    assert "no.exr does not exist" in capsys.readouterr().err
