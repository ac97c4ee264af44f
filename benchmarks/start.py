# SPDX-License-Identifier: Apache-2.0
"""How long a person waits: from starting the process to the first frame of the 1080p example, and for --help.

Each is a fresh process; the first run, which may still have to compile the kernels, is not counted.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "waterfall"


def first_frame() -> float:
    """Seconds until the first whole frame lies in the folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "loopcore", "animate", str(EXAMPLE / "plate.jpg"),
            "--hints", str(EXAMPLE / "hints.json"), "-o", folder, "--range", "1001-1004",
        ]  # fmt: skip
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            while not (Path(folder) / "plate_loop.1001.exr").exists():
                if process.poll() is not None:
                    raise SystemExit(f"loopcore animate ended with {process.returncode} and without a frame")
                time.sleep(0.005)
            return time.perf_counter() - start


def help_text() -> float:
    """Seconds that `loopcore --help` takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "loopcore", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    for name, job in (("process start to first frame, 1920x1080", first_frame), ("loopcore --help", help_text)):
        job()
        seconds = [job() for _ in range(9)]
        print(f"{name:<42}{statistics.median(seconds):6.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
