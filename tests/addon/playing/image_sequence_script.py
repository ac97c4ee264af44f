# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: planes play loops with several offsets, and their stills are restored."""

import sys
from pathlib import Path

import bpy
import inside
import numpy as np
import pictures
from node_state import state

from addon.errors import PlaneError
from addon.plane.image import find_plane_image
from addon.plane.map import PlaneMap
from addon.playing import image_sequence, playback, viewport

FOLDER = Path(sys.argv[1]) / 'a "shot" ümlaut'
WIDTH, HEIGHT, FRAMES, FIRST = 16, 12, 5, 1001
PATTERN, PROXY, DISPLAY = "plate_loop.####.exr", "plate_loop.####.png", "shown.%04d.png"


def frame_of_loop(t, encoded=False):
    values = np.random.default_rng(t).random((HEIGHT, WIDTH, 3)).astype(np.float32)
    return np.round(values * 255) / 255 if encoded else values * 3 - 0.5


def make_files():
    (FOLDER / "proxy").mkdir(parents=True)
    for t in range(FRAMES):
        pictures.save(FOLDER / f"plate_loop.{FIRST + t}.exr", frame_of_loop(t))
        pictures.save(FOLDER / "proxy" / f"plate_loop.{FIRST + t}.png", frame_of_loop(t, True))
        pictures.save(FOLDER / f"shown.{FIRST + t}.png", frame_of_loop(t, True))
    pictures.save(FOLDER / "still.png", frame_of_loop(99, True))
    pictures.save(FOLDER / "still.exr", frame_of_loop(99))


def decoded(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def scene(still="still.png"):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    obj = inside.image_plane(FOLDER / still, size=(1.6, 1.2))
    inside.camera_on(obj, (WIDTH, HEIGHT))
    return obj


def wire(obj, **kwargs):
    pattern = kwargs.pop("pattern", PATTERN)
    return image_sequence.wire_sequence(find_plane_image(obj), FOLDER, pattern, FIRST, FRAMES, **kwargs)


def off(frame, wanted, engine="CYCLES"):
    if engine != "CYCLES":
        wanted = np.maximum(wanted, 0)  # no negative light in EEVEE
    return float(np.abs(pictures.render(frame, engine)[..., :3] - wanted).max())


def plays():
    out = {}
    obj = scene()
    image = wire(obj)
    user = find_plane_image(obj).node.image_user
    out["settings"] = [image.source, image.colorspace_settings.name, user.frame_duration, user.frame_offset,
                       user.frame_start, user.use_cyclic, user.use_auto_refresh]  # fmt: skip
    drivers = find_plane_image(obj).tree.animation_data.drivers
    out["simple"] = [d.driver.is_simple_expression and d.driver.is_valid for d in drivers]
    out["two periods and before"] = max(off(f, frame_of_loop((f - 1) % FRAMES)) for f in range(-8, 2 * FRAMES + 1))
    out["eevee"] = off(4, frame_of_loop(3), "BLENDER_EEVEE")
    playback.set_playback(obj, speed=0.7, offset=2)
    out["slower, ahead"] = max(
        off(f, frame_of_loop(int(np.floor((f - 1) * 7 / 10 + 1e-9) + 2) % FRAMES)) for f in range(-6, 13)
    )
    playback.set_playback(obj, speed=-1)
    out["backward"] = max(off(f, frame_of_loop((1 - f) % FRAMES)) for f in (-3, 1, 2, 7))
    bpy.context.scene.frame_start = 1001
    wire(obj)
    out["from 1001"] = max(off(f, frame_of_loop((f - 1001) % FRAMES)) for f in (1001, 1003, 1008, 990))
    return out


def looks():
    """The color space of the loop for all combinations of file formats."""
    out = {}
    obj = scene()
    image = wire(obj, pattern=DISPLAY)
    out["png for png"] = [image.colorspace_settings.name, off(3, decoded(frame_of_loop(2, True)))]
    obj = scene("still.exr")
    find_plane_image(obj).image.colorspace_settings.name = "ACEScg"
    image = wire(obj)
    out["exr for exr"] = [image.colorspace_settings.name, 0.0]
    image = wire(obj, pattern=DISPLAY)
    out["png for exr"] = [image.colorspace_settings.name, off(3, decoded(frame_of_loop(2, True)))]
    obj = scene()
    find_plane_image(obj).image.alpha_mode = "CHANNEL_PACKED"
    out["alpha"] = wire(obj).alpha_mode
    return out


def restores():
    out = {}
    for name, change in {"plain": None, "grouped": grouped, "linked mesh": linked, "shared": shared}.items():
        obj = scene()
        if change:
            change(obj)
        picture = pictures.render(1)
        before = state(obj)
        wire(obj, proxy_pattern=PROXY)
        wire(obj, speed=2)
        out[name] = {
            "played": off(2, frame_of_loop(2)),
            "wired": [
                playback.is_wired(obj),
                find_plane_image(obj).image.name,
                bool(image_sequence.restore_still(obj)),
            ],
        }
        after = state(obj)
        out[name]["differs"] = {
            key: [before.get(key), after.get(key)] for key in {*before, *after} if before.get(key) != after.get(key)
        }
        out[name]["picture"] = float(np.abs(pictures.render(1) - picture).max())
        out[name]["again"] = [playback.is_wired(obj), bool(image_sequence.restore_still(obj))]
    return out


def shared(obj):
    other = bpy.data.objects.new("Other", obj.data.copy())
    other.location = (50, 0, 0)
    bpy.context.scene.collection.objects.link(other)


def linked(obj):
    other = bpy.data.objects.new("Twin", obj.data)
    other.location = (50, 0, 0)
    bpy.context.scene.collection.objects.link(other)


def grouped(obj):
    """Move the texture to a group that another material also uses."""
    tree = obj.active_material.node_tree
    texture = next(n for n in tree.nodes if n.type == "TEX_IMAGE")
    group = bpy.data.node_groups.new("Card", "ShaderNodeTree")
    group.interface.new_socket("Color", in_out="OUTPUT", socket_type="NodeSocketColor")
    inner, end = group.nodes.new("ShaderNodeTexImage"), group.nodes.new("NodeGroupOutput")
    inner.image, inner.interpolation = texture.image, "Closest"
    group.links.new(inner.outputs[0], end.inputs[0])
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = group
    tree.links.new(node.outputs[0], texture.outputs[0].links[0].to_socket)
    tree.nodes.remove(texture)
    other = bpy.data.materials.new("Other card")
    if not other.node_tree:
        other.use_nodes = True
    other.node_tree.nodes.new("ShaderNodeGroup").node_tree = group
    other.use_fake_user = True


def offsets():
    """A plane and its copy with different offsets, side by side, in both engines, also after a reload."""
    obj = scene()
    wire(obj)
    twin = obj.copy()
    bpy.context.scene.collection.objects.link(twin)
    camera = bpy.context.scene.camera.data
    camera.ortho_scale, bpy.context.scene.render.resolution_x = 3.2, 2 * WIDTH
    obj.location.x, twin.location.x = -0.8, 0.8
    playback.set_playback(twin, offset=2)

    def far(frame, engine="CYCLES"):
        seen = pictures.render(frame, engine)[..., :3]
        wanted = [frame_of_loop((frame - 1 + ahead) % FRAMES) for ahead in (0, 2)]
        wanted = np.concatenate(wanted, axis=1)
        return float(np.abs(seen - (wanted if engine == "CYCLES" else np.maximum(wanted, 0))).max())

    out = {"cycles": max(far(f) for f in (-2, 1, 4, 9)), "eevee": max(far(f, "BLENDER_EEVEE") for f in (2, 3))}
    path = str(FOLDER / "shot.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    obj, twin = (o.name for o in (obj, twin))
    bpy.ops.wm.open_mainfile(filepath=path)
    obj, twin = bpy.data.objects[obj], bpy.data.objects[twin]
    out["reloaded"] = max(far(f) for f in (-2, 1, 4, 9))
    out["still there"] = find_plane_image(obj).image.name
    image_sequence.restore_still(twin)
    seen = pictures.render(3)[..., :3]
    wanted = np.concatenate([frame_of_loop(2), decoded(frame_of_loop(99, True))], axis=1)
    out["one restored"] = float(np.abs(seen - wanted).max())
    image_sequence.restore_still(obj)
    still = decoded(frame_of_loop(99, True))
    out["both restored"] = float(np.abs(pictures.render(3)[..., :3] - np.concatenate([still, still], axis=1)).max())
    return out


def material_shared():
    """Two planes with one material: first one of them plays a loop, then both."""
    obj = scene()
    shared(obj)
    other = bpy.data.objects["Other"]
    wire(obj)
    out = {"other": [playback.is_wired(other), other.active_material != obj.active_material]}
    wire(other)
    image_sequence.restore_still(obj)
    out["first restored"] = [playback.is_wired(obj), playback.is_wired(other)]
    image_sequence.restore_still(other)
    out["both restored"] = obj.active_material == other.active_material and len(bpy.data.materials) == 1
    return out


def proxies():
    """The viewport plays the proxy files, renders the full files."""
    obj = scene()
    wire(obj, proxy_pattern=PROXY)
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    shown = evaluated.data.materials[0].original
    image = next(n.image for n in shown.node_tree.nodes if n.type == "TEX_IMAGE")
    out = {"viewport": [bpy.path.basename(image.filepath), image.colorspace_settings.name, image.size[:] == (0, 0)],
           "render": max(off(f, frame_of_loop((f - 1) % FRAMES)) for f in (1, 3, 8))}  # fmt: skip
    out["drivers"] = [d.driver.is_valid for d in shown.node_tree.animation_data.drivers]
    twin = obj.copy()
    bpy.context.scene.collection.objects.link(twin)
    playback.set_playback(twin, offset=1)
    out["copies"] = bool(viewport.images_of(twin) - viewport.images_of(obj))
    image_sequence.restore_still(twin)
    image_sequence.restore_still(obj)
    images = [i.name for i in bpy.data.images if i.type != "RENDER_RESULT"]
    materials, groups = bpy.data.materials.keys(), bpy.data.node_groups.keys()
    out["left"] = [images, materials, groups, len(obj.modifiers)]
    return out


def shown_in_viewport(obj):
    """Return the material that the viewport shows, and the file that it plays."""
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    material = evaluated.data.materials[0].original
    return material, bpy.path.basename(next(n.image.filepath for n in image_nodes(material)))


def image_nodes(material):
    return (n for n in material.node_tree.nodes if n.type == "TEX_IMAGE")


def proxies_kept():
    """The viewport's proxies after saving and opening, changing the material, another bake, and restoring."""
    obj = scene()
    viewport.register()
    before = state(obj)
    wire(obj, proxy_pattern=PROXY)
    path = str(FOLDER / "light.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    obj = bpy.data.objects["Plate"]
    out = {"opened": [shown_in_viewport(obj)[1], max(off(f, frame_of_loop((f - 1) % FRAMES)) for f in (2, 7))]}
    material, copy = obj.active_material, shown_in_viewport(obj)[0]
    strength = node_of(material, "EMISSION").inputs["Strength"]
    strength.default_value = 0.25
    viewport.follow()
    seen = node_of(shown_in_viewport(obj)[0], "EMISSION").inputs["Strength"].default_value
    out["changed"] = [shown_in_viewport(obj) == (copy, "plate_loop.1001.png"), seen, len(bpy.data.materials)]
    strength.default_value = 1.0
    viewport.follow()
    out["nodes"] = list(other_nodes(obj, material))
    drawn = find_plane_image(obj)
    out["map"] = list(PlaneMap.of(drawn).pixel_of((0, 0, 0)))
    wire(obj, proxy_pattern=PROXY)
    out["again"] = [shown_in_viewport(obj)[1], len(obj.modifiers), len(bpy.data.materials)]
    image_sequence.restore_still(obj)
    viewport.unregister()
    after = state(obj)
    out["differs"] = {key: [before.get(key), after.get(key)] for key in {*before, *after}
                      if before.get(key) != after.get(key)}  # fmt: skip
    return out


def node_of(material, kind):
    return next(n for n in material.node_tree.nodes if n.type == kind)


def other_nodes(obj, material):
    """Return what the viewport shows with a further node, after `update`, and without that node."""
    tree = material.node_tree
    for number in range(3):
        if number == 0:
            added = tree.nodes.new("ShaderNodeTexImage")
            added.name, added.image = "Added", bpy.data.images.new("Added", 8, 8)
        elif number == 1:
            viewport.update(obj)
        else:
            tree.nodes.remove(tree.nodes["Added"])
        viewport.follow()
        shown = shown_in_viewport(obj)[0]
        yield [shown == material, "Added" in shown.node_tree.nodes, viewport.is_outdated(obj)]
    bpy.data.images.remove(bpy.data.images["Added"])


def undo():
    bpy.ops.ed.undo_push(message="before")
    obj = scene()
    bpy.ops.ed.undo_push(message="plane")
    wire(obj, proxy_pattern=PROXY)
    bpy.ops.ed.undo_push(message="wired")
    bpy.ops.ed.undo()
    obj = bpy.data.objects["Plate"]
    out = [playback.is_wired(obj), off(3, decoded(frame_of_loop(99, True)))]
    bpy.ops.ed.redo()
    obj = bpy.data.objects["Plate"]
    return [*out, playback.is_wired(obj), off(3, frame_of_loop(2)), bool(image_sequence.restore_still(obj))]


def undo_while_following():
    """Undo and redo moves and changes of the material, after each of which the viewport's copy follows."""
    obj = scene()
    viewport.register()
    wire(obj, proxy_pattern=PROXY)
    bpy.ops.ed.undo_push(message="wired")
    seen = []
    for number in range(1, 9):
        obj = bpy.data.objects["Plate"]
        obj.location.x += 0.1
        if number % 2:
            node_of(obj.active_material, "EMISSION").inputs["Strength"].default_value = 1 / number
        bpy.ops.ed.undo_push(message=f"change {number}")
        bpy.context.view_layer.update()
        viewport.follow()  # by a timer, after the undo step
        for step in (bpy.ops.ed.undo, bpy.ops.ed.undo, bpy.ops.ed.redo, bpy.ops.ed.redo):
            if step.poll():
                step()
        bpy.context.view_layer.update()
        viewport.follow()
        obj = bpy.data.objects["Plate"]
        copy, file = shown_in_viewport(obj)
        strengths = [node_of(m, "EMISSION").inputs["Strength"].default_value for m in (copy, obj.active_material)]
        seen.append([file, strengths[0] == strengths[1], copy != obj.active_material])
    viewport.unregister()
    return [len(seen), *map(list, {tuple(row) for row in seen}), len(bpy.data.materials)]


def imports():
    """Planes imported by Blender with each shader: the still, the loop, the still again."""
    out = {}
    for shader in ("PRINCIPLED", "SHADELESS", "EMISSION"):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.image.import_as_mesh_planes(
            files=[{"name": "still.png"}], directory=str(FOLDER), shader=shader, relative=False, align_axis="-Y"
        )
        obj = bpy.context.object
        for node in obj.active_material.node_tree.nodes:
            if node.type == "TEX_IMAGE":
                node.interpolation = "Closest"
            if node.type == "BSDF_PRINCIPLED" and shader == "PRINCIPLED":
                # Emission, so that the render shows the image.
                source = node.inputs["Base Color"].links[0].from_socket
                node.inputs["Emission Strength"].default_value, node.inputs["Roughness"].default_value = 1, 1
                node.id_data.links.new(source, node.inputs["Emission Color"])
        obj.location = (0, 0, 0)
        camera = inside.camera_on(obj, (WIDTH, HEIGHT))
        camera.data.ortho_scale = max(obj.dimensions)
        before = state(obj)
        seen = [pictures.render(3)[..., :3]]
        wire(obj, pattern=DISPLAY)
        seen.append(pictures.render(3)[..., :3])
        image_sequence.restore_still(obj)
        seen.append(pictures.render(3)[..., :3])
        stills = [decoded(frame_of_loop(t, True)) for t in (99, 2, 99)]
        after = state(obj)
        differs = [key for key in {*before, *after} if before.get(key) != after.get(key)]
        out[shader] = [[float(np.abs(a - b).max()) for a, b in zip(seen, stills, strict=True)], differs]
    return out


def refusals():
    obj = scene()
    out = []
    for act in (lambda: wire(obj, pattern="nothing.####.exr"), lambda: wire(obj, pattern="plain.exr"),
                lambda: playback.set_playback(obj, speed=2)):  # fmt: skip
        try:
            act()
        except PlaneError as error:
            out.append(str(error))
    return [*out, playback.is_wired(obj)]


make_files()
CASES = (
    plays,
    looks,
    restores,
    offsets,
    material_shared,
    proxies,
    proxies_kept,
    undo,
    undo_while_following,
    imports,
    refusals,
)
inside.emit({case.__name__: case() for case in CASES if len(sys.argv) < 3 or case.__name__ in sys.argv[2:]})
