# SPDX-License-Identifier: Apache-2.0
"""The errors that Loopcore raises.

All are ``ValueError`` too, so that callers can catch them without importing Loopcore's.
Messages say what is wrong, with the offending value, and what to do about it.
"""

import unicodedata


class LoopcoreError(ValueError):
    """Invalid input, or something that this machine lacks; the base of the errors below."""


class PlateError(LoopcoreError):
    """A plate or another picture cannot be read, or is invalid."""


class MotionError(LoopcoreError):
    """A motion field, mask or hint is missing, unreadable or invalid."""


class HintsError(MotionError):
    """Hints do not fit the plate, or define no motion there; the message does not name their file."""


class SequenceError(LoopcoreError):
    """A frame range or file pattern is invalid, or a file cannot be read or written."""


class EngineError(LoopcoreError):
    """A backend, a device or an optional package is not available."""


class PackageError(EngineError):
    """An optional package is not installed."""


class Cancelled(Exception):
    """The user or the farm cancelled the work; only complete files are left."""


class LoopcoreWarning(UserWarning):
    """An input can be used, but is probably not what the user wants."""


def first_line(error: object) -> str:
    """Returns the first line of a library's message, at most 200 characters of it, or the name of its type."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def one_line(message: str) -> str:
    """Returns a message with escapes for control characters and line ends, which names of files may contain.

    Args:
        message: as raised.
    """
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in message)
