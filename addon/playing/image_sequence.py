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
from dataclasses import replace
from pathlib import Path

import bpy

from ..errors import PlaneError
from ..plane.background import Background, backgrounds
from ..plane.copies import (
    is_shared,
    playing_nodes,
    remove_unused,
    restore_shared_groups,
    restore_shared_material,
)
from ..plane.image import PREVIEW, STILL, PlaneImage, find_plane_image, refuse_linked
from ..plane.still import working_space
from ..plane.uses import (
    EVERYWHERE,
    editable_users,
    nodes_of,
    playing_on,
    plays_everywhere,
    shown_images,
    textures_of,
    unique,
    users_of_picture,
)
from ..texts import rpt_
from . import live, viewport
from .playback import (
    BEFORE,
    OFFSET,
    SPEED,
    drive,
    is_wired,
    leave_others,
    materials_of,
    playback,
    player_for,
    set_properties,
)

BACKGROUND = -1  # instead of the index of a slot: the background images of a camera
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
    plane, users = _cleared(plane)
    plane, users = editable_users(plane)
    if not plays_everywhere(plane.object):
        leave_others(plane.object, shown_images(plane) - {plane.image})
    player = player_for(plane.object, plane.material)
    shown = shown_images(plane)
    nodes = textures_of(users, shown)
    proxy = _load(proxy_file, plane) if proxy_file else None
    # Renders do not show background images.
    loop = _load(loop_file, plane) if users.materials or proxy is None else proxy
    past = {node.image for node in nodes} - {plane.image}
    set_properties(player, speed, offset)
    if start is None:
        start = bpy.context.scene.frame_start
    for node in nodes:
        _play(node, proxy if proxy and isinstance(node, Background) else loop, player, first, frames, start)
    remove_unused(*past)
    if proxy:
        for material in users.materials:
            viewport.add(users.with_material(material), material, proxy)
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
    plane, users = _cleared(plane)
    image, shown = _load(files, plane), shown_images(plane)
    image[PREVIEW] = True
    speed, offset = playback(plane.object)
    copies = {material: viewport.copied(material, shown) for material in users.materials}
    player = player_for(plane.object, copies.get(plane.material))
    set_properties(player, speed, offset)
    behind = textures_of(replace(users, playing=()), shown)
    past = {node.image for node in behind} - {plane.image}
    for node in [*nodes_of(copies.values(), shown), *behind]:
        _play(node, image, player, first, frames, bpy.context.scene.frame_start)
    for material, copy in copies.items():
        viewport.show(users.with_material(material), material, copy)[PREVIEW] = True
    remove_unused(*past)
    return image


def _cleared(plane):
    """Remove previews and proxies where the loop will play; returns the plane and its users as they are then."""
    obj = plane.object
    refuse_linked(obj)
    live.remove_live_preview(plane)
    plane = find_plane_image(obj)
    users = users_of_picture(plane)
    for use in users.playing:
        live.stop(use.object, use.slot)
    plane = find_plane_image(obj)
    users = users_of_picture(plane)
    for user in users.objects:
        viewport.remove(user, users.materials)
    return plane, users


def restore_still(obj: bpy.types.Object) -> list[bpy.types.Object]:
    """Restore the still, and every node to its state before the first loop; returns the objects on which one played.

    A loop that plays on all users of its picture is removed from all. Frames on disk are kept. A copied material is
    replaced by the original.
    """
    shown = {*(node.image for node in playing_on(obj)), *viewport.images_of(obj)}
    stills = {image[STILL] for image in shown if EVERYWHERE in image}
    everywhere = {image for image in bpy.data.images if EVERYWHERE in image and image.get(STILL) in stills}
    restored = [obj] if viewport.has_preview(obj) else []
    viewport.remove(obj)
    places = [(obj, index, None) for index in (*range(len(obj.material_slots)), BACKGROUND)]
    for other in bpy.data.objects if everywhere else ():
        if other != obj and not other.library:
            restored += [other] if viewport.remove_playing(other, everywhere) else []
            places += [(other, index, everywhere) for index in range(len(other.material_slots))]
            places += [(other, BACKGROUND, everywhere)]
    places = [place for place in places if _plays_in(*place)]
    for place in places:
        _restore(*place)
    restored = unique([*(place[0] for place in places), *restored])
    for owner in restored:
        for block in (owner, *(m for m in materials_of(owner) if not m.library)):
            if not is_wired(owner):
                block.pop(SPEED, None)
                block.pop(OFFSET, None)
    return restored


def _plays_in(obj, index, loops):
    """Return whether a slot, or the background, plays one of `loops`; None: any."""
    return any(loops is None or node.image in loops for node in _playing_in(obj, index))


def _playing_in(obj, index):
    if index == BACKGROUND:
        return [found for found in backgrounds(obj) if STILL in found.image]
    material = obj.material_slots[index].material
    return list(playing_nodes(material.node_tree)) if material else []


def _restore(obj, index, loops):
    """Restore the still in a slot; of a loop of this object only not on others that share the material."""
    in_slot = index != BACKGROUND
    if not _plays_in(obj, index, loops) or (in_slot and restore_shared_material(obj, index)):
        return
    slot = obj.material_slots[index] if in_slot else None
    everywhere = all(EVERYWHERE in node.image for node in _playing_in(obj, index))
    if in_slot and not everywhere and is_shared(obj, slot.material):
        slot.material = slot.material.copy()
    for node in _playing_in(obj, index):
        if loops is None or node.image in loops:
            _stop(node)
    if in_slot:
        restore_shared_groups(slot.material.node_tree)


# Nodes


def _play(node, loop, player, first, frames, start):
    user = node.image_user
    if BEFORE not in node:
        node[BEFORE] = {name: int(getattr(user, name)) for name in _FIELDS}
    node[BEFORE]["first"] = first
    node.image = loop
    user.frame_duration, user.frame_start, user.frame_offset = frames, start, first - 1
    user.use_cyclic = user.use_auto_refresh = True
    drive(node, player, first)


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


# Files


def _some_file(folder, pattern, first, frames):
    """Return the first existing file of a sequence, and the path of its first file, which names the sequence."""
    for place in (folder, folder / "proxy"):
        for number in range(first, first + frames):
            path = place / file_name(pattern, number)
            if path.is_file():
                return path, place / file_name(pattern, first)
    text = rpt_("None of the {frames} frames {pattern} from {first} is in {folder}: bake the loop")
    raise PlaneError(text.format(frames=frames, pattern=pattern, first=first, folder=folder))


def file_name(pattern: str, number: int) -> str:
    """Return the name of one file of a sequence; #### or %04d is replaced by the number."""
    if "#" in pattern:
        return re.sub("#+", lambda found: f"{number:0{len(found.group())}d}", pattern, count=1)
    if re.search(r"%0?\d*d", pattern):
        return re.sub(r"%0?(\d*)d", lambda found: f"{number:0{found.group(1) or 1}d}", pattern, count=1)
    text = rpt_('"{pattern}" is not the name of a sequence: it needs #### or %04d as the number')
    raise PlaneError(text.format(pattern=pattern))


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
    if plays_everywhere(plane.object):
        image[EVERYWHERE] = True
    return image


def set_colorspace(image: bpy.types.Image, names: tuple[str, ...]) -> None:
    """Set the first of `names` that the OCIO configuration has; without one, keep Blender's choice."""
    for name in names:
        try:
            image.colorspace_settings.name = name
            return
        except TypeError:
            continue
