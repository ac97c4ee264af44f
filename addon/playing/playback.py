# SPDX-License-Identifier: GPL-3.0-or-later
"""The speed and offset of a loop: properties of a data-block, its player, that drive the frames of image textures.

Convention:
    At frame f the file number is first + floor((f - start) * speed + offset) mod frames, where start is the frame of
    the first file.
"""

from __future__ import annotations

import bpy

from ..errors import PlaneError
from ..plane.copies import image_nodes, is_shared, own_material, playing_nodes
from ..plane.image import STILL, find_plane_image
from ..plane.uses import EVERYWHERE, nodes_of, playing_on, shown_images, unique
from ..texts import rpt_
from . import viewport

# Properties on the object, or its material: see `player_of`. Custom ones, so that drivers work without the add-on.
SPEED, OFFSET = "loopcore_playback_speed", "loopcore_playback_offset"
# Property on an image texture that plays: its previous frame settings, and the number of the first file.
BEFORE = "loopcore_before"


def player_of(obj: bpy.types.Object) -> bpy.types.ID:
    """Return the data-block with the playback speed and offset of the loop on `obj`.

    It is the object that the loop was baked on; without one, `own_player_of`.
    """
    for node in playing_on(obj):
        for driver in drivers_of(node):
            for variable in driver.variables:
                if variable.targets[0].id is not None:
                    return variable.targets[0].id
    return own_player_of(obj)


def own_player_of(obj: bpy.types.Object) -> bpy.types.ID:
    """Return the data-block for the speed and offset of a loop baked on `obj`.

    It is the object; for a library override, which loses its custom properties on reload, the material that plays.
    """
    return player_for(obj, next(iter(playing_materials(obj)), None))


def player_for(obj: bpy.types.Object, material: bpy.types.Material | None) -> bpy.types.ID:
    """Return the data-block for the speed and offset of a loop on `obj` in `material`."""
    return material if obj.override_library and material is not None else obj


def playback(obj: bpy.types.Object) -> tuple[float, float]:
    """Return the playback speed and offset of `obj`, also of one that does not play yet."""
    player = player_of(obj)
    return player.get(SPEED, 1.0), player.get(OFFSET, 0.0)


def plays_everywhere(obj: bpy.types.Object) -> bool:
    """Return whether a loop on the object was baked for all users of its picture."""
    return any(EVERYWHERE in node.image for node in playing_on(obj))


def plays_own(obj: bpy.types.Object) -> bool:
    """Return whether a loop on the object uses its own speed and offset, and not those of another one."""
    own = own_player_of(obj)
    return any(driven_by(own, node) for node in playing_on(obj))


def set_playback(obj: bpy.types.Object, *, speed: float = 1.0, offset: float = 0.0) -> bool:
    """Set the playback speed and offset of the loop on `obj`, without affecting other objects that play it.

    Returns whether `obj` got its own material and loop for that.

    Raises:
        PlaneError: the object plays no loop.
    """
    if obj.type == "CAMERA" and is_wired(obj):
        return _drive_camera(obj, speed, offset)
    material = next(iter(playing_materials(obj)), None)
    if material is None:
        raise PlaneError(rpt_('"{name}" does not play a loop: bake one').format(name=obj.name))
    own, others = player_for(obj, material), (other for other in bpy.data.objects if other != obj)
    shared = is_shared(obj, material) or any(driven_by(own, node) for other in others for node in playing_on(other))
    if shared or any(not driven_by(own, node) for node in playing_nodes(material.node_tree)):
        _make_single_user(obj, speed, offset)
        return True
    set_properties(own, speed, offset)
    return False


def _make_single_user(obj, speed, offset):
    """Give an object its own material, loop image and drivers."""
    plane = own_material(find_plane_image(obj))
    shown = () if viewport.has_preview(obj) else viewport.images_of(obj)
    proxies = [proxy.copy() for proxy in shown if proxy[STILL] == plane.image]
    viewport.remove(obj)
    leave_others(obj, shown_images(plane) - {plane.image})
    # EEVEE cannot show two frames of the same image at once.
    shared = any(plays(other, {plane.playing}) for other in bpy.data.objects if other != obj)
    loop = plane.playing.copy() if shared else plane.playing
    player = player_for(obj, plane.material)
    set_properties(player, speed, offset)
    for node in list(image_nodes(plane.material.node_tree, {plane.playing})):
        node.image = loop
        drive(node, player, first=node[BEFORE]["first"])
    for image in (loop, *proxies):
        image.pop(EVERYWHERE, None)
    for proxy in proxies:
        viewport.add([obj], plane.material, proxy)


def _drive_camera(obj, speed, offset):
    """Give the background images of a camera the camera's own speed and offset."""
    leave_others(obj, shown_images(find_plane_image(obj)))
    set_properties(obj, speed, offset)
    for node in playing_on(obj):
        drive(node, obj, first=node[BEFORE]["first"])
    return False


def leave_others(obj: bpy.types.Object, loops: set) -> None:
    """Let other objects that play `loops` keep their speed and offset, which are `obj`'s, as the first one's own."""
    others = [other for other in bpy.data.objects if other != obj and not other.library and plays(other, loops)]
    proxies = {image for other in others for image in viewport.images_of(other)}
    copies = [m for m in bpy.data.materials if any(image_nodes(m.node_tree, proxies))]
    shown = [*(node for other in others for node in playing_on(other)), *nodes_of(copies, proxies)]
    theirs = [node for node in unique(shown) if node.image in loops | proxies and driven_by(obj, node)]
    if theirs:
        player = own_player_of(others[0])
        set_properties(player, *playback(obj))
        for node in theirs:
            drive(node, player, first=node[BEFORE]["first"])


def plays(obj: bpy.types.Object, loops: set) -> bool:
    """Return whether one of `loops` plays on the object."""
    return any(node.image in loops for node in playing_on(obj))


def is_wired(obj: bpy.types.Object) -> bool:
    """Return whether a loop plays on the object."""
    return any(playing_on(obj))


def length_of(obj: bpy.types.Object) -> int | None:
    """Return the number of frames of the loop that plays on the object; None if none does."""
    return next((node.image_user.frame_duration for node in playing_on(obj)), None)


def materials_of(obj: bpy.types.Object) -> list[bpy.types.Material]:
    """Return the object's materials."""
    return [slot.material for slot in obj.material_slots if slot.material]


def playing_materials(obj: bpy.types.Object) -> list[bpy.types.Material]:
    """Return the object's materials in which a loop plays."""
    return [material for material in materials_of(obj) if any(playing_nodes(material.node_tree))]


def drive(node: bpy.types.Node, player: bpy.types.ID, first: int) -> None:
    """Drive the frame offset so that it and the frame's position in the loop sum to the wanted file's number - 1."""
    user = node.image_user
    user.driver_remove("frame_offset")
    driver = user.driver_add("frame_offset").driver
    driver.type = "SCRIPTED"
    for name, path in (("speed", SPEED), ("offset", OFFSET)):
        variable = driver.variables.new()
        variable.name, variable.type = name, "SINGLE_PROP"
        target = variable.targets[0]
        target.id_type = player.id_type
        target.id, target.data_path = player, f'["{path}"]'
    # Blender evaluates only simple expressions if Auto Run Python Scripts is off.
    # .001 against rounding: 0.7 * 10 has to give 7.
    start, frames = user.frame_start, user.frame_duration
    wanted = f"floor((frame-{start})*speed+offset+.001)"
    own = f"floor(frame-{start})"
    driver.expression = (
        f"{first - 1}+{wanted}-{frames}*floor({wanted}/{frames})-{own}+{frames}*floor({own}/{frames})"
    ).replace("--", "+")


def driven_by(player: bpy.types.ID, node: bpy.types.Node) -> bool:
    """Return whether the player has the node's speed and offset."""
    drivers = drivers_of(node)
    return bool(drivers) and all(v.targets[0].id == player for d in drivers for v in d.variables)


def drivers_of(node: bpy.types.Node) -> list[bpy.types.Driver]:
    """Return the drivers of a node's frame offset."""
    data = node.id_data.animation_data
    path = f"{node.path_from_id()}.image_user.frame_offset"
    return [c.driver for c in data.drivers if c.data_path == path] if data else []


def set_properties(player: bpy.types.ID, speed: float, offset: float) -> None:
    """Set the speed and offset on their data-block."""
    for name, value, help in ((SPEED, speed, "Playback speed of the loop. Negative values play it backward"),
                              (OFFSET, offset, "Number of frames added to the position in the loop")):  # fmt: skip
        player[name] = float(value)
        player.id_properties_ui(name).update(description=help)
    # Drivers read the evaluated copy, which gets new custom properties only when it is updated.
    player.update_tag()
