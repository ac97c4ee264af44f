# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot be done with a plane because of its texture coordinates, said in the panel before a button is pressed."""

from __future__ import annotations

import bpy

from ..drawing import mask, strokes
from ..errors import Refused
from ..plane.coordinates import coordinates_of, refusal
from ..plane.image import PlaneImage
from ..plane.uses import planes_of_picture
from ..texts import rpt_, sentences


def of_drawing(plane: PlaneImage) -> str:
    """Return why no strokes can be drawn on the plane; empty if they can."""
    return refusal(plane)


def of_painting(plane: PlaneImage) -> str:
    """Return why no mask can be painted on the plane; empty if one can."""
    reason = refusal(plane)
    if reason or coordinates_of(plane).kind == "UV":
        return reason
    return rpt_('A mask is painted by UVs, which "{name}" does not use: choose an image as Moving Area').format(
        name=plane.object.name
    )


def of_hints(plane: PlaneImage) -> str:
    """Return why the motion cannot be solved from what is drawn on the planes of the picture; empty if it can."""
    for found in planes_of_picture(plane):
        reason = refusal(found)
        if reason and _has_hints(found.object):
            unused = rpt_('What is drawn on "{name}" cannot be used').format(name=found.object.name)
            return sentences(unused, reason)
    return ""


def refuse_painting(plane: PlaneImage) -> None:
    """Raise Refused if no mask can be painted on the plane."""
    reason = of_painting(plane)
    if reason:
        raise Refused(reason)


def _has_hints(obj: bpy.types.Object) -> bool:
    painted = isinstance(mask.source_of(obj), str)  # a color attribute; images do not depend on the mesh
    return painted or bool(strokes.strokes(obj) or strokes.anchors(obj) or strokes.flips(obj))
