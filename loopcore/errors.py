# SPDX-License-Identifier: Apache-2.0
"""The errors Loopcore raises on purpose.

All are ``ValueError`` too, so that callers who know nothing of Loopcore still catch them.
A message says what was wrong, with the offending value, and what to do about it.
"""


class LoopcoreError(ValueError):
    """Something the user gave, or the machine lacks, keeps the work from being done."""


class PlateError(LoopcoreError):
    """A plate cannot be read, or is not what it has to be."""


class MotionError(LoopcoreError):
    """A motion field, mask or hint is missing, unreadable or makes no sense."""


class SequenceError(LoopcoreError):
    """A frame range, a file pattern or a frame on disk is wrong."""


class EngineError(LoopcoreError):
    """A backend, a device or an optional package is not available."""


class Cancelled(Exception):
    """The user or the farm asked to stop; everything begun is finished, and only whole files are left."""
