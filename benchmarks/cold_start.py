# SPDX-License-Identifier: Apache-2.0
"""Processes that start at once without compiled kernels: all must end well, with the same frames.

``cold_start.py [PROCESSES]``: each bakes two frames of a small plate in a folder of its own; 8 processes by default.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from loopcore.exr import write_exr
from loopcore.motion.field import MotionField

SIZE = (96, 160)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noise = np.random.default_rng(1).random((*SIZE, 3), np.float32)
        write_exr(folder / "plate.exr", {"RGB": noise})
        motion = MotionField(np.full((*SIZE, 2), 2, np.float32), np.ones(SIZE, np.float32), np.ones(SIZE, np.float32))
        motion.save(folder / "motion.exr")
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "kernels")}
        start = time.perf_counter()
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "loopcore", "animate", str(folder / "plate.exr"), "--quiet",
                 "--motion", str(folder / "motion.exr"), "-o", str(folder / str(n)), "--range", "1001,1031"],
                env=environment,
            )
            for n in range(count)
        ]  # fmt: skip
        codes = [process.wait() for process in running]
        seconds = time.perf_counter() - start
        frames = [(folder / str(n) / "plate_loop.1031.exr").read_bytes() for n in range(count)]
    if any(codes) or len(set(frames)) != 1:
        raise SystemExit(f"exit codes {codes}, {len(set(frames))} different frames")
    print(f"{count} processes on a cold kernel cache: all ended well with the same frame, in {seconds:.0f} s")


if __name__ == "__main__":
    main()
