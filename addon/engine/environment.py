# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the worker's private environment. Run as a script by its base Python, never inside Blender.

Takes one JSON object as its argument, {folder, wheel, wheels, torch}, and prints one JSON object per line: {message,
done, total} for progress, {error} on failure, {torch} at the end. pip's output goes to stderr. Terminates with all its
child processes when its stdin closes.
"""

import email
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import venv
import zipfile
from pathlib import Path

# On Linux PyPI has only builds with CUDA, several gigabytes: the version suffix +cpu selects the build without.
TORCH = "2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
MIN_PYTHON, MAX_PYTHON = (3, 11), (3, 13)


class Failed(Exception):
    """The environment cannot be built; the message has the reason and a remedy."""


def main() -> int:
    """Build the environment."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        send(torch=build(**json.loads(sys.argv[1])))
        return 0
    except Failed as error:
        send(error=str(error))
    except OSError as error:
        name = f": '{error.filename}'" if error.filename else ""
        send(error=f"{error.strerror or error}{name}")
    return 1


def build(folder: str, wheel: str, wheels: str | None, torch: bool) -> bool:
    """Build a new environment in `folder`; returns whether it contains torch.

    Args:
        folder: where to build it; an existing one is removed first.
        wheel: loopcore's wheel.
        wheels: a folder to install from instead of the network.
        torch: whether to install torch; ignored if `wheels` does not contain it.
    """
    check_python()
    needed, torches = requirements(Path(wheel))
    pip = Pip(Path(folder), wheels)
    send(message="Creating the environment", done=0, total=4)
    create_environment(Path(folder))
    # Before anything is downloaded.
    source = find_torch(pip, torches) if torch else None
    send(message="Installing Loopcore's dependencies", done=1, total=4)
    pip.install(*needed)
    send(message="Installing torch" if source else "", done=2, total=4)
    if source:
        pip.install(*source)
    send(message="Installing Loopcore", done=3, total=4)
    pip.run("install", "--no-index", "--no-deps", "--force-reinstall", wheel)
    return source is not None


def check_python() -> None:
    if not MIN_PYTHON <= sys.version_info[:2] <= MAX_PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        raise Failed(
            f"'{sys.executable}' is Python {found}, and Loopcore needs 3.11 to 3.13: choose another Python to create "
            "the environment with"
        )


def requirements(wheel: Path) -> tuple[list[str], list[str]]:
    """Return the requirements of loopcore's wheel, those other than torch, and that of torch."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(name))
    needed = [text for text in about.get_all("Requires-Dist", []) if "extra ==" not in text]
    torches = [text for text in needed if re.match(r"torch\b", text)]
    return [text for text in needed if text not in torches], torches


def create_environment(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(folder)
    except subprocess.CalledProcessError as error:
        output = (error.output or b"").decode("utf-8", "replace").strip()
        print(output, file=sys.stderr)
        hint = "it has no ensurepip" if "ensurepip" in output else output[-300:] or str(error)
        raise Failed(
            f"'{sys.executable}' cannot create an environment with pip ({hint}): choose another Python"
        ) from None


def find_torch(pip: "Pip", torches: list[str]) -> list[str] | None:
    """Return pip's arguments that install torch; None if a folder of wheels does not have it.

    Raises:
        Failed: no index has it.
    """
    if pip.wheels is not None:
        return torches if pip.finds(*torches) else None
    send(message="Looking for torch")
    pinned = f"torch=={TORCH}" + ("+cpu" if sys.platform == "linux" else "")
    # A dry run without dependencies downloads only the metadata of one build.
    for source in ([pinned], [pinned, "--extra-index-url", CPU_INDEX]):
        if pip.finds(*source):
            return source
    raise Failed(
        f"torch {TORCH} cannot be downloaded: neither pip's index nor {CPU_INDEX} offers it, or they cannot be "
        "reached. Nothing else was downloaded. Check the network's firewall, choose a folder of wheels, or turn off "
        "Install torch: without it, motion is not predicted, but drawn with strokes and a mask"
    )


class Pip:
    """The environment's pip, which installs from the network or from a folder of wheels."""

    def __init__(self, folder: Path, wheels: str | None) -> None:
        self._python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.wheels = wheels
        self._source = [] if wheels is None else ["--no-index", "--find-links", wheels]
        self._env = {**os.environ, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"}
        if wheels is not None:
            # Ignore the pip settings of the user or studio, which may name indexes: this must stay offline.
            self._env = {name: value for name, value in self._env.items() if not name.startswith("PIP_")}
            self._env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def install(self, *requirements: str) -> None:
        # No source builds on a user's machine. Bytecode is compiled on first import, which halves the install time.
        self.run(
            "install", "--only-binary", ":all:", "--no-compile", "--progress-bar", "off", *self._source, *requirements
        )

    def finds(self, *requirements: str) -> bool:
        """Return whether these can be installed from the current source."""
        arguments = ["install", "--dry-run", "--quiet", "--no-deps", "--only-binary", ":all:", *self._source]
        return self._start(*arguments, *requirements).wait() == 0

    def run(self, *arguments: str) -> None:
        """Run pip, copy its output to stderr, and report its steps.

        Raises:
            Failed: pip failed.
        """
        process = self._start(*arguments)
        errors = []
        for line in process.stdout:
            print(line, end="", file=sys.stderr, flush=True)
            step = re.match(r"(Collecting|Downloading|Processing) (.+)", line.strip())
            if step:
                # A requirement or the path of a file: report only the package's name.
                send(message=f"{step[1]} {re.split('[-<>=!~ (]', Path(step[2]).name)[0]}")
            elif line.startswith("Installing collected packages"):
                send(message="Unpacking")
            if line.startswith("ERROR:"):
                errors.append(line.removeprefix("ERROR:").strip())
        if process.wait():
            raise Failed("; ".join(errors[-2:]) or f"pip ended with {process.returncode}")

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(self._python), "-I", "-m", "pip", *arguments], env=self._env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip


def send(**message: object) -> None:
    """Print a message for Blender."""
    print(json.dumps(message), flush=True)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    if os.name != "nt":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
