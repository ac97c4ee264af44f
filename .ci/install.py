# SPDX-License-Identifier: Apache-2.0
"""Set up a virtual environment with Loopcore in it, editable: ``install.py VENV [EXTRA ...]``.

On Linux the plain index serves torch with gigabytes of CUDA. There the CPU build is asked for by its own
version (``+cpu``), which no CUDA build can satisfy: first wherever pip is already set up to look (a studio's
mirror, a folder of wheels), and only if that has none from PyTorch's CPU index. Elsewhere plain is CPU already.
"""

import argparse
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("extras", nargs="*")
    arguments = parser.parse_args()
    if not (3, 11) <= sys.version_info < (3, 14):
        print(f"Loopcore needs Python 3.11 to 3.13, this is {sys.version.split()[0]}: make PYTHON=python3.11 ...")
        return 2
    python = make_environment(arguments.venv)
    if not install_torch(python):
        return 1
    extras = f"[{','.join(arguments.extras)}]" if arguments.extras else ""
    say(f"Installing Loopcore{extras} and what it needs (about a minute the first time)")
    wanted = ["--constraint", str(CONSTRAINTS), "--editable", f"{ROOT}{extras}"]
    return pip(python, "install", "--quiet", *wanted).returncode


def make_environment(folder: Path) -> Path:
    """Return the environment's interpreter, making the environment where it is missing or broken."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    works = python.exists() and run(python, "-m", "pip", "--version", quiet=True).returncode == 0
    if not works:
        say(f"Making a virtual environment in {folder} with Python {sys.version.split()[0]}")
        venv.EnvBuilder(with_pip=True, clear=folder.exists(), symlinks=os.name != "nt").create(folder)
    return python


def install_torch(python: Path) -> bool:
    requirement = torch_requirement()
    version = "import importlib.metadata as m; print(m.version('torch'))"
    if run(python, "-c", version, quiet=True).stdout.strip() == requirement.partition("==")[2]:
        return True
    say(f"Installing {requirement}")
    # A dry run without dependencies reads the indexes' lists and, of a build that is there, only that one.
    at_hand = pip(python, "install", "--dry-run", "--quiet", "--no-deps", requirement, quiet=True).returncode == 0
    index = [] if at_hand else ["--extra-index-url", CPU_INDEX]
    if index:
        say(f"No such build where pip is set up to look; asking {CPU_INDEX}")
    if pip(python, "install", "--quiet", *index, requirement).returncode == 0:
        return True
    say(
        f"Could not install {requirement}, the build without CUDA. Either let this machine reach {CPU_INDEX},\n"
        "or put the wheel for this Python into a folder and name it: PIP_FIND_LINKS=FOLDER make ..."
    )
    return False


def torch_requirement() -> str:
    pinned = re.search(r"^torch==([0-9.]+)\s*$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    if not pinned:
        raise SystemExit(f"{CONSTRAINTS} does not pin torch")
    return f"torch=={pinned[1]}" + ("+cpu" if sys.platform == "linux" else "")


def pip(python: Path, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    return run(python, "-m", "pip", "--disable-pip-version-check", *arguments, quiet=quiet)


def run(python: Path, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), *arguments], capture_output=quiet, text=True, check=False)


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
