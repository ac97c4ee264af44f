# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel says about the users of a picture: where its loop will play, and what is copied for that."""

from __future__ import annotations

from collections.abc import Iterable

import bpy

from ..plane import uses
from ..plane.copies import is_shared
from ..plane.image import PlaneImage, find_plane_image
from ..playing import playback

NAMED = 4  # longer lists are cut


def text_of(plane: PlaneImage) -> str:
    """Return where a loop of the plane's picture will play, and what is copied; empty if nothing else uses it."""
    found = uses.all_users(plane)
    if len(found.objects) == 1 and not found.linked and not found.apart:
        return ""
    if not uses.plays_everywhere(plane.object):
        return _copied(plane)
    materials = found.materials
    parts = [f"Plays on {_listed(found.objects)}"]
    if materials:
        kind = "material" if len(materials) == 1 else "materials"
        parts[0] += f", in the {kind} {_listed(materials)}"
    linked = [material for material in materials if material.library]
    if linked:
        parts.append(f"Copied, since linked: {_listed(linked)}")
    if found.apart:
        parts.append(f"Not on {_listed(found.apart)}: plays a loop of its own")
    if found.linked:
        parts.append(f"Not on {_listed(found.linked)}: linked")
    return ". ".join(parts)


def _copied(plane):
    if not plane.is_background and (plane.material.library or is_shared(plane.object, plane.material)):
        return f'Plays on "{plane.object.name}" only: it gets a copy of the material "{plane.material.name}"'
    return f'Plays on "{plane.object.name}" only'


def _listed(blocks):
    """Return the quoted names of data-blocks, and the number of those that are not named."""
    names = [f'"{block.name}"' for block in blocks]
    more = len(names) - NAMED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:NAMED])} and {more} more"


def one_per_picture(objects: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """Return planes without those on which the loop of another one plays; the one that was baked on is kept."""
    objects, chosen, covered = list(objects), [], set()
    for obj in sorted(objects, key=lambda obj: not playback.plays_own(obj)):
        if obj not in covered:
            chosen.append(obj)
            users = uses.users_of_picture(find_plane_image(obj)).objects
            covered |= {user for user in users if uses.plays_everywhere(user)}
    return [obj for obj in objects if obj in chosen]
