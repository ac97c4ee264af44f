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

FRAMES = 100


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

    @property
    def temporary(self) -> Path:
        """Where sessions have their working folders."""
        return self.bundle.parent / "tmp"

    def daemon(self) -> int:
        """The process id of the running session's daemon; 0 where there is none."""
        for path in self.temporary.glob("OpenJD/*/loopcore/loopcore-pid"):
            return int(path.read_text() or 0)
        return 0

    def start(self, *arguments: object, command: str = "run", parameters: str = "") -> subprocess.Popen[str]:
        values = parameters or f"file://{self.bundle / 'openjd_parameters.yaml'}"
        given = [sys.executable, "-m", "openjd", command, self.bundle / "template.yaml", "-p", values, *arguments]
        return subprocess.Popen(
            [str(part) for part in given],
            env={**self.environment, "LOOPCORE_PID": str(self.pid), "TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        )  # fmt: skip

    def run(self, *arguments: object, command: str = "run", code: int = 0) -> str:
        process = self.start(*arguments, command=command)
        out, _ = process.communicate(timeout=200)
        assert process.returncode == code, out
        return out


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Farm:
    """A job with a given motion: Predict, which takes longest, is run by the examples of docs/pipeline.md."""
    folder = tmp_path_factory.mktemp("farm")
    still, hints = _farm.scene(folder / "in")
    _farm.loopcore("animate", still, "--hints", hints, "-o", folder / "plain", "--frames", FRAMES)
    motion = shutil.copy(folder / "plain" / "motion.exr", folder / "in")
    options = ("--motion", motion, "--frames", FRAMES, "--chunk", FRAMES)
    _farm.loopcore("farm", "openjd", still, "-o", folder / "bundle", *options)
    (folder / "tmp").mkdir()
    return Farm(folder / "bundle", _farm.files(folder / "plain"), _farm.executables(folder / "bin"))


@pytest.mark.parametrize("kill", [False, True])
def test_the_chunks_of_a_session_share_a_daemon(farm: Farm, kill: bool) -> None:
    """It ends with the session. Where it is killed, its chunk runs in its own process, and the next starts another."""
    process = farm.start("--step", "Frames", "-p", "ChunkSize=35")
    _scenes.wait_for(lambda: len(_scenes.frames(farm.frames)) >= 2, 200, process)
    daemon = farm.daemon()
    if kill:
        os.kill(daemon, signal.SIGKILL)
    log, _ = process.communicate(timeout=200)
    assert process.returncode == 0, log
    assert _farm.files(farm.frames) == farm.plain
    assert log.count("openjd_status: Preparing the loop") == (3 if kill else 1)
    assert log.count("the daemon ended") == kill
    assert daemon and _scenes.ended(daemon) and not list(farm.temporary.glob("OpenJD/*"))
    shutil.rmtree(farm.frames)


def test_chunks_at_once_with_mapped_paths(farm: Farm, tmp_path: Path) -> None:
    """The paths of the submitting machine do not exist here: rules map them."""
    values = json.loads((farm.bundle / "openjd_parameters.yaml").read_text("utf-8"))
    shutil.copytree(farm.bundle.parent / "in", tmp_path / "in")
    for name in ("Plate", "Motion"):
        values[name] = f"/studio/in/{Path(values[name]).name}"
    values["Output"] = "/studio/out"
    rules = [{"source_path_format": "POSIX", "source_path": "/studio", "destination_path": str(tmp_path)}]
    mapping = ("--path-mapping-rules", json.dumps({"version": "pathmapping-1.0", "path_mapping_rules": rules}))

    both = [
        farm.start("--step", "Frames", "-tp", f"Frames={chunk}", *mapping, parameters=json.dumps(values))
        for chunk in ("1001-1050", "1051-1100")
    ]
    for process in both:
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0, out
    made, plain = _farm.files(tmp_path / "out"), dict(farm.plain)
    # It names the plate's path.
    recipes = [json.loads(found.pop("recipe.json")) for found in (made, plain)]
    assert made == plain and recipes[0]["hash"] == recipes[1]["hash"]


def test_a_failing_chunk_says_why(farm: Farm) -> None:
    blocked = farm.frames / "plate_loop.1003.exr"
    blocked.mkdir(parents=True)
    log = farm.run("--step", "Frames", "-tp", "Frames=1001-1004", code=1)
    assert f"openjd_fail: frame 1003: cannot write '{blocked}'" in log and "exited with code: 1 " in log
    shutil.rmtree(farm.frames)


def test_killed_chunks_are_continued_to_the_same_bytes(farm: Farm) -> None:
    log = interrupted(farm, signal.SIGTERM)
    assert "openjd_fail: interrupted" in log and "exited with code: 143 " in log and not _scenes.hidden(farm.frames)
    interrupted(farm, signal.SIGKILL)
    partial = _scenes.contents(_scenes.frames(farm.frames))
    assert 4 <= len(partial) < FRAMES and partial == {name: farm.plain[name] for name in partial}
    log = farm.run("--step", "Frames")
    assert f"{len(partial)} up to date" in log and _farm.files(farm.frames) == farm.plain


def interrupted(farm: Farm, number: signal.Signals) -> str:
    """Run the frames until two more exist, send a signal, and return the log."""
    before = len(_scenes.frames(farm.frames))
    process = farm.start("--step", "Frames")
    _scenes.wait_for(lambda: len(_scenes.frames(farm.frames)) >= before + 2, 200, process)
    if number == signal.SIGTERM:
        process.send_signal(number)  # openjd passes it on, and would kill the task two minutes later
    else:
        os.kill(int(farm.pid.read_text()), number)
    log, _ = process.communicate(timeout=200)
    assert process.returncode == 1, log
    return log
