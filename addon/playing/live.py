# SPDX-License-Identifier: GPL-3.0-or-later
"""Live preview: animate the plane by shader nodes, without a bake. For look development in EEVEE and Cycles.

A node group replaces the image texture. Like the loop, it blends two copies of the still, one transported forward from
the start of a cycle of P = frames / cycles, one backward from its end:

    image(p, t) = (1 - t / P) * still(p - path(t)) + t / P * still(p - path(t - P))

path integrates the flow map in STEPS midpoint steps. All cycles are equal, and there are equally many everywhere. Only
the bake varies them, keeps looks steady, restores contrast, and weights the copies by their deformation.
The image texture is kept, disconnected, and reconnected afterwards.
"""

from __future__ import annotations

import math
from pathlib import Path

import bpy
import numpy as np

from ..errors import PlaneError
from ..plane.copies import (
    playing_nodes,
    remove_unused,
    restore_shared_groups,
    restore_shared_material,
)
from ..plane.image import LIVE, STILL, PlaneImage, find_plane_image
from ..plane.map import PlaneMap
from ..plane.uses import (
    EVERYWHERE,
    editable_users,
    nodes_of,
    plays_everywhere,
    shown_images,
    unique,
    users_of_picture,
)
from ..texts import rpt_
from .flow_file import flow_image, read_velocity

NAME = "Loopcore Live"
STEPS = 2
# Automatic cycles: the shortest in frames, the greatest displacement halfway through a copy's life as a fraction of
# the image's longer side (less than the bake allows, as distortion is not measured here), and the number of pixels that
# the speed is taken from.
MIN_PERIOD = 12
MAX_DISPLACEMENT = 0.045
SAMPLES = 1 << 16


def add_live_preview(plane: PlaneImage, motion_path: str | Path, frames: int, cycles: int | str = "auto") -> int:
    """Animate the plane with the motion in `motion_path` (a motion.exr), in a loop of `frames`; returns its cycles.

    Raises:
        PlaneError: the file is not a motion field, the material cannot be changed, or too many cycles.
    """
    if frames < 2:
        raise PlaneError(rpt_("A loop needs at least 2 frames, not {frames}").format(frames=frames))
    if cycles != "auto" and not 1 <= cycles <= frames // 2:
        text = rpt_("cycles {cycles} is out of range: give 'auto' or a whole number from 1 to {most}")
        raise PlaneError(text.format(cycles=cycles, most=frames // 2))
    obj = plane.object
    if plane.is_background:
        raise PlaneError(rpt_("A background image has no shader nodes for a live preview: use Preview"))
    velocity = read_velocity(motion_path)
    cycles = automatic_cycles(velocity, frames) if cycles == "auto" else cycles
    flow = flow_image(velocity, f"{obj.name} flow")
    remove_live_preview(plane)
    plane = find_plane_image(obj)
    for use in users_of_picture(plane).playing:
        stop(use.object, use.slot)
    plane, users = editable_users(find_plane_image(obj))
    start = bpy.context.scene.frame_start
    extension = _extension(plane)
    for texture in nodes_of(users.materials, shown_images(plane)):
        tree = texture.id_data
        node = tree.nodes.new("ShaderNodeGroup")
        node.node_tree = _group(texture, plane.image, flow, frames / cycles, extension)
        node[LIVE], node.label = texture.name, NAME
        if plays_everywhere(obj):
            node[EVERYWHERE] = True
        node.location = (texture.location.x, texture.location.y + 180)
        for link in list(texture.inputs["Vector"].links):
            tree.links.new(link.from_socket, node.inputs["Vector"])
        _move_links(tree, texture, node)
        driver = node.inputs["Time"].driver_add("default_value").driver
        driver.type = "SCRIPTED"
        since = f"(frame-{start})".replace("--", "+")
        # Whole numbers up to the division, so that each loop begins exactly at 0.
        driver.expression = f"({since}*{cycles}-{frames}*floor({since}*{cycles}/{frames}))/{cycles}"
    return cycles


def automatic_cycles(velocity: np.ndarray, frames: int) -> int:
    """Return the power of two of cycles in which the median speed of what moves does not carry a copy too far.

    A copy is shown for two periods of frames / cycles, and is displaced by half a period at half its weight. The median
    is weighted by speed, so that slow water does not decide for the fast water beside it.
    """
    step = math.ceil(math.sqrt(velocity[..., 0].size / SAMPLES))
    speed = np.sort(np.hypot(*np.moveaxis(velocity[::step, ::step], -1, 0)), axis=None)
    total = np.cumsum(speed)
    distance = speed[np.searchsorted(total, total[-1] / 2)] * frames / 2
    limit = MAX_DISPLACEMENT * max(velocity.shape[:2])
    cycles = 1
    while distance > limit * cycles and frames >= 2 * cycles * MIN_PERIOD:
        cycles *= 2
    return cycles


def remove_live_preview(plane: PlaneImage) -> list[bpy.types.Object]:
    """Reconnect the image texture as before; returns the objects that had this preview."""
    obj = plane.object
    everywhere = any(_everywhere(slot.material, plane.image) for slot in obj.material_slots)
    places = [(obj, index) for index, slot in enumerate(obj.material_slots) if slot.material]
    for other in bpy.data.objects if everywhere else ():
        if other != obj and not other.library:
            materials = [slot.material for slot in other.material_slots]
            places += [(other, i) for i, material in enumerate(materials) if _everywhere(material, plane.image)]
    had = [other for other, index in places if any(_live_nodes(other.material_slots[index].material.node_tree))]
    for other, index in places:
        stop(other, index)
    return unique(had)


def stop(obj: bpy.types.Object, index: int) -> bool:
    """Reconnect the image texture of the material in a slot; returns False if it has no live preview."""
    tree = material.node_tree if (material := obj.material_slots[index].material) else None
    if not _stop(tree):
        return False
    if not any(playing_nodes(tree)) and not restore_shared_material(obj, index):
        restore_shared_groups(tree)
    return True


def _everywhere(material, still):
    """Return whether a material has a live preview of the picture that all its users have."""
    nodes = _live_nodes(material.node_tree if material else None)
    textures = [_texture(node) for node in nodes if EVERYWHERE in node]
    return any(t and t.image and t.image.get(STILL, t.image) == still for t in textures)


def is_live(obj: bpy.types.Object) -> bool:
    """Return whether the object is animated by a live preview."""
    return any(slot.material and any(_live_nodes(slot.material.node_tree)) for slot in obj.material_slots)


def _live_nodes(tree):
    for node in tree.nodes if tree else ():
        if node.type == "GROUP":
            if LIVE in node:
                yield node
            else:
                yield from _live_nodes(node.node_tree)


def _stop(tree):
    nodes = list(_live_nodes(tree))
    for node in nodes:
        tree, group = node.id_data, node.node_tree
        if (texture := _texture(node)) is not None:
            _move_links(tree, node, texture)
        node.inputs["Time"].driver_remove("default_value")
        tree.nodes.remove(node)
        flows = {n.image for n in group.nodes if n.name.startswith("Flow")} if group else set()
        remove_unused(group)
        remove_unused(*flows)
    return bool(nodes)


def _texture(node):
    """Return the image texture that a live node replaces; found by its image if it was renamed."""
    tree, group = node.id_data, node.node_tree
    shown = {n.image for n in group.nodes if n.type == "TEX_IMAGE"} if group else set()
    textures = (n for n in tree.nodes if n.type == "TEX_IMAGE" and n.image)
    others = (n for n in textures if n.image in shown or n.image.get(STILL) in shown)
    return tree.nodes.get(node[LIVE]) or next(others, None)


def _move_links(tree, source, target):
    for name in ("Color", "Alpha"):
        for link in list(source.outputs[name].links):
            tree.links.new(target.outputs[name], link.to_socket)


def _extension(plane):
    """Return the extension mode: Mirror as in the loop, unless the UVs repeat the still."""
    try:
        low, high = PlaneMap.of(plane).box
    except PlaneError:
        return plane.node.extension
    inside = low.min() > -1 and (high < plane.size).all()
    return "MIRROR" if inside else plane.node.extension


def _group(texture, still, flow, period, extension):
    """Build the node group: inputs Vector (unused for the mesh's UVs) and Time, outputs Color and Alpha."""
    tree = bpy.data.node_groups.new(NAME, "ShaderNodeTree")
    tree.interface.new_socket("Vector", in_out="INPUT", socket_type="NodeSocketVector")
    tree.interface.new_socket("Time", in_out="INPUT", socket_type="NodeSocketFloat")
    tree.interface.new_socket("Color", in_out="OUTPUT", socket_type="NodeSocketColor")
    tree.interface.new_socket("Alpha", in_out="OUTPUT", socket_type="NodeSocketFloat")
    build = _Builder(tree, flow)
    start, end = build.add("NodeGroupInput", -1000, 0), build.add("NodeGroupOutput", 1000, 0)
    place = start.outputs["Vector"]
    if not texture.inputs["Vector"].is_linked:
        place = build.add("ShaderNodeUVMap", -1000, -200).outputs["UV"]
    time = start.outputs["Time"]
    ages = time, build.math("SUBTRACT", time, period, -800, -300)
    copies = [build.image(texture, still, extension, build.traced(place, age, 300 - 600 * row), 300 - 600 * row)
              for row, age in enumerate(ages)]  # fmt: skip
    share = build.math("DIVIDE", time, period, 500, 400)
    build.join(build.mix("RGBA", share, *(node.outputs["Color"] for node in copies), 100), end.inputs["Color"])
    build.join(build.mix("FLOAT", share, *(node.outputs["Alpha"] for node in copies), -200), end.inputs["Alpha"])
    return tree


class _Builder:
    """Adds connected nodes to a tree."""

    def __init__(self, tree, flow):
        self.tree, self.flow = tree, flow

    def add(self, kind, x, y):
        node = self.tree.nodes.new(kind)
        node.location = (x, y)
        return node

    def join(self, value, socket):
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def math(self, operation, first, second, x, y):
        node = self.add("ShaderNodeMath", x, y)
        node.operation = operation
        self.join(first, node.inputs[0])
        self.join(second, node.inputs[1])
        return node.outputs[0]

    def traced(self, place, age, y):
        """Return the position `age` frames earlier of the content at `place`."""
        part = self.math("DIVIDE", age, -STEPS, -700, y)
        half = self.math("DIVIDE", age, -2 * STEPS, -700, y - 150)
        for step in range(STEPS):
            middle = self.moved(place, place, half, -500 + 400 * step, y)
            place = self.moved(place, middle, part, -300 + 400 * step, y)
        return place

    def moved(self, place, at, factor, x, y):
        """Return place + factor * velocity(at)."""
        velocity = self.add("ShaderNodeTexImage", x, y)
        velocity.name = "Flow"
        velocity.image, velocity.interpolation, velocity.extension = self.flow, "Linear", "EXTEND"
        self.join(at, velocity.inputs["Vector"])
        scaled, total = self.add("ShaderNodeVectorMath", x + 60, y - 250), self.add("ShaderNodeVectorMath", x + 120, y)
        scaled.operation, total.operation = "SCALE", "ADD"
        self.join(velocity.outputs["Color"], scaled.inputs[0])
        self.join(factor, scaled.inputs["Scale"])
        self.join(place, total.inputs[0])
        self.join(scaled.outputs[0], total.inputs[1])
        return total.outputs[0]

    def image(self, texture, still, extension, place, y):
        node = self.add("ShaderNodeTexImage", 400, y)
        node.image, node.interpolation, node.extension = still, texture.interpolation, extension
        self.join(place, node.inputs["Vector"])
        return node

    def mix(self, kind, share, first, second, y):
        node = self.add("ShaderNodeMix", 700, y)
        node.data_type, node.clamp_result = kind, False
        # The sockets of all data types have the same names, but different identifiers.
        suffix = "Color" if kind == "RGBA" else "Float"
        known = {socket.identifier: socket for socket in [*node.inputs, *node.outputs]}
        self.join(share, known["Factor_Float"])
        self.join(first, known[f"A_{suffix}"])
        self.join(second, known[f"B_{suffix}"])
        return known[f"Result_{suffix}"]
