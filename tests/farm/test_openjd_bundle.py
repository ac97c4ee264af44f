# SPDX-License-Identifier: Apache-2.0
"""Bundles of all kinds of jobs: valid, complete, and with commands that make the frames of `loopcore animate`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import _farm
import _scenes
import pytest

from loopcore.baking.recipe import read_recipe
from loopcore.cli import main

yaml = pytest.importorskip("yaml", reason="openjd-cli is not installed")
model = pytest.importorskip("openjd.model", reason="openjd-cli is not installed")

# What a shell, YAML, JSON or a template would take for something else.
NASTY = """a'b "$(exit 1)" {{Param.Output}} # é 滝 🌊.png"""


def bundle(folder: Path, *options: object) -> dict[str, Any]:
    """Write a bundle, and return its files as YAML, once the template and the values have passed as a job."""
    _farm.loopcore("farm", "openjd", *options, "-o", folder)
    found = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in folder.glob("*.yaml")}
    values = found["openjd_parameters"]
    assert {entry["name"]: str(entry["value"]) for entry in found["parameter_values"]["parameterValues"]} == values
    template = model.decode_job_template(template=found["template"], supported_extensions=["TASK_CHUNKING"])
    given = model.preprocess_job_parameters(
        job_template=template, job_parameter_values=values, job_template_dir=folder, current_working_dir=folder
    )
    found["job"] = model.create_job(job_template=template, job_parameter_values=given)
    return found


def chunks(found: dict[str, Any]) -> list[str]:
    step = next(step for step in found["job"].steps if step.name == "Frames")
    return [str(task["Frames"].value) for task in model.StepParameterSpaceIterator(space=step.parameterSpace)]


def run_step(found: dict[str, Any], name: str, **task: str) -> int:
    """Run a step's command in this process, with its parameters put in as the specification says: once."""
    step = next(step for step in found["template"]["steps"] if step["name"] == name)
    values = {f"Param.{key}": str(value) for key, value in found["openjd_parameters"].items()}
    values |= {f"Task.Param.{key}": value for key, value in task.items()}
    arguments = step["script"]["actions"]["onRun"]["args"]
    return main([re.sub(r"\{\{([\w.]+)\}\}", lambda match: values[match[1]], argument) for argument in arguments])


@pytest.mark.parametrize(
    "plate, options",
    [
        (NASTY, ()),
        ("plate.png", ("--resolution", 60, "--cycles", 2, "--steady", 0.5, "--method", "splat")),
        ("plate.png", ("--speed", 0.7, "--fps", "30000/1001", "--first", -3, "--contrast", 0.25)),
        ("plate.png", ("--format", "png", "--depth", 16, "--name", "{{Param.Name}}")),
    ],
)
def test_the_commands_make_the_files_of_animate(plate: str, options: tuple[object, ...], tmp_path: Path) -> None:
    still, hints = _farm.scene(tmp_path, plate)
    mask = _scenes.png(tmp_path / "mask.png", "Y", _farm.WIDTH, _farm.HEIGHT)
    common = (still, "--hints", hints, "--mask", mask, "--frames", 6, *options)
    _farm.loopcore("animate", *common, "-o", tmp_path / "plain")
    found = bundle(tmp_path / "bundle", *common, "--chunk", 4)
    assert run_step(found, "Predict") == 0
    assert len(chunks(found)) == 2
    for chunk in reversed(chunks(found)):
        assert run_step(found, "Frames", Frames=chunk) == 0
    made, plain = _farm.files(tmp_path / "bundle" / "frames"), _farm.files(tmp_path / "plain")
    documents = [json.loads(files.pop("recipe.json")) for files in (made, plain)]
    for document in documents:
        document["plate_path"] = Path(document["plate_path"]).name
    assert made == plain and documents[0] == documents[1]
    assert run_step(found, "Check") in (0, 1)  # not 2: it finds plate and frames


def test_a_given_motion_needs_no_prediction(tmp_path: Path) -> None:
    still, hints = _farm.scene(tmp_path)
    _farm.loopcore("predict", still, "--hints", hints, "-o", tmp_path / "m.exr")
    options = (still, "--motion", tmp_path / "m.exr", "--convention", "motion", "--rescale", "--frames", 4)
    _farm.loopcore("animate", *options, "-o", tmp_path / "plain")
    found = bundle(tmp_path / "bundle", *options, "--to", tmp_path / "there", "--target-seconds", 90)
    assert [step.name for step in found["job"].steps] == ["Frames", "Preview", "Check"]
    frames = found["job"].steps[0].parameterSpace.taskParameterDefinitions["Frames"]
    assert (frames.chunks.defaultTaskCount, frames.chunks.targetRuntimeSeconds) == (5, 90)
    assert run_step(found, "Frames", Frames="1001-1004") == 0
    assert read_recipe(tmp_path / "there")[0] == read_recipe(tmp_path / "plain")[0]


def test_a_range_leaves_out_what_needs_the_whole_loop(tmp_path: Path) -> None:
    still, _ = _farm.scene(tmp_path)
    found = bundle(tmp_path / "bundle", still, "--range", "1001-1009x2,1020-1021", "--chunk", 4, "--device", "cuda")
    assert [step.name for step in found["job"].steps] == ["Predict", "Frames"]
    assert chunks(found) == ["1001-1007:2", "1009,1020,1021"]
    assert found["job"].steps[1].hostRequirements.amounts[0].name == "amount.worker.gpu"


def test_paths_are_parameters_with_types_and_directions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, hints = _farm.scene(tmp_path)
    painted = _scenes.png(tmp_path / "painted.png", "Y", _farm.WIDTH, _farm.HEIGHT)
    hints.write_text(json.dumps({"loopcore_hints": 1, "size": [_farm.WIDTH, _farm.HEIGHT], "mask": painted.name}))
    monkeypatch.chdir(tmp_path)
    found = bundle(tmp_path / "bundle", "plate.png", "--hints", "hints.json")
    paths = {
        entry["name"]: (entry["objectType"], entry["dataFlow"], found["openjd_parameters"][entry["name"]])
        for entry in found["template"]["parameterDefinitions"] if entry["type"] == "PATH"
    }  # fmt: skip
    frames = tmp_path / "bundle" / "frames"
    assert paths == {
        "Plate": ("FILE", "IN", str(tmp_path / "plate.png")),
        "Hints": ("FILE", "IN", str(tmp_path / "hints.json")),
        "Motion": ("FILE", "OUT", str(frames / "motion_predicted.exr")),
        "Output": ("DIRECTORY", "INOUT", str(frames)),
    }
    assert found["asset_references"]["assetReferences"]["inputs"]["filenames"] == [str(painted)]


@pytest.mark.parametrize(
    "options, message",
    [
        (("missing.png",), "missing.png"),
        (("plate.png", "--chunk", "0"), "chunk 0"),
        (("plate.png", "--range", "1-9"), "are not in the loop"),
        (("plate.png", "--name", "a/b"), "a/b"),
        (("plate.png", "--layer", "a\nb"), "cannot hold"),
        (("plate.png", "--layer", "a\u2028b"), "cannot hold"),
        (("plate.png", "--command", "x" * 1025), "1025 characters"),
    ],
)
def test_what_a_bundle_cannot_hold_is_refused(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _farm.scene(tmp_path)
    assert main(["farm", "openjd", str(tmp_path / options[0]), *options[1:], "-o", str(tmp_path / "bundle")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "bundle").exists()


def test_messages_are_lines_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a file cannot send a message of its own."""
    monkeypatch.setenv("LOOPCORE_PROGRESS", "openjd")
    assert main(["predict", str(tmp_path / "a\nopenjd_env: X=1"), "-o", str(tmp_path / "m.exr")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "openjd_status: Reading the plate"
    assert lines[-1].startswith("openjd_fail: ") and not any(line.startswith("openjd_env") for line in lines)
    with pytest.raises(SystemExit, match="2"):
        main(["animate", "--frames", "many"])
    assert "openjd_fail: argument --frames: invalid int value: 'many'" in capsys.readouterr().out
