# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the values of a material to its copy, as long as both have the same nodes.

Only numbers, texts and choices are set, never references to data-blocks, so it is safe also without an undo step.
"""

from __future__ import annotations

import bpy

from ..plane.image import PREVIEW, STILL

# Properties that do not change what is shown, or that Blender itself sets.
_NODE = {
    "name", "label", "parent", "location", "location_absolute", "width", "height", "dimensions", "select", "hide",
    "show_options", "show_preview", "show_texture", "use_custom_color", "color", "color_tag", "inputs", "outputs",
    "internal_links", "warning_propagation",
}  # fmt: skip
_PLACE = {"frame_current", "frame_offset"}  # of an image user: both materials have a driver on the offset
_IGNORED = _NODE | _PLACE | {"rna_type", "id_data"}
_VALUES = {"BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"}
# The values of a material itself; other ones belong to the data-block.
_MATERIAL = (
    "diffuse_color", "specular_color", "roughness", "specular_intensity", "metallic", "pass_index",
    "use_backface_culling", "use_transparency_overlap", "use_transparent_shadow", "surface_render_method",
    "blend_method", "alpha_threshold", "displacement_method", "volume_intersection_method",
    "use_raytrace_refraction", "use_screen_refraction", "refraction_depth", "thickness_mode",
)  # fmt: skip
_DEPTH = 4


def follow(copy: bpy.types.Material, material: bpy.types.Material) -> bool:
    """Give `copy` the values of `material`; returns False if their nodes differ, and the values cannot tell."""
    if not _tree(copy.node_tree, material.node_tree):
        return False
    return all(_value(copy, material, name) for name in _MATERIAL if hasattr(material, name))


def _tree(copy, tree):
    if copy is None or tree is None or set(copy.nodes.keys()) != set(tree.nodes.keys()):
        return copy == tree
    if _links(copy) != _links(tree) or _animation(copy) != _animation(tree):
        return False
    return all(_node(copy.nodes[node.name], node) for node in tree.nodes)


def _links(tree):
    return sorted(
        (link.from_node.name, link.from_socket.identifier, link.to_node.name, link.to_socket.identifier, link.is_muted)
        for link in tree.links
    )


def _animation(tree):
    """Return what animates a tree, other than the drivers of a loop's frames."""
    data = tree.animation_data
    if data is None:
        return None, []
    drivers = [c for c in data.drivers if not c.data_path.endswith("image_user.frame_offset")]
    return data.action, sorted((c.data_path, c.array_index, c.driver.expression) for c in drivers)


def _node(copy, node):
    if copy.bl_idname != node.bl_idname:
        return False
    # First the node's own properties, which may change its sockets.
    if not _struct(copy, node, _DEPTH):
        return False
    for mine, given in ((copy.inputs, node.inputs), (copy.outputs, node.outputs)):
        if [s.identifier for s in mine] != [s.identifier for s in given]:
            return False
        for a, b in zip(mine, given, strict=True):
            if hasattr(b, "default_value") and not _property(a, b, b.bl_rna.properties["default_value"], _DEPTH):
                return False
    return True


def _struct(copy, given, depth):
    if copy.bl_rna != given.bl_rna or depth == 0:
        return False
    for prop in given.bl_rna.properties:
        name = prop.identifier
        if name not in _IGNORED and not name.startswith("bl_") and not _property(copy, given, prop, depth):
            return False
    if isinstance(given, bpy.types.CurveMapping):
        copy.update()
    return True


def _property(copy, given, prop, depth):
    """Compare one property and set it on the copy; returns False if that is impossible."""
    name = prop.identifier
    if name == "image_user" and copy.image is not None and copy.image.get(PREVIEW):
        return True  # it plays other frames than the material
    if prop.type in _VALUES:
        return _value(copy, given, name)
    a, b = getattr(copy, name), getattr(given, name)
    if prop.type == "COLLECTION":
        return len(a) == len(b) and all(_struct(x, y, depth - 1) for x, y in zip(a, b, strict=True))
    if a is None or b is None or isinstance(b, bpy.types.ID):
        return _same(a, b)
    return _struct(a, b, depth - 1)


def _value(copy, given, name):
    new, old = getattr(given, name), getattr(copy, name)
    if getattr(given.bl_rna.properties[name], "is_array", False):
        new, old = tuple(new), tuple(old)
    if new == old or copy.is_property_readonly(name):
        return True
    try:
        setattr(copy, name, new)
    except (AttributeError, TypeError, ValueError):
        return False
    return True


def _same(a, b):
    """Return whether two references are equal, or to an own copy of a group, or to images of the same still."""
    if a == b:
        return True
    if isinstance(a, bpy.types.NodeTree) and isinstance(b, bpy.types.NodeTree):
        return _tree(a, b)
    if not (isinstance(a, bpy.types.Image) and isinstance(b, bpy.types.Image)):
        return False
    if a.get(PREVIEW):
        return a.get(STILL) == b.get(STILL, b)
    return STILL in a and STILL in b and a[STILL] == b[STILL]
