# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of buttons and commands: generators of steps for `engine.tasks` that return a sentence on the outcome.

Undo and the opening of a file free data-blocks, so no variable of a generator holds one across a `yield`.
"""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import bpy

from ..drawing import hints, mask, motion_lines
from ..engine.tasks import Step, Target, ThreadTask, Work
from ..errors import Refused
from ..files import write_whole
from ..plane import still
from ..plane.image import find_plane_image
from ..playing import image_sequence, live
from . import folders, motion_path
from .messages import for_artists, guessed, predicted
from .properties import Settings, file_name, frame_rate

# Subfolder of the output folder: the still if it exists in the .blend only, the hints, the motion and its arrows.
SETUP = "setup"
PREVIEW = "preview"
PASSES = "passes"  # frames with all layers of the image
PREVIEW_WIDTH = 480
DRAFT_SIDE = 512  # pixels of the longer side of a motion that is solved while strokes are drawn
ARROWS = 32  # along the image's longer side
# What flow maps use of the loop's settings.
FLOW_SETTINGS = ("frames", "first", "speed", "cycles", "steady")
CONVENTIONS = [
    ("motion", "Loopcore", "Loopcore's own format: one EXR with velocity, mask and confidence"),
    ("blender", "Blender", "A Vector pass, for the Vector Blur node of the compositor"),
    ("nuke", "Nuke", "Forward and backward layers, for VectorBlur and VectorDistort"),
    ("fusion", "Fusion", "Vector channels with Fusion's names"),
    ("rsmb", "RSMB", "Motion vectors for ReelSmart Motion Blur"),
    ("game", "Game", "A texture for flow-map shaders"),
    ("stmap", "ST Maps", "ST maps with the source position of each pixel, one file per frame"),
    ("displace", "Displace", "Displacement in pixels, one file per frame"),
    ("idistort", "IDistort", "Displacement for Nuke's IDistort, one file per frame"),
]


def on_target(work: Callable[..., Work]) -> Callable[..., Work]:
    """Call a generator function with a `Target` instead of the object."""

    @wraps(work)
    def call(obj, settings: Settings, *arguments, **options) -> Work:
        return work(Target(obj), settings, *arguments, **options)

    return call


@on_target
def predict(target: Target, settings: Settings) -> Work:
    """Solve the motion from the hints, or from the image alone."""
    folder = _folder(target.find(), settings)
    _plate, _motion_file, found = yield from _motion(target, folder)
    return predicted(found)


@on_target
def bake(target: Target, settings: Settings, *, overwrite=False, range="", wire=True) -> Work:
    """Bake the frames, and play them on the plane if `wire`."""
    folder = _folder(target.find(), settings, kept=True)
    plate, motion, found = yield from _motion(target, folder)
    params = {
        **settings.to_params(), **plate, "motion": motion, "folder": str(folder),
        "name": f"{file_name(target.find())}_loop", "fps": frame_rate(bpy.context.scene), "overwrite": overwrite,
        "proxy": settings.proxy,
    }  # fmt: skip
    if range:
        params["range"] = range
    made = yield Step("Baking", "animate", params)
    if settings.passes:
        passes = yield from _passes(target, settings, params)
    left: list[Path] = []
    yield ThreadTask("Searching frames of a longer loop", lambda: left.extend(folders.leftovers(folder)))
    if wire:
        _wire(target, made, settings)
        target.find().loopcore.leftovers = len(left)
    notes = f". {len(left)} files of a longer loop are left there" if left else ""
    notes += f". {passes}" if settings.passes else ""
    notes += guessed(found)
    return f"{made['written']} frames written, {made['skipped']} were up to date: {folders.shown(folder)}{notes}"


def _passes(target: Target, settings: Settings, params: dict) -> Work:
    """Bake frames with all layers of the image; returns a sentence."""
    if not find_plane_image(target.find()).layers:
        return "Passes are written of EXR images only"
    if settings.resolution != 100:
        return "Passes are written at a resolution of 100 % only"
    folder = Path(params["folder"]) / PASSES
    made = yield Step("Baking passes", "animate", {
        **params, "folder": str(folder), "layers": ["all"], "format": "exr", "depth": None, "proxy": False,
    })  # fmt: skip
    return f"{made['written']} frames with all passes: {folders.shown(folder)}"


@on_target
def preview(target: Target, settings: Settings) -> Work:
    """Bake a small 8-bit loop, and play it on the plane in the viewport."""
    folder = _folder(target.find(), settings)
    plate, motion, found = yield from _motion(target, folder)
    width = find_plane_image(target.find()).size[0]
    small = max(1, min(100, round(100 * PREVIEW_WIDTH / max(width, 1))))
    made = yield Step("Previewing", "animate", {
        **settings.to_params(), "format": "png", "depth": "8", "resolution": small, **plate,
        "motion": motion, "folder": str(folder / PREVIEW), "name": f"{file_name(target.find())}_preview",
        "fps": frame_rate(bpy.context.scene), "overwrite": False, "proxy": False,
    })  # fmt: skip
    image_sequence.wire_preview(
        find_plane_image(target.find()), made["folder"], made["pattern"], made["first"], made["frames"]
    )
    notes = "" if settings.folder_of(target.find()) else ". It is lost when Blender quits: the .blend is unsaved"
    notes += guessed(found)
    return f"Preview of {made['frames']} frames, {made['width']} x {made['height']}, in the viewport only{notes}"


@on_target
def export_flow(target: Target, settings: Settings, convention="motion", folder="") -> Work:
    """Write the motion in the convention of another application."""
    home = _folder(target.find(), settings, kept=not folder)
    plate, motion, _found = yield from _motion(target, home)
    place = Path(bpy.path.abspath(folder)) if folder else home / "flow"
    loop = {name: value for name, value in settings.to_params().items() if name in FLOW_SETTINGS}
    made = yield Step("Writing flow maps", "flow", {
        **loop, "motion": motion, "folder": str(place), "convention": convention,
        "name": f"{file_name(target.find())}_flow", **plate,
    })  # fmt: skip
    count = len(made["files"])
    return f"{count} flow {'map' if count == 1 else 'maps'} written: {folders.shown(place)}"


@on_target
def draft(target: Target, settings: Settings) -> Work:
    """Solve the motion at a small size, while strokes are drawn; shows it, and updates a live preview."""
    folder = _folder(target.find(), settings)
    _plate, motion, found = yield from _motion(target, folder, DRAFT_SIDE)
    if live.is_live(target.find()):
        yield from _live(target, folder, settings, motion)
    return f"Motion solved{guessed(found)}"


@on_target
def live_preview(target: Target, settings: Settings) -> Work:
    """Animate the plane by shader nodes, without a bake."""
    folder = _folder(target.find(), settings)
    _plate, motion, found = yield from _motion(target, folder)
    cycles = yield from _live(target, folder, settings, motion)
    cycles = "1 cycle" if cycles == 1 else f"{cycles} cycles"
    return f"Live preview of {cycles} added: play the animation in Material Preview or Rendered shading{guessed(found)}"


def _live(target: Target, folder: Path, settings: Settings, motion: str) -> Work:
    """Add the shader nodes; returns their cycles."""
    if settings.speed != 1.0:
        made = yield Step("Scaling the motion", "flow", {
            "motion": motion, "folder": str(folder / SETUP), "convention": "motion", "name": "live",
            "speed": settings.speed,
        })  # fmt: skip
        motion = made["files"][0]
    return live.add_live_preview(find_plane_image(target.find()), Path(motion), settings.frames, settings.cycles)


def restore(obj) -> bool:
    """Restore the still, and all nodes to their state before bakes and previews; returns False if it is shown."""
    was_live = live.is_live(obj)
    if was_live:
        live.remove_live_preview(find_plane_image(obj))
    return image_sequence.restore_still(obj) or was_live


def take_over(obj, settings: Settings) -> None:
    """Make the output folder that of `obj`, so that its frames may be replaced."""
    folder = settings.folder_of(obj)
    if folder is not None:
        folders.take_over(folder, obj)


def remove_leftovers(obj, settings: Settings) -> str:
    """Delete the files that an earlier, longer loop left in the output folder; returns a sentence.

    Raises:
        Refused: the folder belongs to another object or file, or a file cannot be deleted.
    """
    folder = settings.folder_of(obj)
    files = folders.leftovers(folder) if folder is not None else []
    if files:
        folders.claim(folder, obj)
    for file in files:
        try:
            file.unlink()
        except OSError as error:
            raise Refused(f"Cannot delete '{file}': {error.strerror or error}") from None
    obj.loopcore.leftovers = 0
    return f"{len(files)} files deleted" if files else "No frames of a longer loop are left"


def plays_own(obj) -> bool:
    """Return whether the loop uses this object's speed and offset, and not those of the object it was copied from."""
    player = image_sequence.player_of(obj)
    for slot in obj.material_slots:
        tree = slot.material.node_tree if slot.material else None
        for curve in tree.animation_data.drivers if tree and tree.animation_data else ():
            targets = [variable.targets[0] for variable in curve.driver.variables]
            if any(target.id == player and image_sequence.SPEED in target.data_path for target in targets):
                return True
    return False


def _motion(target: Target, folder: Path, side: int = 0) -> Work:
    """Solve the motion, and store its path on the object.

    Returns the still's parameters, the motion's file, and the worker's result. With `side` it is a draft of at most
    that many pixels a side.
    """
    setup = _created(folder / SETUP)
    plate = still.still_file(find_plane_image(target.find()), setup)
    if plate.write is not None:
        yield ThreadTask("Writing the image", plate.write)
    hints_path, names = yield from _hints(target, setup)
    motion = setup / ("draft.exr" if side else "motion.exr")
    params = {**plate.params, "motion_out": str(motion)}
    if hints_path is not None:
        params["hints"] = str(hints_path)
    if side:
        params["side"] = side
    try:
        solved = yield Step("Solving the motion", "predict", params)
    except Refused as error:
        raise type(error)(for_artists(str(error), names)) from None
    spacing = max(2 if side else 4, round(max(solved["width"], solved["height"]) / ARROWS))
    drawn = yield Step("Drawing the motion", "arrows", {"motion": str(motion), "spacing_px": spacing})
    arrows = motion_lines.at_size({**drawn, "spacing": spacing}, (solved["of_width"], solved["of_height"]))
    write_whole(motion_lines.arrows_of(motion), json.dumps(arrows).encode())
    target.find().loopcore.motion = motion_path.stored(motion)
    return plate.params, str(motion), solved


def _hints(target: Target, setup: Path) -> Work:
    """Write the hints; returns their file, or None without any, and the names of its objects."""
    drawn = hints.hints_file(find_plane_image(target.find()), setup)
    if drawn is None:
        return None, {}
    path, write, names = drawn
    yield ThreadTask("Writing the hints", write)
    if mask.source_of(target.find()) is not None:
        yield ThreadTask("Writing the mask", mask.mask_writer(find_plane_image(target.find()), setup))
    return path, names


def _wire(target: Target, made: dict, settings: Settings) -> None:
    try:
        obj = target.find()
    except Refused as error:
        raise Refused(
            f"{error}. Its frames were written, but do not play: {folders.shown(Path(made['folder']))}"
        ) from None
    speed, offset = image_sequence.playback(obj)
    image_sequence.wire_sequence(
        find_plane_image(obj), Path(made["folder"]), made["pattern"], made["first"], made["frames"],
        proxy_pattern=made.get("proxy_pattern"), speed=speed, offset=offset,
    )  # fmt: skip


def _folder(obj, settings: Settings, *, kept=False) -> Path:
    """Create, claim and return the output folder; a temporary one for an unsaved .blend, unless files must be `kept`.

    Raises:
        Refused: there is none, or it belongs to another object or file.
    """
    folder = settings.folder_of(obj)
    if folder is None:
        if kept or not settings.folder:
            raise Refused("There is no folder for the frames: save the .blend file, or choose an output folder")
        return _created(Path(bpy.app.tempdir) / "loopcore" / folders.folder_name(obj.name))
    folders.claim(_created(folder), obj)
    return folder


def _created(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"Cannot create the folder '{folder}': {error.strerror or error}") from None
    return folder
