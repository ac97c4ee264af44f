# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of an object's loop, ``object.loopcore``, saved in the .blend.

The playback speed and offset are properties of the object itself: see `playing.image_sequence`.
"""

from dataclasses import dataclass
from fractions import Fraction

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from . import folders

METHODS = [
    ("WARP", "Warp", "Each pixel is looked up at its source position: sharp and without holes. Suits most plates"),
    ("SPLAT", "Splat", "Each pixel is moved to its target position: for motion that diverges or converges strongly"),
]
STYLES = [
    ("ARROWS", "Arrows", "Velocity at the nodes of a grid: longer and warmer where faster"),
    ("STREAKS", "Streaks", "Paths along the flow, opaque at their end"),
]
# Of every property: not animated, and editable on library overrides, whose values `plane.overridden` saves.
_KEPT = {"options": set(), "override": {"LIBRARY_OVERRIDABLE"}}
FORMATS = [
    ("EXR_HALF", "EXR, Half", "OpenEXR, 16-bit float. Sufficient for plates"),
    ("EXR_FLOAT", "EXR, Full", "OpenEXR, 32-bit float"),
    ("PNG_8", "PNG, 8 bit", "For 8-bit plates"),
    ("PNG_16", "PNG, 16 bit", "For plates without values above white"),
]


# Settings of the loop, on objects and as arguments of operators, whose defaults are the object's.
# Without `update` and `search` callbacks: Blender 4.2 crashes on exit if a property with one was unregistered.
FRAMES = IntProperty(
    name="Frames", description="Length of the loop in frames",
    default=60, min=2, max=10000, soft_max=480, **_KEPT,
)  # fmt: skip
FIRST = IntProperty(
    name="First File", description="Number of the first file", default=1001, min=0, max=999999, **_KEPT,
)  # fmt: skip
SPEED = FloatProperty(
    name="Speed", description="Factor on the motion. Negative values reverse it", default=1.0,
    soft_min=0.1, soft_max=4.0, min=-100.0, max=100.0, **_KEPT,
)  # fmt: skip
METHOD = EnumProperty(
    name="Method", description="How pixels are transported", items=METHODS, default="WARP", **_KEPT
)  # fmt: skip
CONTRAST = FloatProperty(
    name="Contrast", description="How much of the contrast lost by blending is restored", default=1.0,
    min=0.0, max=1.0, subtype="FACTOR", **_KEPT,
)  # fmt: skip
AUTO_LOOKS = BoolProperty(
    name="Automatic", default=True, **_KEPT,
    description="Choose Cycles and Steadiness for each place by how fast it moves",
)  # fmt: skip
CYCLES = IntProperty(
    name="Cycles", description="How often the image is renewed in one loop, so that motion does not pull it out of "
    "shape. The faster the motion, the more; at most half the number of frames",
    default=1, min=1, max=5000, soft_max=16, **_KEPT,
)  # fmt: skip
STEADY = FloatProperty(
    name="Steadiness", description="How much brightness and color stay in place while the texture moves through them. "
    "For water; clouds need little or none", default=0.0, min=0.0, max=1.0, subtype="FACTOR", **_KEPT,
)  # fmt: skip
RESOLUTION = IntProperty(
    name="Resolution", description="Size of the frames as percentage of the image's size", default=100, min=1, max=100,
    subtype="PERCENTAGE", **_KEPT,
)  # fmt: skip
FOLDER = StringProperty(
    name="Folder", default="//loops/{blend}/{object}", **_KEPT,
    description="Output folder. {blend} and {object} stand for their names, {version} for a version such as v001 in "
    "the .blend's name, // for the .blend's folder",
)  # fmt: skip
FORMAT = EnumProperty(
    name="Format", description="File format of the frames", items=FORMATS, default="EXR_HALF", **_KEPT
)  # fmt: skip
PROXY = BoolProperty(
    name="Viewport Proxy", default=True,
    description="Also write small 8-bit frames for the viewport. Renders use the full frames", **_KEPT,
)  # fmt: skip
PASSES = BoolProperty(
    name="All Passes", default=False,
    description="Also write EXR frames with all layers and passes of the image, such as depth and lights, moved alike, "
    "to the folder passes", **_KEPT,
)  # fmt: skip
LOOP = (
    "frames", "first", "speed", "method", "contrast", "auto_looks", "cycles", "steady", "resolution", "folder",
    "format", "proxy", "passes",
)  # fmt: skip


class LoopcoreObject(bpy.types.PropertyGroup):
    """The loop of one image plane: settings, display, and the outcome of the last task."""

    frames: FRAMES
    first: FIRST
    speed: SPEED
    method: METHOD
    contrast: CONTRAST
    auto_looks: AUTO_LOOKS
    cycles: CYCLES
    steady: STEADY
    resolution: RESOLUTION
    folder: FOLDER
    format: FORMAT
    proxy: PROXY
    passes: PASSES
    stroke_speed: FloatProperty(
        name="Default Speed", description="Speed of new strokes, in pixels of the image per frame",
        default=1.0, min=0.0, soft_max=8.0, subtype="PIXEL", **_KEPT,
    )  # fmt: skip
    mask_feather: FloatProperty(
        name="Feather", description="Width over which the mask fades inward, in pixels of the image",
        default=0.0, min=0.0, soft_max=100.0, max=100000.0, subtype="PIXEL", **_KEPT,
    )  # fmt: skip
    show_mask: BoolProperty(
        name="Show Image and Mask", default=True, **_KEPT,
        description="While the mask is painted, show the image with the mask as a tint over it",
    )  # fmt: skip
    show_motion: BoolProperty(
        name="Show Motion", description="Draw the motion on the plane in the viewport", default=False, **_KEPT,
    )  # fmt: skip
    motion_style: EnumProperty(
        name="Shown As", description="How the motion is drawn", items=STYLES, default="ARROWS", **_KEPT,
    )  # fmt: skip
    motion: StringProperty(
        name="Motion", description="File of the last solved motion field", **_KEPT,
    )  # fmt: skip
    layer: StringProperty(
        name="Layer", description="Layer of a multilayer EXR to animate. Empty: its main picture", **_KEPT,
    )  # fmt: skip
    leftovers: IntProperty(
        name="Left-Over Files", description="Number of files that an earlier, longer loop left in the folder",
        default=0, min=0, **_KEPT,
    )  # fmt: skip
    message: StringProperty(name="Message", description="Outcome of the last task", **_KEPT)
    failed: BoolProperty(name="Failed", description="Whether the last task failed", **_KEPT)


@dataclass(frozen=True)
class Settings:
    """The settings of one bake: an object's, with the caller's overrides.

    cycles and steady: the number or "auto".
    """

    frames: int
    first: int
    speed: float
    method: str
    contrast: float
    cycles: int | str
    steady: float | str
    resolution: int
    folder: str
    format: str
    proxy: bool
    passes: bool

    @classmethod
    def of(cls, obj, **overrides):
        """Return the settings of `obj`, with overrides, also of what `auto_looks` chooses."""
        values = {name: getattr(obj.loopcore, name) for name in LOOP} | overrides
        if values.pop("auto_looks"):
            values |= {name: "auto" for name in ("cycles", "steady") if name not in overrides}
        return cls(**values)

    def folder_of(self, obj):
        """Return the absolute output folder; None if unset, or if it needs a .blend that was never saved.

        Raises:
            Refused: as `folders.expanded`.
        """
        return folders.expanded(self.folder, obj)

    def to_params(self):
        """Return the worker's parameters."""
        kind, _, depth = self.format.partition("_")
        return {
            "frames": self.frames,
            "first": self.first,
            "speed": self.speed,
            "method": self.method.lower(),
            "contrast": self.contrast,
            "cycles": self.cycles,
            # As typed: properties have single precision, which recipes would show.
            "steady": self.steady if self.steady == "auto" else round(self.steady, 6),
            "resolution": self.resolution,
            "format": kind.lower(),
            "depth": depth.lower(),
        }


def file_name(obj):
    """Return the object's name as a valid file name."""
    return bpy.path.clean_name(obj.name) or "plate"


def frame_rate(scene):
    """Return the frame rate as a fraction, e.g. 24000/1001."""
    base = Fraction(scene.render.fps_base).limit_denominator(10000)
    rate = Fraction(scene.render.fps) / base
    return f"{rate.numerator}/{rate.denominator}"


def register():
    bpy.utils.register_class(LoopcoreObject)
    bpy.types.Object.loopcore = PointerProperty(type=LoopcoreObject)


def unregister():
    del bpy.types.Object.loopcore
    bpy.utils.unregister_class(LoopcoreObject)
