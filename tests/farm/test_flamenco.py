# SPDX-License-Identifier: Apache-2.0
"""The job type for Flamenco, compiled under node: its tasks are commands that make the files of `loopcore animate`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import _farm
import pytest

from loopcore.cli import main

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")
STUBS = Path(__file__).with_name("flamenco_stubs.js")
# The schema AvailableJobSetting of Flamenco's API.
TYPES = {"string", "int32", "float", "bool"}
KEYS = set(
    "key type subtype choices propargs description label default eval evalInfo visible required editable".split()
)


def compiled(folder: Path, **settings: object) -> dict[str, Any]:
    """Install the job type by the command, and compile a job of it."""
    _farm.loopcore("farm", "flamenco", "-o", folder / "scripts")
    assert NODE is not None
    done = subprocess.run(
        [NODE, STUBS, folder / "scripts" / "loopcore_animate.js", json.dumps(settings)],
        capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    if done.returncode:
        raise ValueError(done.stderr)
    return json.loads(done.stdout)


def run(tasks: list[dict[str, Any]]) -> list[int]:
    """Run tasks in order in this process, and return their exit codes."""
    commands = [command for task in tasks for command in task["commands"]]
    assert all(command["name"] == "exec" and command["parameters"]["exe"] == "{loopcore}" for command in commands)
    return [main([str(argument) for argument in command["parameters"]["args"]]) for command in commands]


def test_the_tasks_make_the_files_of_animate(tmp_path: Path) -> None:
    still, hints = _farm.scene(tmp_path, "a plate's.png")
    options = ("--resolution", 90, "--cycles", 2)
    _farm.loopcore(
        "animate", still, "--hints", hints, "-o", tmp_path / "plain", "--frames", 8, "--speed", 0.5, *options
    )
    job = compiled(
        tmp_path, plate=str(still), hints=str(hints), output=str(tmp_path / "out"), frames=8, speed=0.5, chunk_size=6,
        options=" ".join(map(str, options)),
    )  # fmt: skip
    names = [task["name"] for task in job["tasks"]]
    renders = ["frames-1001-1006", "frames-1007,1008"]
    assert names == ["predict", *renders, "preview.mp4", "preview_sheet.png", "check"]
    assert [task["dependencies"] for task in job["tasks"]] == [[], ["predict"], ["predict"], renders, renders, renders]
    assert run(job["tasks"])[:-1] == [0] * 5
    made, plain = _farm.files(tmp_path / "out"), _farm.files(tmp_path / "plain")
    assert {name for name in made if name not in plain} == {"a plate's_loop.mp4", "a plate's_loop_sheet.png"}
    recipes = [json.loads(files.pop("recipe.json")) for files in (made, plain)]
    assert recipes[0]["hash"] == recipes[1]["hash"] and all(made[name] == plain[name] for name in plain)


def test_a_given_motion_is_not_predicted(tmp_path: Path) -> None:
    job = compiled(tmp_path, plate="/s/p.exr", output="/s/out", motion="/s/m.exr", mask="/s/k.png", frames=4)
    assert [task["name"] for task in job["tasks"]] == ["frames-1001-1004", "preview.mp4", "preview_sheet.png", "check"]
    arguments = job["tasks"][0]["commands"][0]["parameters"]["args"]
    assert "--motion=/s/m.exr" in arguments and "--mask=/s/k.png" in arguments


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"plate": "/s/{jobs}.exr"}, "contains a brace"),
        ({"options": "--range 1-2"}, "--range is a setting of its own"),
        ({"options": "stray"}, "belongs to no option"),
    ],
)
def test_what_would_break_the_job_is_refused(settings: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        compiled(tmp_path, **{"plate": "/s/p.exr", "output": "/s/out", **settings})


def test_the_settings_follow_the_schema(tmp_path: Path) -> None:
    settings = compiled(tmp_path, plate="/s/p.exr", output="/s/out")["type"]["settings"]
    assert len({setting["key"] for setting in settings}) == len(settings)
    for setting in settings:
        assert setting.keys() <= KEYS and setting["type"] in TYPES, setting
        assert setting.get("subtype", "file_path") in ("file_path", "dir_path", "hashed_file_path")
        assert setting.get("visible", "visible") in ("visible", "hidden", "submission", "web")
