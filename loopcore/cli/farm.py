# SPDX-License-Identifier: Apache-2.0
"""`loopcore farm`."""

from __future__ import annotations

import argparse
from pathlib import Path

from loopcore.cli.animate import job_of, setting_options
from loopcore.cli.console import DONE, Stop, given_path


def farm_options(command: argparse.ArgumentParser) -> None:
    """Adds the farms of `loopcore farm` and their options."""
    farms = command.add_subparsers(title="farms", metavar="FARM", required=True)
    _openjd_options(farms.add_parser("openjd", help="an Open Job Description bundle, for Deadline Cloud and others"))
    flamenco = farms.add_parser("flamenco", help="the job type for Flamenco, a script for its Manager")
    flamenco.add_argument("-o", "--output", type=given_path, required=True, metavar="SCRIPTS_DIR",
        help="the folder 'scripts' beside flamenco-manager")  # fmt: skip
    flamenco.set_defaults(run=_flamenco)


def _openjd_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("plate", type=given_path, help="the still: EXR, PNG, JPEG, WebP, ...")
    add("-o", "--output", dest="bundle", type=given_path, required=True, metavar="BUNDLE_DIR", help="for the bundle")
    add("--to", dest="output", type=given_path, metavar="DIR", help="folder for the frames (BUNDLE_DIR/frames)")
    add("--chunk", type=int, default=5, metavar="N", help="frames of a task (5)")
    add("--target-seconds", type=int, default=0, metavar="S",
        help="let the scheduler change the frames of a task so that it takes this long (0: it may not)")  # fmt: skip
    add("--command", default="loopcore", help="the executable on the workers (loopcore)")
    setting_options(command)
    command.set_defaults(run=_openjd)


def _openjd(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.farm.openjd import write_bundle

    if arguments.output is None:
        arguments.output = arguments.bundle / "frames"
    written = write_bundle(
        job_of(vars(arguments)), arguments.bundle, arguments.chunk, arguments.target_seconds, arguments.command
    )
    return _saved(written)


def _flamenco(arguments: argparse.Namespace, stop: Stop) -> int:
    from loopcore.farm.flamenco import write_job_type

    return _saved([write_job_type(arguments.output)])


def _saved(paths: list[Path]) -> int:
    for path in paths:
        print(f"Saved: '{path}'")
    return DONE
