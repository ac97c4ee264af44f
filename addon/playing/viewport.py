# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxy files for the viewport, full files for renders.

A shader cannot distinguish viewport and render, and would load both. Geometry nodes can: a modifier gives the plane, in
the viewport only, a copy of its material whose image texture plays the proxy files. Renders are not affected, and do
not need the add-on.

The copy follows the material's values. If the material gets other nodes, the viewport shows the material itself, until
`update` makes a new copy.

Undo keeps a data-block that no undo step has changed, with its references: one that was set outside an undo step may
then point to freed memory. So only operators, which store undo steps, make, remove and assign data-blocks. The handlers
only start a timer, which looks everything up anew, and sets numbers, texts and choices.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import bpy

from ..plane.copies import ORIGINAL, image_nodes, own_groups, playing_nodes, remove_unused, users_of
from ..plane.image import PREVIEW
from . import following

# Property on the node group of the modifier: the material for the viewport.
PROXY = "loopcore_proxy"
NAME = "Loopcore Viewport"
# Name of the node in that group that has both materials.
SWAP = "Swap"
# Time without changes after which the copies follow.
_DEBOUNCE_S = 0.4


def _handlers():
    """Return the lists of handlers that `_changed` is in."""
    names = "depsgraph_update_post", "undo_post", "redo_post", "load_post"
    return [getattr(bpy.app.handlers, name) for name in names]


def register():
    for handlers in _handlers():
        handlers.append(_changed)


def unregister():
    for handlers in _handlers():
        if _changed in handlers:
            handlers.remove(_changed)
    if bpy.app.timers.is_registered(_follow_later):
        bpy.app.timers.unregister(_follow_later)


@bpy.app.handlers.persistent
def _changed(_scene, depsgraph=None):
    """Start the timer anew: after the last change of a material, an undo, or the opening of a file."""
    if bpy.app.background or (depsgraph is not None and not depsgraph.id_type_updated("MATERIAL")):
        return
    if bpy.app.timers.is_registered(_follow_later):
        bpy.app.timers.unregister(_follow_later)
    bpy.app.timers.register(_follow_later, first_interval=_DEBOUNCE_S)


def _follow_later():
    follow()


def follow() -> None:
    """Give the viewport copies the values of their materials; show none that has other nodes than its material."""
    for group in bpy.data.node_groups:
        swap = _swap_of(group)
        if swap is not None and group.is_editable:
            fits = _fits(swap)
            if swap.mute == fits:
                swap.mute = not fits


def _fits(swap):
    material, copy = swap.inputs["Old"].default_value, swap.inputs["New"].default_value
    if material is None or copy is None or (PREVIEW in swap.id_data and _is_lost(copy)):
        return False
    return following.follow(copy, material)


def _is_lost(copy):
    """Return whether the files of a preview are missing, as those of an unsaved .blend are after a restart."""
    images = {node.image for node in playing_nodes(copy.node_tree)}
    return any(not Path(bpy.path.abspath(image.filepath)).is_file() for image in images)


def is_outdated(obj: bpy.types.Object) -> bool:
    """Return whether the viewport shows the full files, since the material has other nodes than its copy."""
    return any(_swap_of(m.node_group).mute and PREVIEW not in m.node_group for m in _modifiers(obj))


def has_preview(obj: bpy.types.Object) -> bool:
    """Return whether a preview is played in the viewport."""
    return any(PREVIEW in modifier.node_group for modifier in _modifiers(obj))


def update(obj: bpy.types.Object) -> bool:
    """Make new viewport copies of the object's materials; returns False if it plays no proxy files."""
    updated = False
    for modifier in _modifiers(obj):
        swap, former = _swap_of(modifier.node_group), modifier.node_group[PROXY]
        material = swap.inputs["Old"].default_value
        image = next((node.image for node in playing_nodes(former.node_tree)), None) if former else None
        if image is None or material is None or PREVIEW in modifier.node_group:
            continue
        if not any(playing_nodes(material.node_tree)):
            continue
        copy = modifier.node_group[PROXY] = swap.inputs["New"].default_value = _copy_with(material, image)
        swap.mute, updated = False, True
        remove_unused(former)
        copy.update_tag()
    return updated


def add(objects: Iterable[bpy.types.Object], material: bpy.types.Material, image: bpy.types.Image) -> None:
    """Play the sequence `image` in the viewport instead of the loop of the objects' material."""
    show(objects, material, _copy_with(material, image))


def show(
    objects: Iterable[bpy.types.Object], material: bpy.types.Material, copy: bpy.types.Material
) -> bpy.types.NodeTree:
    """Show `copy` instead of `material` in the viewport, on meshes; returns the node group that swaps them."""
    group = _group(material, copy)
    for obj in objects:
        if obj.type == "MESH":
            modifier = obj.modifiers.new(NAME, "NODES")
            modifier.node_group = group
            modifier.show_expanded = False
    return group


def _swap_of(group):
    """Return the node of a group that swaps the materials; None if it is not such a group."""
    return group.nodes.get(SWAP) if PROXY in group else None


def _copy_with(material, image):
    """Return a copy of the material that plays `image` instead of its loop."""
    loops = {node.image for node in playing_nodes(material.node_tree)}
    copy = copied(material, loops)
    for node in list(image_nodes(copy.node_tree, loops)):
        node.image = image
    return copy


def copied(material: bpy.types.Material, images: set) -> bpy.types.Material:
    """Return a copy of a material for the viewport, with single-user groups around nodes that show one of `images`."""
    copy = material.copy()
    copy.name = f"{material.name} viewport"
    if ORIGINAL in copy:
        del copy[ORIGINAL]
    own_groups(copy.node_tree, images)
    return copy


def remove(obj: bpy.types.Object, materials: Iterable[bpy.types.Material] | None = None) -> None:
    """Remove the proxy sequences, of all materials by default: the viewport shows the same as renders."""
    for modifier in list(_modifiers(obj)):
        group = modifier.node_group
        if materials is None or _swap_of(group).inputs["Old"].default_value in (*materials, None):
            obj.modifiers.remove(modifier)
            _remove_unused(group)


def remove_playing(obj: bpy.types.Object, images: set) -> bool:
    """Remove those that play one of `images`; returns False if there are none."""
    modifiers = [m for m in _modifiers(obj) if _images_of(m.node_group) & images]
    for modifier in modifiers:
        group = modifier.node_group
        obj.modifiers.remove(modifier)
        _remove_unused(group)
    return bool(modifiers)


def _remove_unused(group):
    if not users_of(group):
        copy = group[PROXY]
        bpy.data.node_groups.remove(group)
        remove_unused(copy)


def images_of(obj: bpy.types.Object) -> set:
    """Return the sequences that the viewport plays."""
    return {image for modifier in _modifiers(obj) for image in _images_of(modifier.node_group)}


def _images_of(group):
    copy = group[PROXY]
    return {node.image for node in playing_nodes(copy.node_tree)} if copy else set()


def _modifiers(obj):
    return (m for m in obj.modifiers if m.type == "NODES" and m.node_group and _swap_of(m.node_group))


def _group(material, copy):
    """Build the geometry node group that replaces `material` by `copy` in the viewport."""
    tree = bpy.data.node_groups.new(NAME, "GeometryNodeTree")
    tree.is_modifier = True
    tree[PROXY] = copy
    for direction in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=direction, socket_type="NodeSocketGeometry")
    start, end = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    swap, choose = tree.nodes.new("GeometryNodeReplaceMaterial"), tree.nodes.new("GeometryNodeSwitch")
    where = tree.nodes.new("GeometryNodeIsViewport")
    choose.input_type, swap.name = "GEOMETRY", SWAP
    swap.inputs["Old"].default_value, swap.inputs["New"].default_value = material, copy
    places = {start: (-400, 0), swap: (-200, -150), where: (-200, 100), choose: (0, 0), end: (200, 0)}
    for node, place in places.items():
        node.location = place
    tree.links.new(start.outputs["Geometry"], swap.inputs["Geometry"])
    tree.links.new(where.outputs[0], choose.inputs["Switch"])
    tree.links.new(start.outputs["Geometry"], choose.inputs["False"])
    tree.links.new(swap.outputs["Geometry"], choose.inputs["True"])
    tree.links.new(choose.outputs["Output"], end.inputs["Geometry"])
    return tree
