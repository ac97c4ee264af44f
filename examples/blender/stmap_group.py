# SPDX-License-Identifier: Apache-2.0
"""A compositor node group that rebuilds the loop from the still and Loopcore's STMaps. Blender 4.2 and later.

In Blender's Text editor: open, run, then add the group "Loopcore STMaps" from Add > Group. To set a whole scene up:

    blender -b -P stmap_group.py -- STILL.exr FOLDER/motion 1001 60

where FOLDER holds motion_stmap_past.1001.exr, motion_stmap_future.1001.exr, motion_weight.1001.exr and so on, as
`loopcore flow motion.exr -o FOLDER --convention stmap` leaves them; 1001 is the first frame and 60 the loop's length.

    frame = red(weights) * still seen through past + green * still seen through future + blue * still

Where FOLDER holds motion_stmap_1.1001.exr, motion_stmap_2.1001.exr, ... instead, the loop has several layers, and the
group "Loopcore Layers" takes them; motion_shift.1001.exr is there with steady looks.

    mask = sum of the layers' alpha
    moving = sum of alpha * still seen through the layer / mask, its tone shifted
    frame = mask * moving + (1 - mask) * still
"""

import math
import os
import sys

import bpy

NAME, LAYERS, TONE = "Loopcore STMaps", "Loopcore Layers", "Loopcore Tone"
INPUTS = (("Still", "NodeSocketColor"), ("Past", "NodeSocketVector"), ("Future", "NodeSocketVector"),
          ("Weights", "NodeSocketColor"))  # fmt: skip


def build_group(name=NAME):
    """A new compositor group: Still, Past, Future, Weights in, Image out."""
    tree = bpy.data.node_groups.new(name, "CompositorNodeTree")
    for label, kind in INPUTS:
        tree.interface.new_socket(label, in_out="INPUT", socket_type=kind)
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    source, target = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    source.location, target.location = (-500, 0), (900, 0)
    shares = tree.nodes.new("CompositorNodeSeparateColor")
    shares.location = (-250, -350)
    tree.links.new(source.outputs["Weights"], shares.inputs[0])
    total = None
    for row, (share, through) in enumerate((("Red", "Past"), ("Green", "Future"), ("Blue", None))):
        seen = source.outputs["Still"]
        if through:
            seen = _map_uv(tree, seen, source.outputs[through], (-250, 300 - 250 * row))
        part = _mix(tree, "MULTIPLY", seen, shares.outputs[share], (150, 250 - 250 * row))
        total = part if total is None else _mix(tree, "ADD", total, part, (350 + 150 * row, 150 - 100 * row))
    tree.links.new(total, target.inputs["Image"])
    return tree


def build_layers(count, steady, name=LAYERS):
    """A new compositor group: Still, each Layer with its Weight, Shift and White in, Image out."""
    tree = bpy.data.node_groups.new(name, "CompositorNodeTree")
    tree.interface.new_socket("Still", in_out="INPUT", socket_type="NodeSocketColor")
    for k in range(1, count + 1):
        tree.interface.new_socket(f"Layer {k}", in_out="INPUT", socket_type="NodeSocketVector")
        tree.interface.new_socket(f"Weight {k}", in_out="INPUT", socket_type="NodeSocketFloat")
    if steady:
        tree.interface.new_socket("Shift", in_out="INPUT", socket_type="NodeSocketColor")
        tree.interface.new_socket("White", in_out="INPUT", socket_type="NodeSocketFloat")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    source, target = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    source.location, target.location = (-500, 0), (1500, 0)
    still, total, mask = source.outputs["Still"], None, None
    for k in range(1, count + 1):
        weight = source.outputs[f"Weight {k}"]
        seen = _map_uv(tree, still, source.outputs[f"Layer {k}"], (-250, 600 - 250 * k))
        part = _mix(tree, "MULTIPLY", seen, weight, (0, 600 - 250 * k))
        total = part if total is None else _mix(tree, "ADD", total, part, (200 + 100 * k, 600 - 250 * k))
        mask = weight if mask is None else _math(tree, "ADD", mask, weight, (200 + 100 * k, -600 - 50 * k))
    if steady:
        total = _shift_tone(tree, total, mask, source.outputs["Shift"], source.outputs["White"])
    rest = _mix(tree, "MULTIPLY", still, _math(tree, "SUBTRACT", 1, mask, (800, -500)), (1000, -400))
    tree.links.new(_mix(tree, "ADD", total, rest, (1300, 0)), target.inputs["Image"])
    return tree


def _shift_tone(tree, total, mask, shift, white):
    """The moving part, times its mask, with its tone shifted; its output socket."""
    parts, shifts = tree.nodes.new("CompositorNodeSeparateColor"), tree.nodes.new("CompositorNodeSeparateColor")
    made = tree.nodes.new("CompositorNodeCombineColor")
    parts.location, shifts.location, made.location = (700, 300), (700, 0), (1100, 200)
    tree.links.new(total, parts.inputs[0])
    tree.links.new(shift, shifts.inputs[0])
    tree.links.new(parts.outputs["Alpha"], made.inputs["Alpha"])
    tone = build_tone()
    for row, channel in enumerate(("Red", "Green", "Blue")):
        node = tree.nodes.new("CompositorNodeGroup")
        node.node_tree, node.location = tone, (900, 400 - 200 * row)
        for name, socket in (("Value", parts.outputs[channel]), ("Mask", mask), ("Shift", shifts.outputs[channel]),
                             ("White", white)):  # fmt: skip
            tree.links.new(socket, node.inputs[name])
        tree.links.new(node.outputs["Value"], made.inputs[channel])
    return made.outputs["Image"]


def build_tone(name=TONE):
    """A new compositor group that shifts the tone of Value / Mask: Value, Mask, Shift, White in, Value out.

    The tone of y is sqrt(y / white) up to white, and 1 + ln(y / white) / 2 above it.
    """
    tree = bpy.data.node_groups.new(name, "CompositorNodeTree")
    for label in ("Value", "Mask", "Shift", "White"):
        tree.interface.new_socket(label, in_out="INPUT", socket_type="NodeSocketFloat")
    tree.interface.new_socket("Value", in_out="OUTPUT", socket_type="NodeSocketFloat")
    source, target = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
    mask, shift, white = (source.outputs[label] for label in ("Mask", "Shift", "White"))

    def do(operation, first, second=0.0):
        return _math(tree, operation, first, second, (180 * (len(tree.nodes) - 1), 0))

    value = do("DIVIDE", source.outputs["Value"], do("MAXIMUM", mask, 1e-9))
    part = do("DIVIDE", do("MAXIMUM", value, 0.0), white)
    above = do("MULTIPLY", do("LOGARITHM", do("MAXIMUM", part, 1.0), math.e), 0.5)
    tone = do("ADD", do("SQRT", do("MINIMUM", part, 1.0)), above)
    moved = do("MAXIMUM", do("ADD", tone, shift), do("MULTIPLY", tone, 0.25))
    below = do("POWER", do("MINIMUM", moved, 1.0), 2.0)
    above = do("EXPONENT", do("MULTIPLY", do("SUBTRACT", do("MAXIMUM", moved, 1.0), 1.0), 2.0))
    light = do("MULTIPLY", do("MULTIPLY", below, above), white)
    # What is not above 0 stays as it is.
    made = do("ADD", do("MULTIPLY", light, do("GREATER_THAN", value, 0.0)), do("MINIMUM", value, 0.0))
    tree.links.new(do("MULTIPLY", made, mask), target.inputs["Value"])
    target.location = (180 * len(tree.nodes), 0)
    return tree


def _math(tree, operation, first, second, place):
    """A Math node of sockets or numbers; its output socket."""
    node = tree.nodes.new("CompositorNodeMath" if hasattr(bpy.types, "CompositorNodeMath") else "ShaderNodeMath")
    node.operation, node.location = operation, place
    for value, socket in zip((first, second), node.inputs, strict=False):
        if isinstance(value, (int, float)):
            socket.default_value = value
        else:
            tree.links.new(value, socket)
    return node.outputs[0]


def _map_uv(tree, image, coordinates, place):
    """The image seen through coordinates; its output socket."""
    node = tree.nodes.new("CompositorNodeMapUV")
    node.location = place
    tree.links.new(image, node.inputs["Image"])
    tree.links.new(coordinates, node.inputs["UV"])
    if "Interpolation" in node.inputs:
        # Bicubic is a B-spline there, which blurs even what stands still.
        node.inputs["Interpolation"].default_value = "Bilinear"
        node.inputs["Extension X"].default_value = node.inputs["Extension Y"].default_value = "Extend"
    return node.outputs["Image"]


def _mix(tree, operation, first, second, place):
    """first * second or first + second, unclamped; the output socket."""
    if hasattr(bpy.types, "CompositorNodeMixRGB"):
        node = tree.nodes.new("CompositorNodeMixRGB")
        a, b, out = node.inputs[1], node.inputs[2], node.outputs[0]
        node.inputs[0].default_value = 1
    else:
        node = tree.nodes.new("ShaderNodeMix")
        node.data_type, node.clamp_result = "RGBA", False
        # One node for all kinds of data: its sockets share their names, and only the identifiers tell them apart.
        known = {socket.identifier: socket for socket in [*node.inputs, *node.outputs]}
        a, b, out = known["A_Color"], known["B_Color"], known["Result_Color"]
        known["Factor_Float"].default_value = 1
    node.blend_type, node.location = operation, place
    tree.links.new(first, a)
    tree.links.new(second, b)
    return out


def compositor_tree(scene):
    """The scene's compositor node tree, made where there is none."""
    if hasattr(scene, "compositing_node_group"):
        if scene.compositing_node_group is None:
            scene.compositing_node_group = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")
        return scene.compositing_node_group
    scene.use_nodes = True
    return scene.node_tree


def add_image(tree, path, first=0, frames=0, data=True):
    """An Image node of a still, or of a cyclic sequence of `frames` files numbered from `first`."""
    node = tree.nodes.new("CompositorNodeImage")
    node.image = bpy.data.images.load(path)
    if data:
        # 5.0 and later know it from the file; 4.2 has to be told.
        node.image.colorspace_settings.name = "Non-Color"
    if frames:
        node.image.source = "SEQUENCE"
        node.frame_duration, node.frame_offset, node.frame_start = frames, first - 1, 1
        node.use_cyclic = node.use_auto_refresh = True
    return node


def add_loop(tree, still, maps, first, frames):
    """Image nodes and the group in `tree`; the socket that carries the loop."""
    if os.path.exists(f"{maps}_stmap_1.{first:04d}.exr"):
        return _add_layers(tree, still, maps, first, frames)
    group = tree.nodes.new("CompositorNodeGroup")
    group.node_tree = build_group()
    group.location = (300, 0)
    files = {"Still": still, **{k: f"{maps}_{v}.{first:04d}.exr" for k, v in
             (("Past", "stmap_past"), ("Future", "stmap_future"), ("Weights", "weight"))}}  # fmt: skip
    for row, (label, path) in enumerate(files.items()):
        node = add_image(tree, path, first, frames if label != "Still" else 0, data=label != "Still")
        node.location = (-100, 450 - 300 * row)
        tree.links.new(node.outputs[0], group.inputs[label])
    return group.outputs["Image"]


def _add_layers(tree, still, maps, first, frames):
    """Image nodes and the group of layers in `tree`; the socket that carries the loop."""
    files = {"Still": still}
    while os.path.exists(path := f"{maps}_stmap_{len(files)}.{first:04d}.exr"):
        files[f"Layer {len(files)}"] = path
    count, shift = len(files) - 1, f"{maps}_shift.{first:04d}.exr"
    if os.path.exists(shift):
        files["Shift"] = shift
    group = tree.nodes.new("CompositorNodeGroup")
    group.node_tree, group.location = build_layers(count, "Shift" in files), (300, 0)
    for row, (label, path) in enumerate(files.items()):
        node = add_image(tree, path, first, frames if label != "Still" else 0, data=label != "Still")
        node.location = (-100, 450 - 300 * row)
        tree.links.new(node.outputs["Image"], group.inputs[label])
        if label != "Still":
            alpha = "White" if label == "Shift" else label.replace("Layer", "Weight")
            tree.links.new(node.outputs["Alpha"], group.inputs[alpha])
    return group.outputs["Image"]


def show(tree, socket):
    """Make a socket the compositor's result."""
    if hasattr(bpy.types, "CompositorNodeComposite"):
        target = tree.nodes.new("CompositorNodeComposite")
    else:
        if not any(item.in_out == "OUTPUT" for item in tree.interface.items_tree):
            tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        target = tree.nodes.new("NodeGroupOutput")
    target.location = (600, 0)
    tree.links.new(socket, target.inputs[0])


def main():
    if "--" not in sys.argv:
        build_group()
        return
    still, maps, first, frames = sys.argv[sys.argv.index("--") + 1 :]
    # The .blend will be opened from elsewhere.
    still, maps = os.path.abspath(still), os.path.abspath(maps)
    scene = bpy.context.scene
    tree = compositor_tree(scene)
    tree.nodes.clear()
    show(tree, add_loop(tree, still, maps, int(first), int(frames)))
    width, height = next(n for n in tree.nodes if n.type == "IMAGE").image.size
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    scene.frame_start, scene.frame_end = 1, int(frames)
    bpy.ops.wm.save_as_mainfile(filepath=f"{maps}_loop.blend")


if __name__ == "__main__":
    main()
