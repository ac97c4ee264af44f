# SPDX-License-Identifier: GPL-3.0-or-later
"""Proxy files for the viewport, full files for renders.

A shader cannot distinguish viewport and render, and would load both. Geometry nodes can: a modifier gives the plane, in
the viewport only, a copy of its material whose image texture plays the proxy files. Renders are not affected, and do
not need the add-on. When the material changes, the add-on updates the copy.
"""

from __future__ import annotations

import bpy

from ..plane.copies import ORIGINAL, image_nodes, own_groups, playing_nodes, remove_unused, users_of

# Property on the node group of the modifier: the material for the viewport.
PROXY = "loopcore_proxy"
NAME = "Loopcore Viewport"
# Name of the node in that group that has both materials.
SWAP = "Swap"
# Time without changes after which a material is copied.
_DEBOUNCE_S = 0.4

# Names of changed materials, whose copies are outdated.
_changed: set[str] = set()


def register():
    bpy.app.handlers.depsgraph_update_post.append(_updated)
    bpy.app.handlers.save_pre.append(follow)
    bpy.app.handlers.load_pre.append(_forget)


def unregister():
    _forget()
    for handlers, handler in (
        (bpy.app.handlers.depsgraph_update_post, _updated), (bpy.app.handlers.save_pre, follow),
        (bpy.app.handlers.load_pre, _forget),
    ):  # fmt: skip
        if handler in handlers:
            handlers.remove(handler)


@bpy.app.handlers.persistent
def _updated(_scene, depsgraph):
    if not depsgraph.id_type_updated("MATERIAL"):
        return
    for update in depsgraph.updates:
        if isinstance(update.id, bpy.types.Material) and _groups_of(update.id.original):
            _changed.add(update.id.original.name)
    if _changed and not bpy.app.background:
        if bpy.app.timers.is_registered(_update_copies):
            bpy.app.timers.unregister(_update_copies)
        bpy.app.timers.register(_update_copies, first_interval=_DEBOUNCE_S)


def _update_copies():
    follow()


@bpy.app.handlers.persistent
def _forget(*_arguments):
    _changed.clear()
    if bpy.app.timers.is_registered(_update_copies):
        bpy.app.timers.unregister(_update_copies)


@bpy.app.handlers.persistent
def follow(*_arguments):
    """Update the viewport copies of the changed materials."""
    names = list(_changed)
    _changed.clear()
    for material in filter(None, map(bpy.data.materials.get, names)):
        for group in _groups_of(material):
            former = group[PROXY]
            image = next((node.image for node in playing_nodes(former.node_tree)), None) if former else None
            if image is not None and any(playing_nodes(material.node_tree)):
                copy = _copy_with(material, image)
                group[PROXY] = group.nodes[SWAP].inputs["New"].default_value = copy
                remove_unused(former)


def add(obj: bpy.types.Object, slot: int, image: bpy.types.Image) -> None:
    """Play the sequence `image` in the viewport instead of the loop of the slot's material."""
    material = obj.material_slots[slot].material
    modifier = obj.modifiers.new(NAME, "NODES")
    modifier.node_group = _group(material, _copy_with(material, image))
    modifier.show_expanded = False


def _groups_of(material):
    return [g for g in bpy.data.node_groups if PROXY in g and g.nodes[SWAP].inputs["Old"].default_value == material]


def _copy_with(material, image):
    """Return a copy of the material that plays `image` instead of its loop."""
    loops = {node.image for node in playing_nodes(material.node_tree)}
    copy = material.copy()
    copy.name = f"{material.name} viewport"
    if ORIGINAL in copy:
        del copy[ORIGINAL]
    own_groups(copy.node_tree, loops)
    for node in list(image_nodes(copy.node_tree, loops)):
        node.image = image
    return copy


def remove(obj: bpy.types.Object) -> None:
    """Remove the proxy sequence: the viewport shows the same as renders."""
    for modifier in list(_modifiers(obj)):
        group = modifier.node_group
        obj.modifiers.remove(modifier)
        if not users_of(group):
            copy = group[PROXY]
            bpy.data.node_groups.remove(group)
            remove_unused(copy)


def image_of(obj: bpy.types.Object) -> bpy.types.Image | None:
    """Return the proxy sequence that the viewport plays, or None."""
    copies = [modifier.node_group[PROXY] for modifier in _modifiers(obj)]
    return next((node.image for copy in copies for node in playing_nodes(copy.node_tree)), None)


def _modifiers(obj):
    return (m for m in obj.modifiers if m.type == "NODES" and m.node_group and PROXY in m.node_group)


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
