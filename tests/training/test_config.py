# SPDX-License-Identifier: Apache-2.0
"""Settings files: defaults, validation and messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from loopcore.cli.main import main
from loopcore.errors import MotionError, PlateError, SequenceError
from loopcore.training.config import FieldConfig, FluidConfig, read_config
from loopcore.training.manifest import path_inside
from loopcore.training.run_log import MetricsLog


def test_empty_file_is_all_defaults_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("", "utf-8")
    config = read_config(path)
    assert isinstance(config, FieldConfig) and config.model.side == config.data.long_side == 512
    path.write_text('[data]\nclips = "films"\nlong_side = 384\n[run]\nlearning_rate = 1\n', "utf-8")
    config = read_config(path)
    assert isinstance(config, FieldConfig)
    assert config.data.clips == tmp_path / "films" and config.model.side == 384 and config.run.learning_rate == 1.0


def test_pictures_and_footage_are_settings_of_the_fluid_network(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('pictures = "labelled"\nsteps = 2\n', "utf-8")
    assert read_config(path) == FluidConfig(tmp_path / "labelled", steps=2)
    path.write_text(
        """
        footage = "clips"
        cache = "/cache"
        exclude = ["brook_01", "sea"]
        flow = "torchvision:raft_small"
        flow_weights = "raft.pth"
        second_flow_weights = "fetch"
        teachers = ["one.safetensors", "more/two.safetensors"]
        weights = "before.safetensors"
        seed = 3
        threads = 2
        """,
        "utf-8",
    )
    assert read_config(path) == FluidConfig(
        footage=tmp_path / "clips", cache=Path("/cache"), exclude=("brook_01", "sea"), flow="torchvision:raft_small",
        flow_weights=tmp_path / "raft.pth", second_flow_weights="fetch",
        teachers=(tmp_path / "one.safetensors", tmp_path / "more" / "two.safetensors"),
        weights=tmp_path / "before.safetensors", seed=3, threads=2,
    )  # fmt: skip


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
        ('pictures = "a"\nepochs = 5\n', "unknown entry epochs: known are pictures, footage, cache"),
        ('footage = "a"\n[run]\nsteps = 5\n', "unknown entry run"),
        ('footage = "a"\nexclude = "b"\n', "exclude is 'b', but it must be of the type tuple"),
        ('footage = "a"\nteachers = [3]\n', "teachers is .3., but it must be of the type tuple"),
        ("footage = 3\n", "footage is 3, but it must be of the type Path"),
        ('pictures = "a"\nsteps = true\n', "of the type int"),
        ("[run]\nlearning_rate = nan\n", "run.learning_rate is nan, but it must be a finite number"),
        ("[loss]\nmoving = -inf\n", "loss.moving is -inf"),
        ("[loss]\nmatching = 1e308\n", "loss.matching is 1e.308, but it must be in 0..1e.06"),
        ("[run]\nlearning_rate = 1e308\n", "run.learning_rate is 1e.308, but it must be above 0 and at most 1"),
        ('footage = "a"\nsteps = 0\n', "settings .*run.toml: steps is 0, but it must be 1 or more"),
        ('footage = "a"\nthreads = -1\n', "settings .*run.toml: threads is -1, but it must be 1 or more"),
        ("[run]\nthreads = -1\n", "run.threads is -1"),
        ("[run]\nthreads = 100000\n", "run.threads is 100000, but it must be at most 4096"),
        ("[run]\nseed = 99999999999999999999999\n", "run.seed is 9+, but it must be at most"),
        ("[run]\nsteps = 1" + "0" * 5000 + "\n", "settings .*run.toml are not valid TOML"),
        ("[model]\nwidth = 1000000\n", "model.width is 1000000, but it must be at most 8192"),
        ("[model]\nwidest = 8\n", "model.widest is 8, but it must be 64 or more"),
        ("[model]\nhalvings = 1000000\n", "model.halvings is 1000000"),
        ("[loss]\nwidth = 0\n", "loss.width is 0"),
        ("[run]\nseed = " + "[" * 5000 + "]" * 5000 + "\n", "settings .*run.toml"),
        ("[run]\nseed = [[1], [2]]\n", "run.seed is ..1., .2.., but it must be of the type int"),
        ('[data]\nclips = "a\\u0000b"\n', "data.clips is 'a.x00b', but it must not contain NUL"),
        ('footage = "a"\nteachers = ["a\\u0000b"]\n', "teachers is .*NUL"),
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
    assert main(["train", str(tmp_path), "-o", out, "--encoder", "e.pth"]) == 2
    assert "--encoder has no meaning for training on videos" in capsys.readouterr().err
    (tmp_path / "manifest.csv").write_text("image,label,set,split\na,b,c,train\n", "utf-8")
    assert main(["train", str(tmp_path), "-o", out, "--second-flow", "dis"]) == 2
    assert "--second-flow has no meaning for training on pictures alone" in capsys.readouterr().err
    (tmp_path / "run.toml").write_text('pictures = "."\n', "utf-8")
    assert main(["train", str(tmp_path / "run.toml"), "-o", out]) == 2
    assert "written as .safetensors" in capsys.readouterr().err
    for name, value, least in (("steps", "0", 1), ("threads", "0", 1), ("threads", "-2", 1), ("seed", "-1", 0)):
        assert main(["train", str(tmp_path / "run.toml"), "-o", f"{out}.safetensors", f"--{name}", value]) == 2
        assert f"{name} is {value}, but it must be {least} or more" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", str(tmp_path), "-o", out, "--epochs", "2"])
    assert "unrecognized arguments: --epochs 2" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "none"), "-o", out]) == 2
    assert "not a folder of clips" in capsys.readouterr().err


def test_absurd_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text('pictures = "."\n', "utf-8")
    out = str(tmp_path / "out.safetensors")
    for name in ("steps", "threads", "seed"):
        assert main(["train", str(tmp_path / "run.toml"), "-o", out, f"--{name}", "9" * 25]) == 2
        assert f"{name} is 9999999999999999999999999, but it must be at most" in capsys.readouterr().err


def test_a_manifest_with_nul_in_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlateError, match="names 'a.x00b', which cannot be the name of a file"):
        path_inside(tmp_path, "a\0b")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00junk", b"step\n" + b"1" * 200_000 + b"\n"])
def test_a_junk_curve_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "curve.csv").write_bytes(content)
    with pytest.raises(SequenceError, match="curve.csv cannot be read"):
        MetricsLog(tmp_path / "curve.csv", 3)
