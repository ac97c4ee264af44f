# SPDX-License-Identifier: Apache-2.0
"""How long a person waits: from starting the process to the first frame of the 1080p example, with hints and, as a
chunk of a farm does, with a finished motion; of such a chunk after another one in a daemon; and for --help.

Each is a fresh process; the first run, which may still have to compile the kernels or start the daemon, is not counted.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "waterfall"


HINTS = ("--hints", str(EXAMPLE / "hints.json"))


def first_frame(*motion: str) -> float:
    """Seconds until the first whole frame lies in the folder."""
    with tempfile.TemporaryDirectory() as folder:
        return wait_for_frame(folder, *motion)


def wait_for_frame(folder: str, *motion: str, daemon: str = "") -> float:
    """Seconds until a folder has the first frame, which is removed before."""
    frame = Path(folder) / "plate_loop.1001.exr"
    frame.unlink(missing_ok=True)
    start = time.perf_counter()
    environment = {**os.environ, "LOOPCORE_DAEMON": daemon}
    with subprocess.Popen(animate(folder, *motion), stdout=subprocess.DEVNULL, env=environment) as process:
        while not frame.exists():
            if process.poll() is not None:
                raise SystemExit(f"loopcore animate ended with {process.returncode} and without a frame")
            time.sleep(0.005)
        return time.perf_counter() - start


def animate(folder: str, *motion: str) -> list[str]:
    """The command that makes four frames."""
    return [
        sys.executable, "-m", "loopcore", "animate", str(EXAMPLE / "plate.jpg"), *motion, "-o", folder,
        "--range", "1001-1004",
    ]  # fmt: skip


def help_text() -> float:
    """Seconds that `loopcore --help` takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "loopcore", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(animate(folder, *HINTS), stdout=subprocess.DEVNULL, check=True)
        chunk = ("--motion", str(Path(folder) / "motion.exr"))
        daemon = str(Path(folder) / "daemon")
        jobs: dict[str, Callable[[], float]] = {
            "process start to first frame, 1920x1080": lambda: first_frame(*HINTS),
            "the same of a chunk, with its motion": lambda: first_frame(*chunk),
            "of a chunk after another one in a daemon": lambda: wait_for_frame(folder, *chunk, daemon=daemon),
            "loopcore --help": help_text,
        }
        for name, job in jobs.items():
            job()
            seconds = [job() for _ in range(9)]
            print(f"{name:<42}{statistics.median(seconds):6.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
