# SPDX-License-Identifier: Apache-2.0
"""Runs generated hostile inputs for a time: ``attack.py --seed N --minutes N``; exits with 1 if one case fails."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import _cases  # noqa: E402
import _runner  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the generator (the time)")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long new cases are begun (60)")
    parser.add_argument("--kinds", nargs="+", default=list(_cases.KINDS), choices=list(_cases.KINDS))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="loopcore-attack-"))
    print(f"seed {arguments.seed}, inputs of failed cases in {folder}", flush=True)
    seeds = _cases.make_seeds(folder / "seeds")
    end, failed, number = time.monotonic() + 60 * arguments.minutes, 0, 0
    for number in count():
        if time.monotonic() > end:
            break
        kind = arguments.kinds[number % len(arguments.kinds)]
        case = _cases.make_case(arguments.seed, number, kind, seeds, folder / str(number))
        outcome, problems = _runner.run_case(case)
        if not problems:
            shutil.rmtree(case.folder)
            continue
        failed += 1
        print(f"FAILED {number} {case.kind}, {case.label}: {'; '.join(problems)}")
        print(f"  loopcore {shlex.join(case.command())[:2000]}")
        print(f"  {outcome.seconds:.1f} s, {outcome.peak >> 20} MiB, exit code {outcome.code}, stderr: "
              f"{outcome.errors[-1500:]!r}", flush=True)  # fmt: skip
    print(f"{number} cases with seed {arguments.seed}, {failed} failed")
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
