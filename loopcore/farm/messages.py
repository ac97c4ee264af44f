# SPDX-License-Identifier: Apache-2.0
"""Messages to an Open Job Description session, as lines on stdout.

Source: Open Job Description, How Jobs Are Run, "Stdout/Stderr Messages".
"""

import os

from loopcore.errors import one_line

# The environment variable that asks for these messages, and its value.
VARIABLE, VALUE = "LOOPCORE_PROGRESS", "openjd"


def in_session() -> bool:
    """Returns whether the environment asks for these messages."""
    return os.environ.get(VARIABLE) == VALUE


def progress(title: str, done: int, total: int) -> None:
    """Prints the progress of a stage in percent, and the stage as status.

    Args:
        title: of the stage.
        done: steps done.
        total: steps in all.
    """
    print(f"openjd_progress: {100 * done / max(total, 1):.1f}")
    status(f"{title} {done} of {total}")


def status(text: str) -> None:
    """Prints what is being done.

    Args:
        text: the status.
    """
    print(f"openjd_status: {one_line(text)}", flush=True)


def fail(text: str) -> None:
    """Prints why the command fails, in a session only; before a non-zero exit.

    Args:
        text: the reason.
    """
    if in_session():
        print(f"openjd_fail: {one_line(text)}", flush=True)
