# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's errors. Each message is for the user: what was wrong, and what to do."""


class AddonError(RuntimeError):
    """Base class of what operators and commands report without a traceback."""


class PlaneError(AddonError):
    """The plane, its picture, its mask or its motion cannot be used."""


class Refused(AddonError):
    """A task cannot start or continue: bad input, or something is missing."""


class Cancelled(Refused):
    """The user cancelled the task."""


class Failed(Refused):
    """The task failed although its input was valid: the worker died, frames failed, the disk is full."""
