# SPDX-License-Identifier: Apache-2.0
"""Runs generated hostile inputs for a time: ``attack.py --seed N --minutes N``; exits with 1 if one case fails."""

from __future__ import annotations

import argparse
import random
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from itertools import count
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import _cases  # noqa: E402
import _runner  # noqa: E402
import _scenes  # noqa: E402
import _seeds  # noqa: E402
from _workers import Client  # noqa: E402

IN_COMMANDS = 12  # one case of so many
OFTEN = 4  # times as many cases of kinds that the worker can run, which take a tenth of the time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the generator (the time)")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long new cases are begun (60)")
    parser.add_argument("--kinds", nargs="+", default=list(_cases.KINDS), choices=list(_cases.KINDS))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="loopcore-attack-"))
    print(f"seed {arguments.seed}, inputs of failed cases in {folder}", flush=True)
    seeds = _seeds.make_seeds(folder / "seeds")
    ran: Counter[str] = Counter()
    end, failed, number, client = time.monotonic() + 60 * arguments.minutes, 0, 0, None
    kinds = [kind for kind in arguments.kinds if kind in _cases.FILE_KINDS] * OFTEN
    kinds += [kind for kind in arguments.kinds if kind not in _cases.FILE_KINDS]
    random.Random(0).shuffle(kinds)  # a short run has all kinds, too
    for number in count():
        if time.monotonic() > end:
            break
        kind = kinds[number % len(kinds)]
        ran[kind] += 1
        case = _cases.make_case(arguments.seed, number, kind, seeds, folder / str(number))
        # Starting a command takes most of its time: most cases run in one worker, and all kinds in commands, too.
        if kind in _cases.FILE_KINDS and number % IN_COMMANDS:
            client = client or Client(_scenes.command("worker"))
            problems = _runner.run_in_worker(client, case)
            ended = client.errors.decode(errors="replace")
            if problems:
                client.end()
                client = None
        else:
            outcome, problems = _runner.run_case(case)
            ended = f"{outcome.seconds:.1f} s, {outcome.peak >> 20} MiB, exit code {outcome.code}, {outcome.errors}"
        if not problems:
            shutil.rmtree(case.folder)
            continue
        failed += 1
        print(f"FAILED {number} {case.kind}, {case.label}: {'; '.join(problems)}")
        print(f"  loopcore {shlex.join(case.command())[:2000]}\n  {ended[-1500:]!r}", flush=True)
    if client is not None:
        client.end()
    counts = ", ".join(f"{ran[kind]} {kind}" for kind in arguments.kinds)
    print(f"{number} cases with seed {arguments.seed} ({counts}): {failed} failed", flush=True)
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
