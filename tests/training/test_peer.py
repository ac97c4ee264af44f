# SPDX-License-Identifier: Apache-2.0
"""Comparison with other programs' fields: the prediction itself, its opposite, and invalid files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopcore.cli import main
from loopcore.errors import MotionError, PlateError
from loopcore.training.evaluate_motion import frame_to_plate, predicted_or_none
from loopcore.training.peer import compare_peer, read_peer


@pytest.fixture(scope="module")
def home(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A river, the prediction for it at another scale, its opposite, a field without a still, and no field."""
    home = tmp_path_factory.mktemp("peers")
    (home / "stills" / "deep").mkdir(parents=True)
    (home / "fields").mkdir()
    with Image.open(corpus / "stills" / "stylecinegan" / "0000008.png") as opened:
        picture = opened.convert("RGB").resize((512, 512), Image.Resampling.LANCZOS)
    motion = predicted_or_none(frame_to_plate(np.asarray(picture)), None)
    assert motion is not None
    field = (0.25 * motion.velocity * (motion.mask > 0.5)[..., None]).transpose(2, 0, 1).astype(np.float16)
    for name, values in (("same", field), ("opposite", -field), ("alone", field)):
        np.save(home / "fields" / f"{name}.npy", values)
        if name != "alone":
            picture.save(home / "stills" / "deep" / f"{name}.png")
    (home / "fields" / "torn.npy").write_bytes(b"torn" * 9)
    picture.save(home / "stills" / "torn.png")
    return home


def test_the_prediction_agrees_with_itself(home: Path) -> None:
    row, sheet = compare_peer(home / "stills" / "deep" / "same.png", home / "fields" / "same.npy")
    assert row.direction[1] < 1 and row.sense > 0.999
    speed = np.hypot(*np.moveaxis(read_peer(home / "fields" / "same.npy"), -1, 0))
    fast = speed > 0.15 * np.quantile(speed, 0.95)  # the sky is slower than that
    assert row.overlap == pytest.approx(fast.sum() / (speed > 0).sum(), rel=0.02)
    assert row.scale == pytest.approx(0.25, rel=0.01) and row.speed_correlation > 0.99
    assert [picture.shape for picture in sheet[0]] == [(512, 512, 3)] * 3
    row, _ = compare_peer(home / "stills" / "deep" / "opposite.png", home / "fields" / "opposite.npy")
    assert row.axis[1] < 1 and row.direction[0] > 179 and row.sense < -0.999


def test_files_that_are_no_fields(home: Path, tmp_path: Path) -> None:
    good = np.zeros((2, 512, 512), np.float16)
    bad = {
        "shape": good[:, :256],
        "type": good.astype(np.float32),
        "pickle": np.array([{"a": 1}], dtype=object),
        "nan": np.where(np.arange(512) == 9, np.float16("nan"), good),
    }
    for name, values in bad.items():
        np.save(tmp_path / f"{name}.npy", values, allow_pickle=True)
    np.savez(tmp_path / "archive", good)
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    (tmp_path / "empty.npy").touch()
    messages = {"shape": "float16 \\(2, 256", "type": "is float32", "pickle": "pickle", "nan": "NaN"}
    for name in (*bad, "archive", "empty", "absent"):
        with pytest.raises(MotionError, match=messages.get(name, name)):
            read_peer(tmp_path / f"{name}.npy")
    Image.new("RGB", (64, 32)).save(tmp_path / "wide.png")
    for still, message in (("wide.png", "not square: 64x32"), ("empty.npy", "cannot be read")):
        with pytest.raises(PlateError, match=message):
            compare_peer(tmp_path / still, home / "fields" / "same.npy")


def test_from_the_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--peers", str(home / "fields"), str(home / "stills")]
    assert main([*command, "-o", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "mean of 2" in text and "Progress: 100%" in text and (tmp_path / "peers.txt").read_text("utf-8") in text
    assert "* alone: " in text and "has no picture alone" in text and "* torn: " in text
    facts = json.loads((tmp_path / "peers.json").read_text("utf-8"))
    assert list(facts["stills"]) == ["opposite", "same"] and list(facts["remarks"]) == ["alone", "torn"]
    assert facts["stills"]["same"]["direction"][0] < 1 and facts["mean"]["psnr"] is None
    assert Image.open(tmp_path / "same.png").size == (3 * 512 + 8, 512)
    assert main([*command, "--split", "val"]) == 2
    assert main(["evaluate", "--peers", str(tmp_path), str(home)]) == 2
    errors = capsys.readouterr().err
    assert "--split has no meaning for peers" in errors and "has no fields" in errors
