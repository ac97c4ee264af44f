# SPDX-License-Identifier: Apache-2.0
"""A 1080p loop by `openjd run` in chunks of 5, and by two Dask workers, against the plain command.

`python benchmarks/farm.py [FRAMES [ROUNDS]]`: 60 frames once. The three run in turn. Wall and CPU seconds are printed:
on a machine that other programs load, the ratio of CPU seconds says more.
Then the constants for docs/pipeline.md: a chunk of no work, and bytes read and written.
"""

import json
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
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall = time.perf_counter() - start
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def loopcore(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "loopcore", *arguments]


def executable(folder: Path) -> Path:
    """Write a script that starts this Python's Loopcore."""
    script = folder / "loopcore"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m loopcore "$@"\n')
    script.chmod(0o755)
    return script


def ways(folder: Path, frames: int) -> dict[str, list[object]]:
    """The commands to compare."""
    job = (PLATE, "--hints", PLATE.with_name("hints.json"), "--frames", frames, "--overwrite")
    bundle = folder / "bundle"
    run(*loopcore("farm", "openjd", *job, "-o", bundle, "--chunk", CHUNK, "--command", executable(folder)))
    parameters = f"file://{bundle / 'openjd_parameters.yaml'}"
    openjd = (sys.executable, "-m", "openjd", "run", bundle / "template.yaml", "-p", parameters)
    return {
        "plain": loopcore("animate", *job, "-o", folder / "plain"),
        "openjd": [*openjd, "--step", "Frames", "--run-dependencies"],
        "dask": loopcore("animate", *job, "-o", folder / "dask", "--dask", "local:2"),
    }


def constants(folder: Path) -> None:
    """Print the cost of a chunk of one frame, and of one that is up to date; and the sizes of files."""
    motion, out = folder / "plain" / "motion.exr", folder / "chunk"
    chunk = loopcore("animate", PLATE, "--motion", motion, "-o", out, "--range", 1001)
    for name in ("chunk of one frame", "the same, up to date"):
        wall, cpu = run(*chunk)
        print(f"{name:24}{wall:8.2f} s {cpu:8.2f} s CPU")
    sizes = {"plate": PLATE, "motion": motion, "frame": next(out.glob("*.1001.exr"))}
    print(json.dumps({name: path.stat().st_size for name, path in sizes.items()}))


def main() -> None:
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
