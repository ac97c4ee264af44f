# SPDX-License-Identifier: Apache-2.0
"""Settings files: defaults, validation and messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from loopcore.cli.main import main
from loopcore.errors import MotionError
from loopcore.training.config import FieldConfig, PictureConfig, read_config


def test_empty_file_is_all_defaults_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("", "utf-8")
    config = read_config(path)
    assert isinstance(config, FieldConfig) and config.model.side == config.data.long_side == 512
    path.write_text('[data]\nclips = "films"\nlong_side = 384\n[run]\nlearning_rate = 1\n', "utf-8")
    config = read_config(path)
    assert isinstance(config, FieldConfig)
    assert config.data.clips == tmp_path / "films" and config.model.side == 384 and config.run.learning_rate == 1.0


def test_pictures_are_trained_on_by_the_same_command(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('pictures = "labelled"\nepochs = 2\n', "utf-8")
    assert read_config(path) == PictureConfig(tmp_path / "labelled", epochs=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data", "not valid TOML"),
        ("[date]\n", "unknown entry 'date'"),
        ("steps = 5\n", "unknown entry 'steps'"),
        ("[run]\nstep = 5\n", "unknown entry run.step: known are steps"),
        ("[run]\nsteps = 0\n", "run.steps is 0"),
        ("[run]\nsteps = 1.5\n", "run.steps is 1.5, but it must be of the type int"),
        ("[run]\nsteps = true\n", "of the type int"),
        ('[run]\nprecision = "half"\n', "choose one of auto"),
        ("[run]\nlearning_rate = 0\n", "above 0"),
        ("[data]\nside = 250\n", "multiple of 16"),
        ("[data]\nside = 16\n", "32 or more"),
        ("[data]\nlong_side = 128\n", "data.long_side is 128, but it must be 256 or more"),
        ("[data]\nheld_out = 2\n", "in 0..1"),
        ("[data]\nsynthetic = 0\n", "nothing to train on"),
        ("[model]\nside = 512\n", "size is data.long_side"),
        ("[loss]\nscales = -1\n", "loss.scales is -1"),
        ('pictures = "a"\nsteps = 5\n', "unknown entry steps"),
    ],
)
def test_error_names_the_invalid_entry(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(MotionError, match=message):
        read_config(path)
    with pytest.raises(MotionError, match="cannot be read"):
        read_config(tmp_path / "none.toml")


def test_options_that_belong_to_the_other_kind_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["train", str(tmp_path), "-o", out, "--epochs", "2"]) == 2
    assert "--epochs has no meaning for training on videos" in capsys.readouterr().err
    (tmp_path / "manifest.csv").touch()
    assert main(["train", str(tmp_path), "-o", out, "--steps", "2"]) == 2
    assert "--steps has no meaning for training on pictures" in capsys.readouterr().err
    (tmp_path / "run.toml").write_text('pictures = "."\n', "utf-8")
    assert main(["train", str(tmp_path / "run.toml"), "-o", out]) == 2
    assert "written as .safetensors" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none"), "-o", out]) == 2
    assert "not a folder of clips" in capsys.readouterr().err
