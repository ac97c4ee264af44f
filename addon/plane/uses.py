# SPDX-License-Identifier: GPL-3.0-or-later
"""The material slots that show a picture: where its loop plays.

A picture is an image data-block. By the object's setting `play_on` its loop plays on every object and material that
uses it, or on that object only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import bpy

from ..errors import PlaneError
from .copies import image_nodes, own_material, own_slot, playing_nodes
from .image import STILL, PlaneImage, find_plane_image, image_in_slot

# Property on the image of a loop, and on the node of a live preview: all users of the picture play it.
EVERYWHERE = "loopcore_everywhere"


@dataclass(frozen=True)
class Use:
    """A material slot of an object."""

    object: bpy.types.Object
    slot: int

    @property
    def material(self) -> bpy.types.Material:
        """The material in the slot."""
        return self.object.material_slots[self.slot].material


@dataclass(frozen=True)
class Users:
    """The users of a picture.

    Attributes:
        playing: the slots where its loop plays, that of the plane first.
        linked: objects that use it and are linked from another file, which cannot be changed.
        apart: objects that use it and play a loop of their own.
    """

    playing: tuple[Use, ...]
    linked: tuple[bpy.types.Object, ...] = ()
    apart: tuple[bpy.types.Object, ...] = ()

    @property
    def objects(self) -> list[bpy.types.Object]:
        """The objects that play, the plane first."""
        return unique(use.object for use in self.playing)

    @property
    def materials(self) -> list[bpy.types.Material]:
        """The materials that play, that of the plane first."""
        return unique(use.material for use in self.playing)

    def with_material(self, material: bpy.types.Material) -> list[bpy.types.Object]:
        """Return the objects that play and have the material."""
        return unique(use.object for use in self.playing if use.material == material)


def plays_everywhere(obj: bpy.types.Object) -> bool:
    """Return whether a loop of the object's picture plays on all users of the picture; not without the add-on."""
    settings = getattr(obj, "loopcore", None)
    return settings is not None and settings.play_on == "ALL"


def plays_apart(obj: bpy.types.Object) -> bool:
    """Return whether a loop plays on the object that was baked for it only."""
    trees = (slot.material.node_tree for slot in obj.material_slots if slot.material)
    return any(not node.image.get(EVERYWHERE) for tree in trees for node in playing_nodes(tree))


def users_of_picture(plane: PlaneImage) -> Users:
    """Return the users of the plane's picture, by the object's setting."""
    mine = Use(plane.object, plane.slot)
    return _all_users(plane, mine) if plays_everywhere(plane.object) else Users((mine,))


def all_users(plane: PlaneImage) -> Users:
    """Return the users of the plane's picture, whatever the setting."""
    return _all_users(plane, Use(plane.object, plane.slot))


def planes_of_picture(plane: PlaneImage) -> list[PlaneImage]:
    """Return the plane, and the others that play its loop and show its picture as their color: all are drawn on."""
    planes = [plane]
    for use in users_of_picture(plane).playing:
        if use.object.type != "MESH" or use.object in {known.object for known in planes}:
            continue
        try:
            found = image_in_slot(use.object, use.slot)
        except PlaneError:
            continue
        if found.image == plane.image:
            planes.append(found)
    return planes


def editable_users(plane: PlaneImage) -> tuple[PlaneImage, Users]:
    """Make the materials that will play editable; returns the plane and the users with them.

    Linked materials and groups are copied; for a loop on one object only, also shared ones.

    Raises:
        PlaneError: the plane is linked from another file.
    """
    if not plays_everywhere(plane.object):
        plane = own_material(plane)
    else:
        shown = shown_images(plane)
        for use in users_of_picture(plane).playing:
            own_slot(use.object, use.slot, shown, linked_only=True)
        plane = find_plane_image(plane.object)
    return plane, users_of_picture(plane)


def shown_images(plane: PlaneImage) -> set:
    """Return the picture and the loops made from it."""
    return {plane.image, *(image for image in bpy.data.images if image.get(STILL) == plane.image)}


def nodes_of(materials: Iterable[bpy.types.Material], images: set) -> list[bpy.types.Node]:
    """Return the image textures of the materials that show one of `images`; one in a shared group once."""
    return unique(node for material in materials for node in image_nodes(material.node_tree, images))


def unique(things: Iterable) -> list:
    """Return things in their order, each once."""
    return list(dict.fromkeys(things))


def _all_users(plane, mine):
    shown = shown_images(plane)
    states = {material: _state(material, shown) for material in _materials_with(shown)}
    states[mine.material] = "playing"
    found = {"playing": [mine], "linked": [], "apart": []}
    for obj in _objects_with(set(states)):
        for index, slot in enumerate(obj.material_slots):
            state = states.get(slot.material)
            if state is None or (obj == mine.object and index == mine.slot):
                continue
            if obj.library:
                found["linked"].append(obj)
            elif state == "playing":
                found["playing"].append(Use(obj, index))
            elif obj != mine.object:
                found["apart"].append(obj)
    playing = {use.object for use in found["playing"]}
    apart = unique(obj for obj in found["apart"] if obj not in playing)
    return Users(tuple(found["playing"]), tuple(unique(found["linked"])), tuple(apart))


def _materials_with(images):
    """Return the materials with an image texture that has one of `images`, also in groups."""
    found, trees = set(), set(images)
    while trees:
        users = _users(trees, {"MATERIAL", "NODETREE"})
        found |= {user for user in users if user.id_type == "MATERIAL"}
        trees = {user for user in users if user.id_type == "NODETREE"}
    return {material for material in found if any(image_nodes(material.node_tree, images))}


def _objects_with(materials):
    """Return the objects with one of `materials`, by name."""
    users = _users(materials, {"OBJECT", "MESH", "CURVE", "META"})
    objects = {user for user in users if user.id_type == "OBJECT"}
    return sorted(objects | _users(users - objects, {"OBJECT"}), key=lambda obj: obj.name)


def _users(blocks, kinds):
    """Return the data-blocks of some kinds that use `blocks`. Much faster than to search all nodes or slots."""
    users = bpy.data.user_map(subset=blocks, value_types=kinds) if blocks else {}
    return {user for found in users.values() for user in found}


def _state(material, shown):
    """Return "playing" for a material that can play the loop, "apart" for one with a loop of its own."""
    loops = (node.image for node in playing_nodes(material.node_tree) if node.image in shown)
    return "playing" if all(loop.get(EVERYWHERE) for loop in loops) else "apart"
