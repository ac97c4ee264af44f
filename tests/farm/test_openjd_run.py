# SPDX-License-Identifier: Apache-2.0
"""A bundle run by the real `openjd` command makes the files of `loopcore animate`, whatever happens to its tasks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import _farm
import _scenes
import pytest

pytest.importorskip("openjd.cli", reason="openjd-cli is not installed")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and scripts")

OPTIONS = ("--frames", 8, "--speed", 0.9, "--proxy")
LONG = ("--frames", 100)
# What a shell, YAML, JSON or a template would take for something else.
PLATE = """a'b "$(exit 1)" {{Param.Output}} # é 滝 🌊.png"""


@dataclass(frozen=True)
class Farm:
    """A bundle, and the files that `loopcore animate` makes of the same options."""

    bundle: Path
    plain: dict[str, bytes]
    environment: dict[str, str]

    @property
    def frames(self) -> Path:
        return self.bundle / "frames"

    @property
    def pid(self) -> Path:
        return self.bundle / "pid"

    def start(self, *arguments: object, command: str = "run", parameters: str = "") -> subprocess.Popen[str]:
        values = parameters or f"file://{self.bundle / 'openjd_parameters.yaml'}"
        given = [sys.executable, "-m", "openjd", command, self.bundle / "template.yaml", "-p", values, *arguments]
        return subprocess.Popen(
            [str(part) for part in given], env={**self.environment, "LOOPCORE_PID": str(self.pid)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        )  # fmt: skip

    def run(self, *arguments: object, command: str = "run", code: int = 0) -> str:
        process = self.start(*arguments, command=command)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == code, out
        return out


def farm(folder: Path, plate: str, options: tuple[object, ...], preview: bool) -> Farm:
    still, hints = _farm.scene(folder / "in", plate)
    _farm.loopcore("animate", still, "--hints", hints, "-o", folder / "plain", *options, *["--preview"][: int(preview)])
    _farm.loopcore("farm", "openjd", still, "--hints", hints, "-o", folder / "bundle", "--chunk", 100, *options)
    return Farm(folder / "bundle", _farm.files(folder / "plain"), _farm.executables(folder / "bin"))


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    return farm(tmp_path_factory.mktemp("long"), "plate.png", LONG, preview=False)


def test_a_whole_job_makes_the_files_of_animate(tmp_path: Path) -> None:
    short = farm(tmp_path, PLATE, OPTIONS, preview=True)
    summary = short.run(command="summary")
    assert PLATE in summary and all(f"'{step}'" in summary for step in ("Predict", "Frames", "Preview", "Check"))
    log = short.run("-p", "ChunkSize=5")
    # Chunks are balanced: 8 frames by 5 make 4 and 4.
    assert "Frames(CHUNK[INT]) = 1001-1004" in log and "Frames(CHUNK[INT]) = 1005-1008" in log
    assert "openjd_progress: 100.0" in log and "openjd_status: Frames 4 of 4" in log and "openjd_fail" not in log
    made = _farm.files(short.frames)
    # The preview of `animate` has a picture of the motion besides, which the step Preview does not make.
    picture = next(name for name in short.plain if name.endswith("_motion.png"))
    assert made == {name: data for name, data in short.plain.items() if name != picture}


def test_chunks_at_once_with_mapped_paths(long: Farm, tmp_path: Path) -> None:
    """The paths of the submitting machine do not exist here: rules map them."""
    values = json.loads((long.bundle / "openjd_parameters.yaml").read_text("utf-8"))
    shutil.copytree(long.bundle.parent / "in", tmp_path / "in")
    for name in ("Plate", "Hints"):
        values[name] = f"/studio/in/{Path(values[name]).name}"
    values |= {"Output": "/studio/out", "Motion": "/studio/out/motion_predicted.exr"}
    rules = [{"source_path_format": "POSIX", "source_path": "/studio", "destination_path": str(tmp_path)}]
    mapping = ("--path-mapping-rules", json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": rules}))

    def start(*arguments: object) -> subprocess.Popen[str]:
        return long.start(*arguments, *mapping, parameters=json.dumps(values))

    first = start("--step", "Predict")
    assert first.wait(120) == 0, first.communicate()
    both = [start("--step", "Frames", "-tp", f"Frames={chunk}") for chunk in ("1001-1050", "1051-1100")]
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
    made, plain = _farm.files(tmp_path / "out"), dict(long.plain)
    # It names the plate's path.
    recipes = [json.loads(found.pop("recipe.json")) for found in (made, plain)]
    assert made == plain and recipes[0]["hash"] == recipes[1]["hash"]


def test_a_failing_chunk_says_why_and_costs_nothing_else(long: Farm) -> None:
    shutil.rmtree(long.frames, ignore_errors=True)
    blocked = long.frames / "plate_loop.1003.exr"
    blocked.mkdir(parents=True)
    log = long.run("--step", "Frames", "--run-dependencies", "-tp", "Frames=1001-1004", code=1)
    assert f"openjd_fail: frame 1003: cannot write '{blocked}'" in log and "exited with code: 1 " in log
    blocked.rmdir()
    long.run("--step", "Frames", "-tp", "Frames=1001-1004")
    made = _farm.files(long.frames)
    assert len([name for name in made if "_loop." in name]) == 4
    assert made == {name: long.plain[name] for name in made}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_chunk_is_continued_to_the_same_bytes(number: signal.Signals, long: Farm) -> None:
    shutil.rmtree(long.frames, ignore_errors=True)
    long.run("--step", "Predict")
    process = long.start("--step", "Frames")
    _scenes.wait_for(lambda: len(_scenes.frames(long.frames)) >= 3, process=process)
    if number == signal.SIGTERM:
        process.send_signal(number)  # openjd notifies the task, and would kill it two minutes later
    else:
        os.kill(int(long.pid.read_text()), number)
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    if number == signal.SIGTERM:
        assert "exited with code: 143 " in log and not _scenes.hidden(long.frames)
    partial = _scenes.contents(_scenes.frames(long.frames))
    assert 3 <= len(partial) < 100 and partial == {name: long.plain[name] for name in partial}
    log = long.run("--step", "Frames")
    assert f"{len(partial)} up to date" in log
    assert _farm.files(long.frames) == long.plain
