# SPDX-License-Identifier: Apache-2.0
"""Tests of setting up the worker's Python: real environments, real pip, wheels in a folder; without Blender.

The tests that install all dependencies take the wheels from the folder in LOOPCORE_WHEELS or download them with pip,
and are skipped if that fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import _package
import _scenes
import pytest
from _setups import failure, finish, install, wheel

ROOT = Path(__file__).resolve().parents[3]
setup = _package.module("engine.setup")
environment = _package.module("engine.environment")
place_module = _package.module("engine.place")
Place, Setup, state_of = place_module.Place, setup.Setup, place_module.state_of
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
# Time limit of calls in Blender's main thread.
WINDOW_LIMIT_S = 0.05
ODD_NAME = "it's a größe 滝" + ("" if os.name == "nt" else ' "x"')


@pytest.fixture(scope="module")
def real_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loopcore's wheel, as in the extension."""
    sys.path.insert(0, str(ROOT))
    try:
        import build_addon
    finally:
        sys.path.remove(str(ROOT))
    name, data = build_addon.build_wheel(ROOT)
    path = tmp_path_factory.mktemp("addon wheel") / name
    path.write_bytes(data)
    return path


def pretend_ready(place: Any) -> None:
    """Create the files of a finished environment."""
    place.python.parent.mkdir(parents=True)
    place.python.write_text("", "utf-8")
    place.wheel.write_bytes(b"a wheel")
    about = {"version": "1", "python": "3.11.9", "torch": None, "wheel": hashlib.sha256(b"a wheel").hexdigest()}
    place.marker.write_text(json.dumps(about), "utf-8")


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of running processes that contain a folder's path."""
    done = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, check=True)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [line for line in lines if str(folder) in line and " ps " not in line and "<defunct>" not in line]


# States


def test_only_a_finished_setup_is_ready(tmp_path: Path) -> None:
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


def test_another_version_of_the_addon_makes_it_outdated(tmp_path: Path) -> None:
    place = Place(tmp_path / "engine", tmp_path / "loopcore.whl")
    pretend_ready(place)
    place.wheel.write_bytes(b"another wheel")
    os.utime(place.wheel, (1, 1))
    assert state_of(place).name == "outdated"
    place.wheel.unlink()
    assert state_of(place).name == "outdated"


def test_torch_has_the_version_of_the_constraints() -> None:
    pinned = re.search(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert pinned is not None and pinned[1] == environment.TORCH


def test_requirements_are_read_from_the_wheel(real_wheel: Path, tmp_path: Path) -> None:
    needed, torches = environment.requirements(real_wheel)
    assert {re.split("[<>=]", text)[0] for text in needed} >= {"numpy", "numba", "OpenEXR", "pillow"}
    assert [text[:5] for text in torches] == ["torch"] and not any("extra" in text for text in needed)
    other = wheel(tmp_path, "loopcore", {}, ("torchvision>=1", "torch (>=2)", 'pytest; extra == "test"'))
    assert environment.requirements(other) == (["torchvision>=1"], ["torch (>=2)"])


# Which Python


def test_a_base_python_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(sys.executable)
    assert setup.find_base_python(own) == own
    monkeypatch.setenv("PATH", str(tmp_path))
    assert setup.find_base_python(tmp_path / "gone") is None
    if os.name != "nt":
        (tmp_path / "python3.11").symlink_to(own)
        assert setup.find_base_python(tmp_path / "gone") == tmp_path / "python3.11"


def test_another_python_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "MIN_PYTHON", (3, 99))
    with pytest.raises(environment.Failed, match="needs 3.11 to 3.13"):
        environment.check_python()


def test_a_chosen_python_is_checked_with_a_bake(tmp_path: Path) -> None:
    place = Place(tmp_path / ODD_NAME, tmp_path / "no.whl")
    work = Setup.check(place, Path(sys.executable))
    polls = finish(work)
    assert work.state == "done", work.error
    assert work.facts["version"] in work.message and work.facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert polls[len(polls) * 99 // 100] < WINDOW_LIMIT_S
    _scenes.wait_for(lambda: [path.name for path in place.folder.iterdir()] == ["check.log"])
    assert state_of(place).name == "absent"  # a check installs nothing


EVERYTHING = ("",)


def python_with(folder: Path, *, without: tuple[str, ...]) -> Path:
    """Create an environment with this one's packages, except those whose names start with one of `without`."""
    import venv

    venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt").create(folder)
    own = Path(sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})["purelib"])
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.lower().startswith((*without, "__editable__", "_", "pip", "distutils")):
            (own / path.name).symlink_to(path)
    return _package.module("engine.process").environment_python(folder)


def test_an_unsuitable_python_is_reported(tmp_path: Path, real_wheel: Path) -> None:
    bare = python_with(tmp_path / "bare", without=EVERYTHING)
    place = Place(tmp_path / "engine", tmp_path / "no.whl")
    assert "has no Loopcore" in failure(Setup.check(place, bare))
    assert "cannot be started" in failure(Setup.check(place, tmp_path / "gone"))
    # With the add-on's loopcore, it lacks the dependencies.
    assert "lacks the package 'numpy'" in failure(Setup.check(Place(tmp_path / "engine", real_wheel), bare))


@posix
@pytest.mark.parametrize("without", [("loopcore",), ("loopcore", "torch")], ids=["torch", "no torch"])
def test_a_python_without_loopcore_uses_the_addons(tmp_path: Path, real_wheel: Path, without: Any) -> None:
    python = python_with(tmp_path / "studio", without=without)
    place = Place(tmp_path / ODD_NAME, real_wheel)
    work = Setup.check(place, python)
    polls = finish(work)
    assert work.state == "done", work.error
    assert polls[len(polls) * 99 // 100] < WINDOW_LIMIT_S
    has_torch = "torch" not in without
    assert (work.facts["torch"] is not None) == has_torch
    assert ("no torch: no prediction" in work.message) == (not has_torch)
    assert [path.name for path in place.folder.glob("loopcore-*/loopcore/__main__.py")] == ["__main__.py"]
    # An installed loopcore takes precedence, here an incomplete one that fails.
    own = tmp_path / "studio" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (own / "loopcore").mkdir()
    (own / "loopcore" / "__init__.py").write_text("", "utf-8")
    assert "incomplete Loopcore (no loopcore.__main__)" in failure(Setup.check(place, python))


def test_the_addons_loopcore_is_unpacked_once(tmp_path: Path, real_wheel: Path) -> None:
    library = _package.module("engine.library")
    first = library.unpacked(real_wheel, tmp_path)
    made = (first / "loopcore" / "__init__.py").stat().st_mtime_ns
    assert library.unpacked(real_wheel, tmp_path) == first
    assert (first / "loopcore" / "__init__.py").stat().st_mtime_ns == made
    other = library.unpacked(wheel(tmp_path / "newer", "loopcore", {"loopcore/__init__.py": ""}), tmp_path)
    assert [path for path in tmp_path.glob("*loopcore-*") if path.is_dir()] == [other]


# Setting up


def test_reasons_why_a_setup_cannot_start(tmp_path: Path, real_wheel: Path) -> None:
    (tmp_path / "wheels").mkdir()
    place = Place(tmp_path / "engine", real_wheel)
    assert "no wheels" in failure(install(place, tmp_path / "wheels"))
    wheel(tmp_path / "wheels", "something", {})
    assert "wheel is missing" in failure(
        install(Place(tmp_path / "engine", tmp_path / "gone.whl"), tmp_path / "wheels")
    )
    (tmp_path / "file").write_text("in the way", "utf-8")
    error = failure(install(Place(tmp_path / "file" / "engine", real_wheel), tmp_path / "wheels"))
    assert str(tmp_path / "file") in error
    work = Setup.install(place, tmp_path / "gone", wheels=tmp_path / "wheels")
    assert "No such file" in failure(work) or os.name == "nt"
    _scenes.wait_for(lambda: state_of(place).name == "absent")


def test_a_missing_package_fails_cleanly(tmp_path: Path, real_wheel: Path) -> None:
    wheel(tmp_path / "wheels", "something", {})
    place = Place(tmp_path / ODD_NAME, real_wheel)
    place.folder.mkdir()
    place.marker.write_text('{"version": "of an earlier one"}', "utf-8")
    work = install(place, tmp_path / "wheels")
    error = failure(work)
    assert "numpy" in error and "No matching distribution" in error and str(place.log) in error
    assert not place.marker.exists()
    _scenes.wait_for(lambda: state_of(place).name == "absent")
    _scenes.wait_for(lambda: not any(path.is_dir() for path in place.folder.iterdir()))


def test_an_environment_that_cannot_bake_is_not_ready(tmp_path: Path) -> None:
    """The wheel can be installed, but has no worker."""
    wheel(tmp_path / "wheels", "something", {"something.py": "here = True\n"})
    broken = wheel(tmp_path, "loopcore", {"loopcore/__init__.py": "import something\n"}, ("something",))
    place = Place(tmp_path / "engine", broken)
    work = install(place, tmp_path / "wheels")
    error = failure(work)
    assert "incomplete Loopcore (no loopcore.__main__)" in error and str(place.python) in error
    installed = subprocess.run([str(place.python), "-I", "-c", "import loopcore; print(loopcore.something.here)"])
    assert installed.returncode == 0  # installed, but not usable
    assert state_of(place).name == "unfinished" and not place.marker.exists()
    removal = Setup.remove(place)
    finish(removal)
    assert removal.state == "done" and state_of(place).name == "absent"


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
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
        assert state_of(place).name != "ready" and not place.marker.exists()
        _scenes.wait_for(lambda: state_of(place).name == "absent")
    finally:
        subprocess.run([umount, str(disk)], check=True)


@posix
def test_cancelling_removes_the_environment(tmp_path: Path, real_wheel: Path) -> None:
    wheel(tmp_path / "wheels", "something", {})
    place = Place(tmp_path / "engine", real_wheel)
    work = install(place, tmp_path / "wheels")
    finish(work, until=lambda: place.environment.exists() and processes_in(place.environment))
    begin = time.monotonic()
    work.cancel()
    assert time.monotonic() - begin < WINDOW_LIMIT_S and work.state == "cancelled"
    # Until the files are removed, this Blender itself holds the lock.
    busy = []
    while work.cleaning:
        busy.append(state_of(place).name)
    assert "busy" in busy and state_of(place).name == "absent"
    _scenes.wait_for(lambda: not processes_in(tmp_path), 1)


HOLDER = """
import json, sys, time
sys.path[:0] = json.loads(sys.argv[1])
import _package
from pathlib import Path
setup = _package.module("engine.setup")
folder, wheel, wheels = map(Path, sys.argv[2:5])
work = setup.Setup.install(setup.Place(folder, wheel), Path(sys.executable), wheels=wheels)
while work.state == "running":
    work.poll()
    time.sleep(0.01)
"""


@posix
def test_the_installer_and_its_pip_end_with_blender(tmp_path: Path, real_wheel: Path) -> None:
    wheel(tmp_path / "wheels", "something", {})
    place = Place(tmp_path / "engine", real_wheel)
    where = json.dumps([str(Path(_package.__file__).parent)])
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
    """A folder with the wheels of all dependencies except torch."""
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


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> str:
    """URL of a package index in files, with all dependencies, and torch if pip can download it."""
    folder = tmp_path_factory.mktemp("index")
    torch = f"torch=={environment.TORCH}" + ("+cpu" if sys.platform == "linux" else "")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", str(folder)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run([*command, torch], capture_output=True, timeout=300)
    for found in [*wheels.glob("*.whl"), *folder.glob("*.whl")]:
        name = re.sub(r"[-_.]+", "-", found.name.split("-")[0]).lower()
        page = folder / "simple" / name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("a", encoding="utf-8") as links:
            links.write(f'<a href="{found.as_uri()}">{found.name}</a>\n')
    return (folder / "simple").as_uri()


@pytest.mark.slow
def test_from_an_index_to_a_bake(tmp_path: Path, real_wheel: Path, index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from the network: pip uses the configured index, and no other source."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", index)
    has_torch = (Path(url2pathname(urlparse(index).path)) / "torch").is_dir()
    place = Place(tmp_path / "engine", real_wheel)
    work = Setup.install(place, Path(sys.executable), torch=has_torch)
    steps: list[str] = []
    finish(work, until=lambda: steps.append(work.message))
    assert work.state == "done", work.error
    assert state_of(place).name == "ready"
    about = json.loads(place.marker.read_text("utf-8"))
    assert str(about["torch"]).startswith(environment.TORCH if has_torch else "None")
    assert "Baking a small loop" in steps and len(set(steps)) > 10
    log = place.log.read_text("utf-8")
    assert f"Looking in indexes: {index}" in log and "Successfully installed" in log
    if not has_torch:
        pytest.skip("set up without torch: pip could not download it")


@pytest.mark.slow
def test_from_a_folder_of_wheels_to_a_bake(tmp_path: Path, real_wheel: Path, wheels: Path) -> None:
    place = Place(tmp_path / ODD_NAME / "engine", real_wheel)
    work = install(place, wheels, torch=True)
    steps: list[tuple[float, str]] = []
    polls = finish(work, until=lambda: steps.append((work.fraction, work.message)))
    assert work.state == "done", work.error
    assert polls[len(polls) * 99 // 100] < WINDOW_LIMIT_S
    fractions = [fraction for fraction, _ in steps]
    assert fractions == sorted(fractions) and len({message for _, message in steps}) > 10
    about = json.loads(place.marker.read_text("utf-8"))
    assert state_of(place).name == "ready" and about["python"] == ".".join(map(str, sys.version_info[:3]))
    # torch is installed only if the folder contains it: bakes from strokes and a mask do not need it.
    assert (about["torch"] is not None) == any(wheels.glob("torch-*"))
    again = Setup.check(place, place.python)
    finish(again)
    assert again.state == "done", again.error
    removal = Setup.remove(place)
    finish(removal)
    assert removal.state == "done" and not place.environment.exists() and state_of(place).name == "absent"
