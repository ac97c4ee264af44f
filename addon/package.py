# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's root package, whose name Blender uses for its preferences and its user folder."""

from pathlib import Path

# bl_ext.REPOSITORY.loopcore when installed as an extension. __package__ of a subpackage differs.
NAME = __package__
FOLDER = Path(__file__).parent
