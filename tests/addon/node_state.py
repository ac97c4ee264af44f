# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: the complete state of an object's materials, to compare before and after."""

import bpy


def state(obj):
    """Return all settings and links of the nodes of the object's materials, and the names of all data-blocks."""
    out = {}
    for slot in obj.material_slots:
        out[f"slot {slot.slot_index}"] = [slot.link, slot.material.name]
        trees = [slot.material.node_tree]
        while trees:
            tree = trees.pop()
            drivers = tree.animation_data.drivers if tree.animation_data else []
            links = sorted(f"{k.from_node.name}.{k.from_socket.identifier}>{k.to_node.name}.{k.to_socket.identifier}"
                           for k in tree.links)  # fmt: skip
            out[tree.name] = [links, [d.data_path for d in drivers]]
            for node in tree.nodes:
                out[f"{tree.name}/{node.name}"] = settings_of(node)
                if node.type == "TEX_IMAGE":
                    out[f"{tree.name}/{node.name}/user"] = settings_of(node.image_user)
                if node.type == "GROUP":
                    trees.append(node.node_tree)
    out["modifiers"] = [m.name for m in obj.modifiers]
    out["properties"] = sorted(obj.keys())
    for kind in ("images", "materials", "node_groups"):
        blocks = getattr(bpy.data, kind)
        out[kind] = sorted(block.name for block in blocks if block.users and block.name != "Render Result")
    return out


def settings_of(thing):
    values = {}
    for item in thing.bl_rna.properties:
        value = getattr(thing, item.identifier, None)
        if item.type in {"BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"}:
            values[item.identifier] = str(value[:] if getattr(item, "is_array", False) else value)
        elif item.type == "POINTER" and isinstance(value, bpy.types.ID):
            values[item.identifier] = value.name
    values["own"] = sorted(thing.keys()) if hasattr(thing, "keys") and isinstance(thing, bpy.types.Node) else []
    for socket in getattr(thing, "inputs", ()):
        if hasattr(socket, "default_value") and not isinstance(socket.default_value, str):
            value = socket.default_value
            values[f"in {socket.identifier}"] = str(value[:] if hasattr(value, "__len__") else value)
    values.pop("select", None)
    return values
