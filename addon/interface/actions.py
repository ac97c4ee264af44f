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
from ..plane import still, uses
from ..plane.image import find_plane_image
from ..playing import image_sequence, live, playback
from ..texts import rpt_, sentences
from . import folders, motion_path
from .messages import for_artists, guessed, predicted
from .properties import Settings, file_name, frame_rate

# Subfolder of the output folder: the still if it exists in the .blend only, the hints, the motion and its arrows.
SETUP = "setup"
PREVIEW = "preview"
PASSES = "passes"  # frames with all layers of the image
PREVIEW_WIDTH = 480
DRAFT_SIDE = 384  # pixels of the longer side of a motion that is solved while strokes are drawn
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
    return sentences(
        rpt_("{written} frames written, {skipped} were up to date: {folder}").format(
            written=made["written"], skipped=made["skipped"], folder=folders.shown(folder)
        ),
        rpt_("{count} files of a longer loop are left there").format(count=len(left)) if left else "",
        passes if settings.passes else "",
        guessed(found),
    )


def _passes(target: Target, settings: Settings, params: dict) -> Work:
    """Bake frames with all layers of the image; returns a sentence."""
    if not find_plane_image(target.find()).layers:
        return rpt_("Passes are written of EXR images only")
    if settings.resolution != 100:
        return rpt_("Passes are written at a resolution of 100 % only")
    folder = Path(params["folder"]) / PASSES
    made = yield Step("Baking passes", "animate", {
        **params, "folder": str(folder), "layers": ["all"], "format": "exr", "depth": None, "proxy": False,
    })  # fmt: skip
    return rpt_("{count} frames with all passes: {folder}").format(count=made["written"], folder=folders.shown(folder))


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
    lost = not settings.folder_of(target.find())
    return sentences(
        rpt_("Preview of {frames} frames, {width} x {height}, in the viewport only").format(
            frames=made["frames"], width=made["width"], height=made["height"]
        ),
        rpt_("It is lost when Blender quits: the .blend is unsaved") if lost else "",
        guessed(found),
    )


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
    text = rpt_("1 flow map written: {folder}") if count == 1 else rpt_("{count} flow maps written: {folder}")
    return text.format(count=count, folder=folders.shown(place))


@on_target
def draft(target: Target, settings: Settings) -> Work:
    """Solve the motion at a small size, while strokes are drawn; shows it, and updates a live preview."""
    folder = _folder(target.find(), settings)
    _plate, motion, found = yield from _motion(target, folder, DRAFT_SIDE)
    if live.is_live(target.find()):
        yield from _live(target, folder, settings, motion)
    return sentences(rpt_("Motion solved"), guessed(found))


@on_target
def live_preview(target: Target, settings: Settings) -> Work:
    """Animate the plane by shader nodes, without a bake."""
    folder = _folder(target.find(), settings)
    _plate, motion, found = yield from _motion(target, folder)
    cycles = yield from _live(target, folder, settings, motion)
    text = rpt_("Live preview of 1 cycle added: play the animation in Material Preview or Rendered shading")
    if cycles > 1:
        text = rpt_("Live preview of {cycles} cycles added: play the animation in Material Preview or Rendered shading")
    return sentences(text.format(cycles=cycles), guessed(found))


def _live(target: Target, folder: Path, settings: Settings, motion: str) -> Work:
    """Add the shader nodes; returns their cycles."""
    if settings.speed != 1.0:
        made = yield Step("Scaling the motion", "flow", {
            "motion": motion, "folder": str(folder / SETUP), "convention": "motion", "name": "live",
            "speed": settings.speed,
        })  # fmt: skip
        motion = made["files"][0]
    return live.add_live_preview(find_plane_image(target.find()), Path(motion), settings.frames, settings.cycles)


def restore(obj) -> list:
    """Restore the still, and all nodes to their state before bakes and previews; returns the objects that had changed.

    A loop that plays on all users of its picture is removed from all.
    """
    was_live = live.remove_live_preview(find_plane_image(obj)) if live.is_live(obj) else []
    return uses.unique([*was_live, *image_sequence.restore_still(obj)])


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
            raise Refused(
                rpt_("Cannot delete '{file}': {reason}").format(file=file, reason=error.strerror or error)
            ) from None
    obj.loopcore.leftovers = 0
    return (
        rpt_("{count} files deleted").format(count=len(files)) if files else rpt_("No frames of a longer loop are left")
    )


def _motion(target: Target, folder: Path, side: int = 0) -> Work:
    """Solve the motion, and store its path on the objects that play the loop.

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
    for obj in uses.users_of_picture(find_plane_image(target.find())).objects:
        obj.loopcore.motion = motion_path.stored(motion)
    return plate.params, str(motion), solved


def _hints(target: Target, setup: Path) -> Work:
    """Write the hints; returns their file, or None without any, and the names of its objects."""
    drawn = hints.hints_file(find_plane_image(target.find()), setup)
    if drawn is None:
        return None, {}
    path, write, names = drawn
    yield ThreadTask("Writing the hints", write)
    write_mask = _mask_writer(target, setup)
    if write_mask is not None:
        yield ThreadTask("Writing the mask", write_mask)
    return path, names


def _mask_writer(target: Target, setup: Path) -> Callable[[], None] | None:
    masked = hints.masked_plane(find_plane_image(target.find()))
    return None if masked is None else mask.mask_writer(masked, setup)


def _wire(target: Target, made: dict, settings: Settings) -> None:
    try:
        obj = target.find()
    except Refused as error:
        raise Refused(
            sentences(
                str(error),
                rpt_("Its frames were written, but do not play: {folder}").format(
                    folder=folders.shown(Path(made["folder"]))
                ),
            )
        ) from None
    speed, offset = playback.playback(obj)
    image_sequence.wire_sequence(
        find_plane_image(obj), Path(made["folder"]), made["pattern"], made["first"], made["frames"],
        proxy_pattern=made.get("proxy_pattern"), speed=speed, offset=offset,
    )  # fmt: skip
    for other in uses.users_of_picture(find_plane_image(obj)).objects[1:]:
        other.loopcore.message = rpt_('Plays the loop that was baked on "{name}"').format(name=obj.name)
        other.loopcore.failed = False


def _folder(obj, settings: Settings, *, kept=False) -> Path:
    """Create, claim and return the output folder; a temporary one for an unsaved .blend, unless files must be `kept`.

    Raises:
        Refused: there is none, or it belongs to another object or file.
    """
    folder = settings.folder_of(obj)
    if folder is None:
        if kept or not settings.folder:
            raise Refused(rpt_("There is no folder for the frames: save the .blend file, or choose an output folder"))
        return _created(Path(bpy.app.tempdir) / "loopcore" / folders.folder_name(obj.name))
    folders.claim(_created(folder), obj)
    return folder


def _created(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(
            rpt_("Cannot create the folder '{folder}': {reason}").format(folder=folder, reason=error.strerror or error)
        ) from None
    return folder
