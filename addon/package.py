# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's root package, whose name Blender uses for its preferences and its user folder."""

import tomllib
from pathlib import Path

# bl_ext.REPOSITORY.loopcore when installed as an extension. __package__ of a subpackage differs.
NAME = __package__
FOLDER = Path(__file__).parent
MANUAL = FOLDER / "documentation" / "blender.md"


def website() -> str:
    """Return the website in the manifest; empty if it names none, as in a build of one's own."""
    try:
        return tomllib.loads((FOLDER / "blender_manifest.toml").read_text("utf-8")).get("website", "")
    except OSError:
        return ""
