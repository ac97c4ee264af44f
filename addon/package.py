# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's root package: Blender knows its preferences and its user folder by that name."""

from pathlib import Path

# As an extension, bl_ext.REPOSITORY.loopcore; a subpackage's __package__ would be another name.
NAME = __package__
FOLDER = Path(__file__).parent
