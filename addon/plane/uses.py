# SPDX-License-Identifier: GPL-3.0-or-later
"""The material slots that show a picture: where its loop plays.

A picture is an image data-block. By the object's setting `play_on` its loop plays on every object and material that
uses it, or on that object only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import bpy

from ..errors import PlaneError
from .background import Background, backgrounds, cameras_with
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
        first: the object with the plane.
        playing: the slots where its loop plays, that of the plane first.
        cameras: cameras in whose background it plays.
        linked: objects that use it and are linked from another file, which cannot be changed.
        apart: objects that use it and play a loop of their own.
    """

    first: bpy.types.Object
    playing: tuple[Use, ...]
    cameras: tuple[bpy.types.Object, ...] = ()
    linked: tuple[bpy.types.Object, ...] = ()
    apart: tuple[bpy.types.Object, ...] = ()

    @property
    def objects(self) -> list[bpy.types.Object]:
        """The objects that play, the plane first."""
        return unique([self.first, *(use.object for use in self.playing), *self.cameras])

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
    return any(not node.image.get(EVERYWHERE) for node in playing_on(obj))


def playing_on(obj: bpy.types.Object) -> Iterator[bpy.types.Node | Background]:
    """Yield the image textures, or background images, that play a loop on an object."""
    for slot in obj.material_slots:
        if slot.material:
            yield from playing_nodes(slot.material.node_tree)
    yield from (found for found in backgrounds(obj) if found.image.get(STILL))


def users_of_picture(plane: PlaneImage) -> Users:
    """Return the users of the plane's picture, by the object's setting."""
    if plays_everywhere(plane.object):
        return all_users(plane)
    obj = plane.object
    return Users(obj, (), (obj,)) if plane.is_background else Users(obj, (Use(obj, plane.slot),))


def all_users(plane: PlaneImage) -> Users:
    """Return the users of the plane's picture, whatever the setting."""
    shown = shown_images(plane)
    states = {material: _state(material, shown) for material in _materials_with(shown)}
    mine = None
    if not plane.is_background:
        states[plane.material] = "playing"
        mine = Use(plane.object, plane.slot)
    found = {"playing": [mine] if mine else [], "linked": [], "apart": []}
    for obj in _objects_with(set(states)):
        for index, slot in enumerate(obj.material_slots):
            state = states.get(slot.material)
            if state is None or Use(obj, index) == mine:
                continue
            if obj.library:
                found["linked"].append(obj)
            elif state == "playing":
                found["playing"].append(Use(obj, index))
            elif obj != plane.object:
                found["apart"].append(obj)
    cameras = []
    for obj in cameras_with(shown):
        kind = "linked" if obj.library or obj.data.library else _state_of(backgrounds(obj, shown))
        kind = "playing" if obj == plane.object else kind
        (cameras if kind == "playing" else found[kind]).append(obj)
    playing = {plane.object, *cameras, *(use.object for use in found["playing"])}
    apart = unique(obj for obj in found["apart"] if obj not in playing)
    return Users(plane.object, tuple(found["playing"]), tuple(cameras), tuple(unique(found["linked"])), tuple(apart))


def planes_of_picture(plane: PlaneImage) -> list[PlaneImage]:
    """Return the plane, and the others that play its loop and show its picture as their color: all are drawn on."""
    planes, users = [plane], users_of_picture(plane)
    for obj, slot in [*((use.object, use.slot) for use in users.playing), *((obj, -1) for obj in users.cameras)]:
        if obj.type not in ("MESH", "CAMERA") or obj in {known.object for known in planes}:
            continue
        try:
            found = find_plane_image(obj) if slot < 0 else image_in_slot(obj, slot)
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
        plane = plane if plane.is_background else own_material(plane)
    else:
        shown = shown_images(plane)
        for use in users_of_picture(plane).playing:
            own_slot(use.object, use.slot, shown, linked_only=True)
        plane = find_plane_image(plane.object)
    return plane, users_of_picture(plane)


def shown_images(plane: PlaneImage) -> set:
    """Return the picture and the loops made from it."""
    return {plane.image, *(image for image in bpy.data.images if image.get(STILL) == plane.image)}


def textures_of(users: Users, images: set) -> list[bpy.types.Node | Background]:
    """Return the image textures and background images of the users that show one of `images`."""
    shown = (found for camera in users.cameras for found in backgrounds(camera, images))
    return [*nodes_of(users.materials, images), *unique(shown)]


def nodes_of(materials: Iterable[bpy.types.Material], images: set) -> list[bpy.types.Node]:
    """Return the image textures of the materials that show one of `images`; one in a shared group once."""
    return unique(node for material in materials for node in image_nodes(material.node_tree, images))


def unique(things: Iterable) -> list:
    """Return things in their order, each once."""
    return list(dict.fromkeys(things))


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
    return _state_of(node for node in playing_nodes(material.node_tree) if node.image in shown)


def _state_of(textures):
    loops = (texture.image for texture in textures if STILL in texture.image)
    return "playing" if all(loop.get(EVERYWHERE) for loop in loops) else "apart"
