# SPDX-License-Identifier: Apache-2.0
"""Tests of setting up the worker's Python: real environments, real pip, wheels in a folder; no Blender, no network.

The one test that installs all that Loopcore needs takes the wheels from the folder named in LOOPCORE_WHEELS, or has
pip download them, and is skipped where it cannot.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _package
import _scenes
import pytest

ROOT = Path(__file__).resolve().parents[2]
setup = _package.module("setup")
environment = _package.module("environment")
Place, Setup, state_of = setup.Place, setup.Setup, setup.state_of
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
# Nothing that Blender waits for may take longer than this.
WINDOW_LIMIT_S = 0.05
ODD_NAME = "it's a größe 滝" + ("" if os.name == "nt" else ' "x"')


def wheel(folder: Path, name: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> Path:
    """A small wheel, version 0.1.0, with these files."""
    info = f"{name}-0.1.0.dist-info"
    about = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0"] + [f"Requires-Dist: {r}" for r in requires]
    contents = {
        **files,
        f"{info}/METADATA": "\n".join(about) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, text in contents.items():
            archive.writestr(inside, text)
    return path


@pytest.fixture(scope="module")
def real_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loopcore's own, as it is in the extension."""
    sys.path.insert(0, str(ROOT))
    try:
        import build_addon
    finally:
        sys.path.remove(str(ROOT))
    name, data = build_addon.build_wheel(ROOT)
    path = tmp_path_factory.mktemp("addon wheel") / name
    path.write_bytes(data)
    return path


def finish(work: Any, seconds: float = 900, until: Callable[[], object] = lambda: False) -> list[float]:
    """Poll as Blender does, to the end or `until`; how long each poll took."""
    end = time.monotonic() + seconds
    polls = [0.0]
    while work.state == "running" and not until():
        begin = time.perf_counter()
        work.poll()
        polls.append(time.perf_counter() - begin)
        assert time.monotonic() < end, work.message
        time.sleep(0.01)
    return sorted(polls)


def failure(work: Any) -> str:
    finish(work)
    assert work.state == "failed", (work.state, work.message)
    return work.error


def pretend_ready(place: Any) -> None:
    """What an environment that was set up looks like."""
    place.python.parent.mkdir(parents=True)
    place.python.write_text("", "utf-8")
    place.wheel.write_bytes(b"a wheel")
    about = {"version": "1", "python": "3.11.9", "torch": None, "wheel": hashlib.sha256(b"a wheel").hexdigest()}
    place.marker.write_text(json.dumps(about), "utf-8")


def processes_in(folder: Path) -> list[str]:
    """Command lines that name a folder, as `ps` sees them."""
    done = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, check=True)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [line for line in lines if str(folder) in line and " ps " not in line and "<defunct>" not in line]


# What is there


def test_only_what_was_set_up_to_the_end_is_ready(tmp_path: Path) -> None:
    place = Place(tmp_path / "engine", tmp_path / "loopcore.whl")
    assert state_of(place).name == "absent"
    pretend_ready(place)
    assert state_of(place).name == "ready" and "Python 3.11.9" in state_of(place).message
    text = place.marker.read_text("utf-8")
    for damage in ("", text[:-20], "[]", "null", '{"version": "1"}'):
        place.marker.write_text(damage, "utf-8")
        assert state_of(place).name == "unfinished"
    place.marker.unlink()
    assert state_of(place).name == "unfinished"
    place.marker.write_text(text, "utf-8")
    place.python.unlink()
    assert state_of(place).name == "broken"


def test_another_version_of_the_addon_needs_another_environment(tmp_path: Path) -> None:
    place = Place(tmp_path / "engine", tmp_path / "loopcore.whl")
    pretend_ready(place)
    place.wheel.write_bytes(b"another wheel")
    os.utime(place.wheel, (1, 1))
    assert state_of(place).name == "outdated"
    place.wheel.unlink()
    assert state_of(place).name == "outdated"


def test_torch_is_the_one_that_is_pinned_for_all() -> None:
    pinned = re.search(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert pinned is not None and pinned[1] == environment.TORCH


def test_what_the_wheel_needs_is_read_from_it(real_wheel: Path, tmp_path: Path) -> None:
    needed, torches = environment.requirements(real_wheel)
    assert {re.split("[<>=]", text)[0] for text in needed} >= {"numpy", "numba", "OpenEXR", "pillow"}
    assert [text[:5] for text in torches] == ["torch"] and not any("extra" in text for text in needed)
    other = wheel(tmp_path, "loopcore", {}, ("torchvision>=1", "torch (>=2)", 'pytest; extra == "test"'))
    assert environment.requirements(other) == (["torchvision>=1"], ["torch (>=2)"])


# Which Python


def test_a_python_that_can_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(sys.executable)
    assert setup.find_base_python(own) == own
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup.find_base_python(tmp_path / "gone") is None
    if os.name != "nt":
        (tmp_path / "python3.11").symlink_to(own)
        assert setup.find_base_python(tmp_path / "gone") == tmp_path / "python3.11"


def test_a_python_of_another_age_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "OLDEST", (3, 99))
    with pytest.raises(environment.Failed, match="needs 3.11 to 3.13"):
        environment.check_python()


def test_the_users_own_python_is_checked_with_a_bake(tmp_path: Path) -> None:
    place = Place(tmp_path / ODD_NAME, tmp_path / "no.whl")
    work = Setup.check(place, Path(sys.executable))
    polls = finish(work)
    assert work.state == "done", work.error
    assert work.facts["version"] in work.message and work.facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert polls[len(polls) * 99 // 100] < WINDOW_LIMIT_S
    _scenes.wait_for(lambda: [path.name for path in place.folder.iterdir()] == ["check.log"])
    assert state_of(place).name == "absent"  # nothing is set up by it


def test_a_python_without_loopcore_is_told(tmp_path: Path) -> None:
    import venv

    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(tmp_path / "bare")
    bare = _package.module("process").environment_python(tmp_path / "bare")
    place = Place(tmp_path / "engine", tmp_path / "no.whl")
    assert "has no Loopcore" in failure(Setup.check(place, bare))
    assert "cannot be started" in failure(Setup.check(place, tmp_path / "gone"))


# Setting up


def install(place: Any, wheels: Path, torch: bool = False) -> Any:
    return Setup.install(place, Path(sys.executable), wheels=wheels, torch=torch)


def test_what_cannot_begin_says_why(tmp_path: Path, real_wheel: Path) -> None:
    (tmp_path / "wheels").mkdir()
    place = Place(tmp_path / "engine", real_wheel)
    assert "no wheels" in failure(install(place, tmp_path / "wheels"))
    wheel(tmp_path / "wheels", "something", {})
    assert "lacks its wheel" in failure(install(Place(tmp_path / "engine", tmp_path / "gone.whl"), tmp_path / "wheels"))
    (tmp_path / "file").write_text("in the way", "utf-8")
    error = failure(install(Place(tmp_path / "file" / "engine", real_wheel), tmp_path / "wheels"))
    assert str(tmp_path / "file") in error
    work = Setup.install(place, tmp_path / "gone", wheels=tmp_path / "wheels")
    assert "No such file" in failure(work) or os.name == "nt"
    assert state_of(place).name == "absent"


def test_a_package_that_is_not_in_the_folder_ends_it_cleanly(tmp_path: Path, real_wheel: Path) -> None:
    wheel(tmp_path / "wheels", "something", {})
    place = Place(tmp_path / ODD_NAME, real_wheel)
    place.folder.mkdir()
    place.marker.write_text('{"version": "of an earlier one"}', "utf-8")
    work = install(place, tmp_path / "wheels")
    error = failure(work)
    assert "numpy" in error and "No matching distribution" in error and str(place.log) in error
    assert not place.marker.exists()
    _scenes.wait_for(lambda: not any(path.is_dir() for path in place.folder.iterdir()))
    assert state_of(place).name == "absent"


def test_what_does_not_bake_is_never_called_done(tmp_path: Path) -> None:
    """A wheel that installs, and has no worker in it."""
    wheel(tmp_path / "wheels", "something", {"something.py": "here = True\n"})
    broken = wheel(tmp_path, "loopcore", {"loopcore/__init__.py": "import something\n"}, ("something",))
    place = Place(tmp_path / "engine", broken)
    work = install(place, tmp_path / "wheels")
    error = failure(work)
    assert "not whole (no loopcore.__main__)" in error and str(place.python) in error
    installed = subprocess.run([str(place.python), "-I", "-c", "import loopcore; print(loopcore.something.here)"])
    assert installed.returncode == 0  # the wheels are in it; that is not enough
    assert state_of(place).name == "unfinished" and not place.marker.exists()
    removal = Setup.remove(place)
    finish(removal)
    assert removal.state == "done" and state_of(place).name == "absent"


def test_a_full_disk_ends_it_with_the_reason(tmp_path: Path) -> None:
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not (sys.platform == "linux" and mount and umount):
        pytest.skip("no small disk can be made here")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        wheel(tmp_path / "wheels", "large", {"large.py": "#" * (40 << 20)})
        place = Place(disk / "engine", wheel(tmp_path, "loopcore", {"loopcore/__init__.py": ""}, ("large",)))
        assert "No space left on device" in failure(install(place, tmp_path / "wheels"))
        assert state_of(place).name in ("absent", "unfinished") and not place.marker.exists()
        _scenes.wait_for(lambda: not any(path.is_dir() for path in place.folder.iterdir()))
    finally:
        subprocess.run([umount, str(disk)], check=True)


@posix
def test_cancelled_it_is_gone_and_not_done(tmp_path: Path, real_wheel: Path) -> None:
    wheel(tmp_path / "wheels", "something", {})
    place = Place(tmp_path / "engine", real_wheel)
    work = install(place, tmp_path / "wheels")
    finish(work, until=lambda: place.environment.exists() and processes_in(place.environment))
    begin = time.monotonic()
    work.cancel()
    assert time.monotonic() - begin < WINDOW_LIMIT_S and work.state == "cancelled"
    _scenes.wait_for(lambda: not processes_in(tmp_path), 1)
    _scenes.wait_for(lambda: not any(path.is_dir() for path in place.folder.iterdir()))
    assert state_of(place).name == "absent"


HOLDER = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
import _package
from pathlib import Path
setup = _package.module("setup")
folder, wheel, wheels = map(Path, sys.argv[2:5])
work = setup.Setup.install(setup.Place(folder, wheel), Path(sys.executable), wheels=wheels)
while work.state == "running":
    work.poll()
    time.sleep(0.01)
"""


@posix
def test_with_blender_goes_the_installer_and_its_pip(tmp_path: Path, real_wheel: Path) -> None:
    wheel(tmp_path / "wheels", "something", {})
    place = Place(tmp_path / "engine", real_wheel)
    where = json.dumps([str(Path(__file__).parent)])
    arguments = [where, str(place.folder), str(real_wheel), str(tmp_path / "wheels")]
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, *arguments])
    try:
        _scenes.wait_for(lambda: place.environment.exists() and len(processes_in(place.environment)) > 1)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        _scenes.wait_for(lambda: not processes_in(tmp_path), 1)
        assert state_of(place).name == "unfinished"
    finally:
        holder.kill()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, real_wheel: Path) -> Path:
    """A folder with the wheels of all that Loopcore needs, but torch."""
    if named := os.environ.get("LOOPCORE_WHEELS"):
        return Path(named)
    folder = tmp_path_factory.mktemp("wheels")
    needed, _ = environment.requirements(real_wheel)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", str(folder)]
    try:
        done = subprocess.run([*command, *needed], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("pip could not download the wheels in time")
    if done.returncode:
        pytest.skip(f"pip could not download the wheels: {done.stderr[-300:]}")
    return folder


@pytest.mark.slow
def test_from_a_folder_of_wheels_to_a_bake(tmp_path: Path, real_wheel: Path, wheels: Path) -> None:
    place = Place(tmp_path / ODD_NAME / "engine", real_wheel)
    work = install(place, wheels, torch=True)
    told: list[tuple[float, str]] = []
    polls = finish(work, until=lambda: told.append((work.fraction, work.message)))
    assert work.state == "done", work.error
    assert polls[len(polls) * 99 // 100] < WINDOW_LIMIT_S
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and len({message for _, message in told}) > 10
    about = json.loads(place.marker.read_text("utf-8"))
    assert state_of(place).name == "ready" and about["python"] == ".".join(map(str, sys.version_info[:3]))
    # torch was wanted, and is taken from the folder only if it is there; bakes from strokes and a mask do without.
    assert (about["torch"] is not None) == any(wheels.glob("torch-*"))
    again = Setup.check(place, place.python)
    finish(again)
    assert again.state == "done", again.error
    removal = Setup.remove(place)
    finish(removal)
    assert removal.state == "done" and not place.environment.exists() and state_of(place).name == "absent"
