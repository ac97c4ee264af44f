# SPDX-License-Identifier: Apache-2.0
"""A 1080p loop by `openjd run` in chunks of 5, and by two Dask workers, against the plain command.

`python benchmarks/farm.py [FRAMES [ROUNDS]]`: 60 frames once. The three run in turn. Wall and CPU seconds are printed:
on a machine that other programs load, the ratio of CPU seconds says more.
Then the constants for docs/pipeline.md: a chunk of no work, what `openjd run` itself takes, bytes read and written.
"""

import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLATE = Path(__file__).resolve().parents[1] / "examples" / "waterfall" / "plate.jpg"
CHUNK = 5


def run(*command: object) -> tuple[float, float]:
    """Run a command, and return its wall and CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    while adopted():
        os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter() - start
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def adopt() -> None:
    """On Linux make processes whose parent has ended children of this one, so that their CPU time is known."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def adopted() -> bool:
    """Whether there are children."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def loopcore(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "loopcore", *arguments]


def executable(folder: Path) -> Path:
    """Write a script that starts this Python's Loopcore."""
    script = folder / "loopcore"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m loopcore "$@"\n')
    script.chmod(0o755)
    return script


def openjd(template: Path, *arguments: object) -> list[object]:
    return [sys.executable, "-m", "openjd", "run", template, *arguments]


def empty_tasks(folder: Path, count: int) -> Path:
    """Write a template of tasks that do nothing, in an environment that is left by a command."""
    true = {"command": "true"}
    numbers = {"name": "Number", "type": "INT", "range": f"1-{count}"}
    template = {
        "specificationVersion": "jobtemplate-2023-09",
        "name": "Empty",
        "jobEnvironments": [{"name": "Empty", "script": {"actions": {"onExit": true}}}],
        "steps": [
            {
                "name": "Empty",
                "parameterSpace": {"taskParameterDefinitions": [numbers]},
                "script": {"actions": {"onRun": true}},
            }
        ],
    }
    path = folder / "empty.json"
    path.write_text(json.dumps(template))
    return path


def ways(folder: Path, frames: int) -> dict[str, list[object]]:
    """The commands to compare."""
    job = (PLATE, "--hints", PLATE.with_name("hints.json"), "--frames", frames, "--overwrite")
    bundle = folder / "bundle"
    run(*loopcore("farm", "openjd", *job, "-o", bundle, "--chunk", CHUNK, "--command", executable(folder)))
    parameters = f"file://{bundle / 'openjd_parameters.yaml'}"
    steps = ("--step", "Frames", "--run-dependencies")
    return {
        "plain": loopcore("animate", *job, "-o", folder / "plain"),
        "openjd": openjd(bundle / "template.yaml", "-p", parameters, *steps),
        "dask": loopcore("animate", *job, "-o", folder / "dask", "--dask", "local:2"),
    }


def constants(folder: Path) -> None:
    """Print the cost of a chunk of one frame, and of one that is up to date; and the sizes of files."""
    motion, out = folder / "plain" / "motion.exr", folder / "chunk"
    chunk = loopcore("animate", PLATE, "--motion", motion, "-o", out, "--range", 1001)
    for name in ("chunk of one frame", "the same, up to date"):
        wall, cpu = run(*chunk)
        print(f"{name:24}{wall:8.2f} s {cpu:8.2f} s CPU")
    for count in (1, 60):
        wall, cpu = run(*openjd(empty_tasks(folder, count)))
        print(f"{f'openjd, {count} empty tasks':24}{wall:8.2f} s {cpu:8.2f} s CPU")
    sizes = {"plate": PLATE, "motion": motion, "frame": next(out.glob("*.1001.exr"))}
    print(json.dumps({name: path.stat().st_size for name, path in sizes.items()}))


def main() -> None:
    adopt()
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = ways(folder, frames)
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                measured[name].append(run(*command))
                print(f"{name:24}{measured[name][-1][0]:8.2f} s {measured[name][-1][1]:8.2f} s CPU", flush=True)
        for name in ("openjd", "dask"):
            ratios = [
                statistics.median(a[k] / b[k] for a, b in zip(measured[name], measured["plain"], strict=True))
                for k in (0, 1)
            ]
            print(f"{name} / plain: {ratios[0]:.2f}, CPU {ratios[1]:.2f}")
        constants(folder)


if __name__ == "__main__":
    main()
