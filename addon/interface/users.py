# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel says about the users of a picture: where its loop will play, and what is copied for that."""

from __future__ import annotations

from collections.abc import Iterable

import bpy

from ..plane import uses
from ..plane.copies import is_shared
from ..plane.image import PlaneImage, find_plane_image
from ..playing import playback
from ..texts import rpt_, sentences

NAMED = 4  # longer lists are cut


def text_of(plane: PlaneImage) -> str:
    """Return where a loop of the plane's picture will play, and what is copied; empty if nothing else uses it."""
    found = uses.all_users(plane)
    if len(found.objects) == 1 and not found.linked and not found.apart:
        return ""
    if not uses.plays_everywhere(plane.object):
        return _copied(plane)
    materials = found.materials
    objects = _listed(found.objects)
    if len(materials) == 1:
        plays = rpt_("Plays on {objects}, in the material {materials}")
    else:
        plays = rpt_("Plays on {objects}, in the materials {materials}") if materials else rpt_("Plays on {objects}")
    parts = [plays.format(objects=objects, materials=_listed(materials))]
    linked = [material for material in materials if material.library]
    if linked:
        parts.append(rpt_("Copied, since linked: {names}").format(names=_listed(linked)))
    if found.apart:
        parts.append(rpt_("Not on {names}: plays a loop of its own").format(names=_listed(found.apart)))
    if found.linked:
        parts.append(rpt_("Not on {names}: linked").format(names=_listed(found.linked)))
    return sentences(*parts)


def _copied(plane):
    if not plane.is_background and (plane.material.library or is_shared(plane.object, plane.material)):
        text = rpt_('Plays on "{name}" only: it gets a copy of the material "{material}"')
        return text.format(name=plane.object.name, material=plane.material.name)
    return rpt_('Plays on "{name}" only').format(name=plane.object.name)


def _listed(blocks):
    """Return the quoted names of data-blocks, and the number of those that are not named."""
    names = [f'"{block.name}"' for block in blocks]
    more = len(names) - NAMED
    if more <= 1:
        return ", ".join(names)
    return rpt_("{names} and {count} more").format(names=", ".join(names[:NAMED]), count=more)


def one_per_picture(objects: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """Return planes without those on which the loop of another one plays; the one that was baked on is kept."""
    objects, chosen, covered = list(objects), [], set()
    for obj in sorted(objects, key=lambda obj: not playback.plays_own(obj)):
        if obj not in covered:
            chosen.append(obj)
            users = uses.users_of_picture(find_plane_image(obj)).objects
            covered |= {user for user in users if uses.plays_everywhere(user)}
    return [obj for obj in objects if obj in chosen]
