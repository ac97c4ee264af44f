# SPDX-License-Identifier: GPL-3.0-or-later
"""Bake the loops of several planes, one after another, as one task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

import bpy

from ..engine.tasks import Part, Target, Work
from ..errors import AddonError, Cancelled, Failed, PlaneError, Refused
from ..plane.background import backgrounds
from ..plane.image import find_plane_image, plane_of, refuse_linked
from ..texts import rpt_, sentences
from . import actions, users
from .properties import Settings


def planes_among(objects: Iterable[bpy.types.Object]) -> list[bpy.types.Object]:
    """Return the meshes and cameras with images among objects, and the planes of strokes and anchors, each once."""
    found = dict.fromkeys(plane_of(obj) for obj in objects)
    return [obj for obj in found if _has_material(obj) or any(backgrounds(obj))]


def _has_material(obj):
    return obj.type == "MESH" and any(slot.material for slot in obj.material_slots)


def bake(planes: Iterable[bpy.types.Object], overrides: Mapping[str, object]) -> Work:
    """Bake each plane with its own settings and `overrides`; planes that play one loop have it baked once.

    A plane that fails does not stop the others, and has the reason as its message.
    """
    planes = list(planes)
    good = users.one_per_picture(obj for obj in planes if _shows_image(obj))
    targets = [Target(obj) for obj in planes if obj in good or not _shows_image(obj)]
    return _bake(targets, dict(overrides))


def _bake(targets, overrides):
    done, failed = 0, []
    for number, target in enumerate(targets, 1):
        part = Part(rpt_("{number} of {count}").format(number=number, count=len(targets)), target.name)
        try:
            message = yield from _numbered(_one(target, overrides), part)
            done += 1
            _note(target, message, failed=False)
        except Cancelled:
            text = rpt_("Cancelled: {done} of {count} loops are baked")
            raise Cancelled(text.format(done=done, count=len(targets))) from None
        except AddonError as error:
            failed.append(f'"{target.name}": {error}')
            _note(target, str(error), failed=True)
    if failed:
        baked = rpt_("{done} of {count} loops baked").format(done=done, count=len(targets))
        raise Failed(sentences(baked, *failed))
    return message if len(targets) == 1 else rpt_("{count} loops baked").format(count=done)


def _one(target, overrides):
    """Yield the steps of one bake; returns its message."""
    obj = target.find()
    refuse_linked(obj)
    work, obj = actions.bake(obj, Settings.of(obj, **overrides)), None
    return (yield from work)


def _numbered(work, part):
    """Run a task as a part of another: its steps say which one."""
    try:
        step = next(work)
        while True:
            try:
                result = yield step.in_part(part)
            except AddonError as error:
                step = work.throw(error)
            else:
                step = work.send(result)
    except StopIteration as end:
        return end.value


def _note(target, message, *, failed):
    """Store the outcome on the object, unless it was removed."""
    with contextlib.suppress(Refused):
        state = target.find().loopcore
        state.message, state.failed = message, failed


def _shows_image(obj):
    try:
        find_plane_image(obj)
    except PlaneError:
        return False
    return True
