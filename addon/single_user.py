# SPDX-License-Identifier: GPL-3.0-or-later
"""A material, and the node groups in it, that one plane has for itself; and the way back to what it shared.

What a plane plays is set in its material's nodes. Where other planes use that material, or other materials its node
groups, the plane gets copies. Each copy remembers what it was made from, and is dropped when the still is put back.
"""

from __future__ import annotations

from collections.abc import Iterator

import bpy

from .plane import STILL, PlaneError, PlaneImage, find_plane_image

# On a copied material: what it was copied from, and whether the mesh (else the object) had that one.
ORIGINAL, LINK = "loopcore_original", "loopcore_link"
# On a node whose group was copied: the group that it was copied from.
ORIGINAL_GROUP = "loopcore_original_group"


def own_material(plane: PlaneImage) -> PlaneImage:
    """The same plane with a material and groups for itself, copied where they were shared.

    Raises:
        PlaneError: the object or its material is linked from another file.
    """
    obj, material = plane.object, plane.material
    for thing in (obj, obj.data):
        if thing.library:
            raise PlaneError(
                f'"{thing.name}" is linked from {thing.library.filepath}: make it local (Object > Relations > Make '
                "Local) to animate it here"
            )
    if material.library or is_shared(obj, material):
        copy = material.copy()
        if not any(playing_nodes(material.node_tree)):
            copy[ORIGINAL] = material
        slot = obj.material_slots[plane.slot]
        if slot.link == "DATA" and obj.data.users > 1:
            slot.link = "OBJECT"
            copy[LINK] = "DATA"
        slot.material = copy
        material = copy
    own_groups(material.node_tree, {plane.image, plane.playing})
    return find_plane_image(obj)


def shared_material_back(obj: bpy.types.Object, slot_index: int) -> bool:
    """Give a slot the material that its copy was made from; False where it is no copy."""
    slot = obj.material_slots[slot_index]
    copy = slot.material
    original = copy.get(ORIGINAL)
    if original is None:
        return False
    if copy.get(LINK) == "DATA":
        # The mesh has the original still.
        slot.material = None
        slot.link = "DATA"
    else:
        slot.material = original
    remove_unused(copy)
    return True


def is_shared(obj: bpy.types.Object, material: bpy.types.Material) -> bool:
    """Whether another object has the material, or is to have it back."""
    return any(
        slot.material == material for other in bpy.data.objects if other != obj for slot in other.material_slots
    ) or any(other.get(ORIGINAL) == material for other in bpy.data.materials)


def image_nodes(tree: bpy.types.NodeTree | None, images: set) -> Iterator[bpy.types.Node]:
    """The image textures in a tree, and in the groups in it, that show one of `images`."""
    for node in tree.nodes if tree else ():
        if node.type == "TEX_IMAGE" and node.image and node.image in images:
            yield node
        elif node.type == "GROUP":
            yield from image_nodes(node.node_tree, images)


def playing_nodes(tree: bpy.types.NodeTree | None) -> Iterator[bpy.types.Node]:
    """The image textures in a tree, and in the groups in it, that play a loop."""
    for node in tree.nodes if tree else ():
        if node.type == "TEX_IMAGE" and node.image and node.image.get(STILL):
            yield node
        elif node.type == "GROUP":
            yield from playing_nodes(node.node_tree)


def own_groups(tree: bpy.types.NodeTree, images: set) -> None:
    """Copy each group in a tree that shows one of `images` and is used elsewhere too."""
    for node in tree.nodes:
        if node.type != "GROUP" or not any(image_nodes(node.node_tree, images)):
            continue
        group = node.node_tree
        if group.library or len(users_of(group)) > 1:
            if node.get(ORIGINAL_GROUP) is None:
                node[ORIGINAL_GROUP] = group
            node.node_tree = group.copy()
        own_groups(node.node_tree, images)


def groups_back(tree: bpy.types.NodeTree) -> None:
    """Have every node in a tree use the group again that its own was copied from."""
    for node in tree.nodes:
        if node.type != "GROUP" or node.node_tree is None:
            continue
        groups_back(node.node_tree)
        if (original := node.get(ORIGINAL_GROUP)) is not None:
            copy, node.node_tree = node.node_tree, original
            del node[ORIGINAL_GROUP]
            remove_unused(copy)


def users_of(block: bpy.types.ID) -> set:
    """The data that uses `block`, windows aside. Blender's own count is not relied on: 4.2's runs high after copies."""
    users = bpy.data.user_map(subset=[block])[block]
    return {user for user in users if user.id_type not in {"SCREEN", "WINDOWMANAGER"}}


def remove_unused(*blocks) -> None:
    """Remove data that nothing uses any more, and what only it used: groups, and the loops that nodes played."""
    for block in blocks:
        if block is None or block.use_fake_user or users_of(block):
            continue
        if isinstance(block, bpy.types.Image):
            bpy.data.images.remove(block)
            continue
        tree = block.node_tree if isinstance(block, bpy.types.Material) else block
        nodes = list(tree.nodes) if tree else []
        groups = {node.node_tree for node in nodes if node.type == "GROUP" and ORIGINAL_GROUP in node}
        images = {node.image for node in nodes if node.type == "TEX_IMAGE" and node.image and STILL in node.image}
        (bpy.data.materials if isinstance(block, bpy.types.Material) else bpy.data.node_groups).remove(block)
        remove_unused(*groups, *images)
