# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's errors. Messages are shown to the user: what is wrong, and how to fix it."""


class AddonError(RuntimeError):
    """Base class of errors that operators and commands report without a traceback."""


class PlaneError(AddonError):
    """The plane, its image, its mask or its motion cannot be used."""


class Refused(AddonError):
    """A task cannot start or continue: invalid input, or something is missing."""


class Cancelled(Refused):
    """The user cancelled the task."""


class Failed(Refused):
    """The task failed although its input was valid: the worker died, frames failed, the disk is full."""
