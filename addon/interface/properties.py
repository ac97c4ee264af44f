# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of an object's loop, ``object.loopcore``: RNA that is saved in the .blend.

The playback speed and offset are properties of the object itself: see `playing.image_sequence`.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

METHODS = [
    ("WARP", "Warp", "Every pixel fetches what flows to it: sharp and without holes. Right for nearly everything"),
    ("SPLAT", "Splat", "Every pixel is carried to where it flows: for motion that tears or piles up"),
]
STYLES = [
    ("ARROWS", "Arrows", "Where things go, at the nodes of a grid: longer and warmer where it is faster"),
    ("STREAKS", "Streaks", "Paths along the flow, brightest where they lead to"),
]
FORMATS = [
    ("EXR_HALF", "EXR, Half", "OpenEXR, 16-bit float: what a plate needs"),
    ("EXR_FLOAT", "EXR, Full", "OpenEXR, 32-bit float"),
    ("PNG_8", "PNG, 8 bit", "For plates that were 8 bit themselves"),
    ("PNG_16", "PNG, 16 bit", "For plates without values above white"),
]


# No `update` callbacks anywhere: Blender 4.2 crashes at its end where such a property was unregistered before.
# Settings of the loop. Operators take the same as arguments; the object has the defaults.
FRAMES = IntProperty(
    name="Frames", description="Length of the loop; after as many frames it begins anew without a jump",
    default=60, min=2, max=10000, soft_max=480, options=set(),
)  # fmt: skip
FIRST = IntProperty(
    name="First File", description="Number of the first file", default=1001, min=0, max=999999, options=set(),
)  # fmt: skip
SPEED = FloatProperty(
    name="Speed", description="Factor on the motion. Negative: the other way", default=1.0,
    soft_min=0.1, soft_max=4.0, min=-100.0, max=100.0, options=set(),
)  # fmt: skip
METHOD = EnumProperty(
    name="Method", description="How pixels are carried", items=METHODS, default="WARP", options=set()
)  # fmt: skip
CONTRAST = FloatProperty(
    name="Contrast", description="How much of the detail that blending loses is restored", default=1.0,
    min=0.0, max=1.0, subtype="FACTOR", options=set(),
)  # fmt: skip
RESOLUTION = IntProperty(
    name="Resolution", description="Size of the loop's frames, of the plate's", default=100, min=1, max=100,
    subtype="PERCENTAGE", options=set(),
)  # fmt: skip
FOLDER = StringProperty(
    name="Folder", description="Where frames and motion go. {object} stands for the object's name, // for "
    "the folder of the .blend", default="//loops/{object}", options=set(),
)  # fmt: skip
FORMAT = EnumProperty(
    name="Format", description="Kind of file", items=FORMATS, default="EXR_HALF", options=set()
)  # fmt: skip
PROXY = BoolProperty(
    name="Light Proxy", default=True,
    description="Also write small 8-bit frames, which the viewport plays; renders use the full ones", options=set(),
)  # fmt: skip
LOOP = ("frames", "first", "speed", "method", "contrast", "resolution", "folder", "format", "proxy")


class LoopcoreObject(bpy.types.PropertyGroup):
    """The loop of one image plane: settings, display, and the outcome of the last job."""

    frames: FRAMES
    first: FIRST
    speed: SPEED
    method: METHOD
    contrast: CONTRAST
    resolution: RESOLUTION
    folder: FOLDER
    format: FORMAT
    proxy: PROXY
    stroke_speed: FloatProperty(
        name="Stroke Speed", description="Speed of strokes still to be drawn, in pixels of the plate a frame",
        default=1.0, min=0.0, soft_max=8.0, subtype="PIXEL", options=set(),
    )  # fmt: skip
    show_motion: BoolProperty(
        name="Show Motion", description="Draw the motion on the plane, in the viewport", default=False, options=set(),
    )  # fmt: skip
    motion_style: EnumProperty(
        name="Shown As", description="How the motion is drawn", items=STYLES, default="ARROWS", options=set(),
    )  # fmt: skip
    motion: StringProperty(
        name="Motion", description="The motion field solved last", subtype="FILE_PATH", options=set()
    )
    message: StringProperty(name="Message", description="What came of the last job", options=set())
    failed: BoolProperty(name="Failed", description="The last job did not do what it was to", options=set())


@dataclass(frozen=True)
class Settings:
    """The settings of one bake: an object's, with the caller's overrides."""

    frames: int
    first: int
    speed: float
    method: str
    contrast: float
    resolution: int
    folder: str
    format: str
    proxy: bool

    @classmethod
    def of(cls, obj, **overrides):
        """Return the settings of `obj`, with overrides."""
        return cls(**{name: getattr(obj.loopcore, name) for name in LOOP} | overrides)

    def folder_of(self, obj):
        """Return the absolute output folder; None if unset, or relative to a .blend that was never saved."""
        named = self.folder.replace("{object}", file_name(obj))
        if named.startswith("//") and not bpy.data.filepath:
            return None
        return Path(bpy.path.abspath(named)).absolute() if named else None

    def to_params(self):
        """Return the worker's parameters."""
        kind, _, depth = self.format.partition("_")
        return {
            "frames": self.frames,
            "first": self.first,
            "speed": self.speed,
            "method": self.method.lower(),
            "contrast": self.contrast,
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
