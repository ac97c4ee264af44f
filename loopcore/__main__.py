# SPDX-License-Identifier: Apache-2.0
"""Runs the command line, in this process or in the daemon that the environment names."""

from __future__ import annotations

import sys
from collections.abc import Callable

from loopcore.farm import daemon_client


def main() -> int:
    """Runs the command of this process's arguments; returns the exit code."""
    code = daemon_client.forward(sys.argv[1:], _serve)
    if code is not None:
        return code
    from loopcore.cli.main import main as run

    return run()


def _serve(folder: str) -> None:
    from loopcore.farm.daemon import serve

    serve(folder, _command)


def _command() -> Callable[[list[str]], int]:
    """Returns the command line as the daemon runs it: with the last loop kept."""
    from loopcore.cli.main import main as run
    from loopcore.farm.kept import KeptLoop

    kept = KeptLoop()

    def command(arguments: list[str]) -> int:
        code = run(arguments, kept)
        if code != 0:
            kept.forget()  # It may have been interrupted anywhere.
        return code

    return command


if __name__ == "__main__":
    sys.exit(main())
