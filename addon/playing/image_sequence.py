# SPDX-License-Identifier: GPL-3.0-or-later
"""Play the files of a loop in a plane's image texture, with a playback speed and offset, and restore the still.

Only the image texture changes: its image, its frame settings, and a driver on its frame offset. The previous settings
are stored on the node, the still on the loop's image, so they are saved in the .blend and survive undo, copying and
renaming. Playing and rendering do not need the add-on.

Convention:
    The first file shows at `start`, by default the scene's first frame when wired, and again every `frames` frames
    before and after. At frame f the file number is first + floor((f - start) * speed + offset) mod frames.
"""

from __future__ import annotations

import re
from pathlib import Path

import bpy

from ..errors import PlaneError
from ..plane.copies import (
    image_nodes,
    is_shared,
    own_material,
    playing_nodes,
    remove_unused,
    restore_shared_groups,
    restore_shared_material,
    users_of,
)
from ..plane.image import PREVIEW, STILL, PlaneImage, find_plane_image, refuse_linked
from ..plane.still import working_space
from . import live, viewport

# Properties on the object, or its material: see `player_of`. Custom ones, so that drivers work without the add-on.
SPEED, OFFSET = "loopcore_playback_speed", "loopcore_playback_offset"
# Property on an image texture that plays: its previous frame settings, as a group of numbers.
BEFORE = "loopcore_before"
_FIELDS = ("frame_duration", "frame_offset", "frame_start", "use_cyclic", "use_auto_refresh")
# Names in OCIO configurations; the first available one is used.
_LINEAR = ("Linear Rec.709", "Linear Rec.709 (sRGB)", "lin_rec709_scene", "Linear", "Utility - Linear - sRGB")
_DISPLAY = ("sRGB", "sRGB Encoded Rec.709 (sRGB)", "sRGB - Texture", "srgb_rec709_scene", "Utility - sRGB - Texture")


def wire_sequence(
    plane: PlaneImage, folder: str | Path, pattern: str, first: int, frames: int, *,
    proxy_pattern: str | None = None, speed: float = 1.0, offset: float = 0.0, start: int | None = None,
) -> bpy.types.Image:  # fmt: skip
    """Play `frames` files numbered from `first` on the plane; returns the loop's image.

    Args:
        plane: the plane.
        folder: the folder of the files.
        pattern: a file name with #### or %04d as the number.
        first: the number of the first file.
        frames: the length of the loop.
        proxy_pattern: small files for the viewport, in `folder` or its subfolder proxy; renders use the others.
        speed: factor on the playback.
        offset: frames added to the position in the loop.
        start: the scene frame of the first file; None for the scene's first frame.

    Raises:
        PlaneError: none of the files exists, or the material cannot be changed.
    """
    folder = Path(folder)
    loop_file = _some_file(folder, pattern, first, frames)
    proxy_file = _some_file(folder, proxy_pattern, first, frames) if proxy_pattern else None
    obj, still = plane.object, plane.image
    live.remove_live_preview(plane)
    viewport.remove(obj)
    plane = own_material(find_plane_image(obj))
    past = plane.playing
    loop = _load(loop_file, plane)
    player = _player(obj, plane.material)
    _set_properties(player, speed, offset)
    if start is None:
        start = bpy.context.scene.frame_start
    for node in list(image_nodes(plane.material.node_tree, {still, past} - {None})):
        _play(node, loop, player, first, frames, start)
    remove_unused(past)
    if proxy_file:
        viewport.add(obj, plane.slot, _load(proxy_file, plane))
    return loop


def wire_preview(plane: PlaneImage, folder: str | Path, pattern: str, first: int, frames: int) -> bpy.types.Image:
    """Play files in the viewport only; returns their image. Renders show what the material has, a still or a loop.

    Args:
        plane: the plane.
        folder: the folder of the files.
        pattern: a file name with #### or %04d as the number.
        first: the number of the first file.
        frames: the length of the loop.

    Raises:
        PlaneError: none of the files exists, or the object is linked from another file.
    """
    files = _some_file(Path(folder), pattern, first, frames)
    refuse_linked(plane.object)
    obj = plane.object
    live.remove_live_preview(plane)
    viewport.remove(obj)
    plane = find_plane_image(obj)
    image = _load(files, plane)
    image[PREVIEW] = True
    shown = {plane.image, plane.playing} - {None}
    speed, offset = playback(obj)
    copy = viewport.copied(plane.material, shown)
    player = _player(obj, copy)
    _set_properties(player, speed, offset)
    for node in list(image_nodes(copy.node_tree, shown)):
        _play(node, image, player, first, frames, bpy.context.scene.frame_start)
    viewport.show(obj, plane.material, copy)[PREVIEW] = True
    return image


def player_of(obj: bpy.types.Object) -> bpy.types.ID:
    """Return the data-block with the playback speed and offset of `obj`.

    It is the object; for a library override, which loses its custom properties on reload, the material that plays.
    """
    playing = (material for material in _materials(obj) if any(playing_nodes(material.node_tree)))
    return _player(obj, next(playing, None))


def _player(obj, material):
    return material if obj.override_library and material is not None else obj


def playback(obj: bpy.types.Object) -> tuple[float, float]:
    """Return the playback speed and offset of `obj`, also of one that does not play yet."""
    player = player_of(obj)
    return player.get(SPEED, 1.0), player.get(OFFSET, 0.0)


def set_playback(obj: bpy.types.Object, *, speed: float = 1.0, offset: float = 0.0) -> None:
    """Set the playback speed and offset of the loop on `obj`, without affecting other planes that play it.

    Raises:
        PlaneError: the plane plays no loop.
    """
    if not is_wired(obj):
        raise PlaneError(f'"{obj.name}" does not play a loop: bake one')
    material = next(m for m in _materials(obj) if any(playing_nodes(m.node_tree)))
    player = _player(obj, material)
    if is_shared(obj, material) or any(not _driven_by(player, node) for node in playing_nodes(material.node_tree)):
        _make_single_user(obj, speed, offset)
    else:
        _set_properties(player, speed, offset)


def _make_single_user(obj, speed, offset):
    """Give a copied plane its own material, loop image and drivers."""
    proxy = None if viewport.has_preview(obj) else viewport.image_of(obj)
    plane = own_material(find_plane_image(obj))
    proxy = proxy and proxy.copy()
    viewport.remove(obj)
    # EEVEE cannot show two frames of the same image at once.
    loop = plane.playing.copy() if len(users_of(plane.playing)) > 1 else plane.playing
    player = _player(obj, plane.material)
    _set_properties(player, speed, offset)
    for node in list(image_nodes(plane.material.node_tree, {plane.playing})):
        node.image = loop
        _drive(node, player, first=node[BEFORE]["first"])
    if proxy:
        viewport.add(obj, plane.slot, proxy)


def restore_still(obj: bpy.types.Object) -> bool:
    """Restore the still, and every node to its state before the first loop; returns False if no loop plays.

    Frames on disk are kept. A copied material is replaced by the shared original.
    """
    restored = viewport.has_preview(obj)
    viewport.remove(obj)
    for index, slot in enumerate(obj.material_slots):
        if slot.material is None or not any(playing_nodes(slot.material.node_tree)):
            continue
        restored = True
        if restore_shared_material(obj, index):
            continue
        if is_shared(obj, slot.material):
            slot.material = slot.material.copy()
        for node in list(playing_nodes(slot.material.node_tree)):
            _stop(node)
        restore_shared_groups(slot.material.node_tree)
    for name in (SPEED, OFFSET):
        for block in (obj, *(m for m in _materials(obj) if not m.library)):
            if restored and name in block:
                del block[name]
    return restored


def is_wired(obj: bpy.types.Object) -> bool:
    """Return whether a loop plays on the object."""
    return any(any(playing_nodes(material.node_tree)) for material in _materials(obj))


def length_of(obj: bpy.types.Object) -> int | None:
    """Return the number of frames of the loop that plays on the object; None if none does."""
    nodes = (node for material in _materials(obj) for node in playing_nodes(material.node_tree))
    return next((node.image_user.frame_duration for node in nodes), None)


def _materials(obj):
    return [slot.material for slot in obj.material_slots if slot.material]


# Nodes


def _play(node, loop, player, first, frames, start):
    user = node.image_user
    if BEFORE not in node:
        node[BEFORE] = {name: int(getattr(user, name)) for name in _FIELDS}
    node[BEFORE]["first"] = first
    node.image = loop
    user.frame_duration, user.frame_start, user.frame_offset = frames, start, first - 1
    user.use_cyclic = user.use_auto_refresh = True
    _drive(node, player, first)


def _drive(node, player, first):
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


def _driven_by(player, node):
    data = node.id_data.animation_data
    path = f"{node.path_from_id()}.image_user.frame_offset"
    drivers = [c.driver for c in data.drivers if c.data_path == path] if data else []
    return bool(drivers) and all(v.targets[0].id == player for d in drivers for v in d.variables)


def _stop(node):
    """Restore the still and the previous frame settings."""
    loop, user, before = node.image, node.image_user, node.get(BEFORE)
    user.driver_remove("frame_offset")
    node.image = loop[STILL]
    if before is not None:
        for name in _FIELDS:
            value = before[name]
            setattr(user, name, bool(value) if name.startswith("use_") else value)
        del node[BEFORE]
    remove_unused(loop)


def _set_properties(player, speed, offset):
    for name, value, help in ((SPEED, speed, "Playback speed of the loop. Negative values play it backward"),
                              (OFFSET, offset, "Number of frames added to the position in the loop")):  # fmt: skip
        player[name] = float(value)
        player.id_properties_ui(name).update(description=help)
    # Drivers read the evaluated copy, which gets new custom properties only when it is updated.
    player.update_tag()


# Files


def _some_file(folder, pattern, first, frames):
    """Return the first existing file of a sequence, and the path of its first file, which names the sequence."""
    for place in (folder, folder / "proxy"):
        for number in range(first, first + frames):
            path = place / file_name(pattern, number)
            if path.is_file():
                return path, place / file_name(pattern, first)
    raise PlaneError(f"None of the {frames} frames {pattern} from {first} is in {folder}: bake the loop")


def file_name(pattern: str, number: int) -> str:
    """Return the name of one file of a sequence; #### or %04d is replaced by the number."""
    if "#" in pattern:
        return re.sub("#+", lambda found: f"{number:0{len(found.group())}d}", pattern, count=1)
    if re.search(r"%0?\d*d", pattern):
        return re.sub(r"%0?(\d*)d", lambda found: f"{number:0{found.group(1) or 1}d}", pattern, count=1)
    raise PlaneError(f'"{pattern}" is not the name of a sequence: it needs #### or %04d as the number')


def _load(files, plane):
    """Load the sequence as an image with the color space and alpha mode that match the still."""
    existing, named = files
    still = plane.image
    image = bpy.data.images.load(str(existing), check_existing=False)
    image.name = re.sub(r"[._-]*\d+$", "", named.stem) or named.stem
    image.source = "SEQUENCE"
    path = str(named.resolve())
    if bpy.data.filepath and bpy.context.preferences.filepaths.use_relative_paths:
        try:
            path = bpy.path.relpath(path)
        except ValueError:  # another drive
            pass
    image.filepath = path
    # Stills in EXR keep their space, other float ones are in Blender's: see `plane.still`.
    floats, path = named.suffix.lower() == ".exr", plane.path
    if path is not None and (path.suffix.lower() == ".exr") == floats and (floats or not still.is_float):
        names = (plane.colorspace_name,)
    else:
        names = (working_space(),) if floats and still.is_float else ()
    set_colorspace(image, (*names, *(_LINEAR if floats else _DISPLAY)))
    if still.alpha_mode in ("NONE", "CHANNEL_PACKED"):
        image.alpha_mode = still.alpha_mode
    image[STILL] = still
    return image


def set_colorspace(image: bpy.types.Image, names: tuple[str, ...]) -> None:
    """Set the first of `names` that the OCIO configuration has; without one, keep Blender's choice."""
    for name in names:
        try:
            image.colorspace_settings.name = name
            return
        except TypeError:
            continue
