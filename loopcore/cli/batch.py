# SPDX-License-Identifier: Apache-2.0
"""`loopcore batch`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopcore.cli.animate import process_options, setting_options
from loopcore.cli.console import DONE, FAILED, Stop, given_path, print_error
from loopcore.errors import Cancelled, LoopcoreError
from loopcore.parallel import limited_threads

if TYPE_CHECKING:
    from loopcore.farm.batch import Summary


def batch_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore batch`."""
    add = command.add_argument
    add("shots", type=given_path, metavar="SHOTS", help="CSV whose columns are named as the options of `loopcore "
        "animate` (plate, output, hints, ...), JSON list of such shots or of jobs, or folder of stills")  # fmt: skip
    add("-o", "--output", type=given_path, metavar="DIR", help="folder for batch.html (that of SHOTS) and the loops, "
        "each in DIR/PLATE unless the shot names an output")  # fmt: skip
    add("--json", action="store_true", help="print JSON instead of progress and a table")
    add("--no-report", dest="report", action="store_false", help="do not check the loops and write their reports")
    setting_options(command)
    process_options(command)
    command.set_defaults(run=_batch)


def _batch(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.cli.batch_console import BatchConsole, BatchLog, print_summary
    from loopcore.farm.batch import Summary, inputs_of, run_batch
    from loopcore.farm.batch_page import FILE_NAME, write_batch_page
    from loopcore.farm.shots import read_shots
    from loopcore.files.atomic import make_folder
    from loopcore.files.overwrite import refuse_overwriting

    shots = read_shots(arguments.shots, arguments.output, _defaults(arguments))
    folder = arguments.output or (arguments.shots if arguments.shots.is_dir() else arguments.shots.parent)
    given = vars(arguments)
    log = given.get("log")
    refuse_overwriting([arguments.shots, *inputs_of(shots)], [folder / FILE_NAME, *([] if log is None else [log])])
    make_folder(folder)
    quiet = arguments.json or "quiet" in given
    jobs = [shot.job for shot in shots if shot.job is not None]
    with (
        BatchConsole(stop, quiet) as console,
        BatchLog(console, log, *jobs) as observer,
        limited_threads(given.get("threads")),
    ):
        summary = Summary(run_batch(shots, observer))
    try:
        write_batch_page(summary, folder / FILE_NAME, arguments.shots.name or str(arguments.shots))
    except LoopcoreError as error:
        print_error(str(error))
    if arguments.json:
        print(json.dumps(summary.to_dict(), indent=2))
    elif not quiet:
        print_summary(summary)
    return _ended(summary)


def _ended(summary: Summary) -> int:
    if summary.interrupted:
        from loopcore.farm.batch import LEFT, STOPPED

        left = [outcome.shot.title for outcome in summary.outcomes if outcome.status in (STOPPED, LEFT)]
        shown = ", ".join(left[:10]) + (", ..." if len(left) > 10 else "")
        print_error(
            f"{len(left)} of {len(summary.outcomes)} shots are left: {shown}; run the same command again", "note"
        )
        raise Cancelled
    return DONE if summary.good and summary.page is not None else FAILED


def _defaults(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings of all shots, as in a job file, with absolute paths."""
    from loopcore.farm.shots import KINDS

    return {
        name: str(value.absolute()) if isinstance(value, Path) else value
        for name, value in vars(arguments).items()
        if name in KINDS and name != "output" and value is not None
    }
