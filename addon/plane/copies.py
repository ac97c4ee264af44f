# SPDX-License-Identifier: GPL-3.0-or-later
"""Single-user copies of a plane's material and node groups, and their removal.

The loop that a plane plays is set in its material's nodes. If it plays on this plane only, and other planes share the
material, or other materials its node groups, the plane gets copies; of linked ones always. Each copy stores its
original, which replaces it when the still is restored.
"""

from __future__ import annotations

from collections.abc import Iterator

import bpy

from .image import STILL, PlaneImage, find_plane_image, refuse_linked

# Properties on a copied material: its original, and "DATA" if that was linked to the mesh and not to the object.
ORIGINAL, LINK = "loopcore_original", "loopcore_link"
# Property on a node whose group was copied: the original group.
ORIGINAL_GROUP = "loopcore_original_group"


def own_material(plane: PlaneImage) -> PlaneImage:
    """Make the plane's material and node groups single-user; returns the plane with them.

    Raises:
        PlaneError: the object is linked from another file.
    """
    refuse_linked(plane.object)
    own_slot(plane.object, plane.slot, {plane.image, plane.playing})
    return find_plane_image(plane.object)


def own_slot(obj: bpy.types.Object, index: int, images: set, *, linked_only: bool = False) -> None:
    """Make a slot's material, and groups in it that show one of `images`, single-user; or only what is linked."""
    slot = obj.material_slots[index]
    material = slot.material
    if material.library or (not linked_only and is_shared(obj, material)):
        copy = material.copy()
        if not any(playing_nodes(material.node_tree)):
            copy[ORIGINAL] = material
        linked = obj.data.library or obj.data.override_library
        if slot.link == "DATA" and (linked or obj.data.users > 1):
            slot.link = "OBJECT"
            copy[LINK] = "DATA"
        slot.material = material = copy
    own_groups(material.node_tree, images, linked_only=linked_only)


def restore_shared_material(obj: bpy.types.Object, slot_index: int) -> bool:
    """Replace the copied material of a slot by its original; returns False if it is not a copy."""
    slot = obj.material_slots[slot_index]
    copy = slot.material
    original = copy.get(ORIGINAL)
    if original is None:
        return False
    if copy.get(LINK) == "DATA":
        # The mesh's slot still has the original.
        slot.material = None
        slot.link = "DATA"
    else:
        slot.material = original
    remove_unused(copy)
    return True


def is_shared(obj: bpy.types.Object, material: bpy.types.Material) -> bool:
    """Return whether another object uses the material, or a copy that the material will replace."""
    return any(
        slot.material == material for other in bpy.data.objects if other != obj for slot in other.material_slots
    ) or any(other.get(ORIGINAL) == material for other in bpy.data.materials)


def image_nodes(tree: bpy.types.NodeTree | None, images: set) -> Iterator[bpy.types.Node]:
    """Yield the image textures in a tree and its groups that show one of `images`."""
    for node in tree.nodes if tree else ():
        if node.type == "TEX_IMAGE" and node.image and node.image in images:
            yield node
        elif node.type == "GROUP":
            yield from image_nodes(node.node_tree, images)


def playing_nodes(tree: bpy.types.NodeTree | None) -> Iterator[bpy.types.Node]:
    """Yield the image textures in a tree and its groups that play a loop."""
    for node in tree.nodes if tree else ():
        if node.type == "TEX_IMAGE" and node.image and node.image.get(STILL):
            yield node
        elif node.type == "GROUP":
            yield from playing_nodes(node.node_tree)


def own_groups(tree: bpy.types.NodeTree, images: set, *, linked_only: bool = False) -> None:
    """Copy each shared or linked group in a tree that shows one of `images`."""
    for node in tree.nodes:
        if node.type != "GROUP" or not any(image_nodes(node.node_tree, images)):
            continue
        group = node.node_tree
        if group.library or (not linked_only and len(users_of(group)) > 1):
            if node.get(ORIGINAL_GROUP) is None:
                node[ORIGINAL_GROUP] = group
            node.node_tree = group.copy()
        own_groups(node.node_tree, images, linked_only=linked_only)


def restore_shared_groups(tree: bpy.types.NodeTree) -> None:
    """Replace every copied group in a tree by its original."""
    for node in tree.nodes:
        if node.type != "GROUP" or node.node_tree is None:
            continue
        restore_shared_groups(node.node_tree)
        if (original := node.get(ORIGINAL_GROUP)) is not None:
            copy, node.node_tree = node.node_tree, original
            del node[ORIGINAL_GROUP]
            remove_unused(copy)


def users_of(block: bpy.types.ID) -> set:
    """Return the users of `block` except windows. After copies, Blender 4.2's own count is too high."""
    users = bpy.data.user_map(subset=[block])[block]
    return {user for user in users if user.id_type not in {"SCREEN", "WINDOWMANAGER"}}


def remove_unused(*blocks) -> None:
    """Remove data-blocks without users, and those only they used: copied groups, and loops that their nodes play."""
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
