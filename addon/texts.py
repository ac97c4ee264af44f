# SPDX-License-Identifier: GPL-3.0-or-later
"""Translation of texts that are put together at run time; labels and tooltips are translated by Blender itself.

Convention:
    A text with values is one format string, translated before they are filled in: ``rpt_("{n} files").format(n=n)``.
    Several sentences are translated one by one, and joined by `sentences`.
"""

try:
    from bpy.app.translations import pgettext_iface as iface_
    from bpy.app.translations import pgettext_rpt as rpt_
except ImportError:  # without Blender there are no translations

    def iface_(text: str, _context: str | None = None) -> str:
        return text

    rpt_ = iface_

__all__ = ["CONTEXT", "iface_", "rpt_", "sentences", "status"]

# Of the labels of operators, properties and panels: a Stroke, Flip or Mask of Blender's is another thing.
CONTEXT = "Loopcore"


def sentences(*parts: str) -> str:
    """Return sentences, each without a full stop, as one text; empty ones are left out."""
    return ". ".join(part for part in parts if part)


def status(*parts: str) -> str:
    """Return what keys and buttons do as one line for the status bar."""
    return "        ".join(parts)
