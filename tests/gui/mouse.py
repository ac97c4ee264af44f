# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: the mouse and the keys, by xdotool, on pixels of a plane's image."""

import shlex
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path

import bpy
from mathutils import Vector
from screen import area, region, until, window

_shell = subprocess.Popen(["sh"], stdin=subprocess.PIPE, text=True)
_done = Path(tempfile.mkdtemp()) / "done"


def screen_of(package, name, x, y):
    """Return the position on the screen of a pixel of the image."""
    pointing, image = (import_module(f"{package}.plane.{part}") for part in ("pointing", "image"))
    pointer = pointing.Pointer(image.find_plane_image(bpy.data.objects[name]))
    view = region("WINDOW")
    (place,) = pointer.seen(view, area().spaces.active.region_3d, [(x, y)])
    return round(view.x + place.x), window().height - round(view.y + place.y)


def mouse(*words):
    """Give xdotool's words after those given before: this Blender has to process the events meanwhile."""
    _shell.stdin.write(f"xdotool {shlex.join(map(str, words))}; sleep 0.5\n")
    _shell.stdin.flush()


def idle(seconds=2.0):
    """Wait until all that was given is done, and Blender has seen it."""
    _done.unlink(missing_ok=True)
    _shell.stdin.write(f"touch {_done}\n")
    _shell.stdin.flush()
    yield from until(_done.is_file, 120)
    yield seconds


def moved_to(place):
    """Return the words that move the mouse, so that Blender sees a movement."""
    return ["mousemove", *place, "sleep", "0.3", "mousemove_relative", "1", "0", "sleep", "0.3"]


def click_at(place, *, button=1, key=None):
    # Pauses, since a busy Blender asks for the state of the keys later.
    held = [["keydown", key, "sleep", "1.0"], ["sleep", "1.0", "keyup", key]] if key else [[], []]
    mouse(*moved_to(place), *held[0], "click", button, *held[1])


def drag(places, *, key=None, wheel=0, escape=False, held=1.5):
    """Drag along places on the screen; `wheel`: steps while dragging, `held`: seconds before the release."""
    words = moved_to(places[0]) + (["keydown", key] if key else []) + ["mousedown", "1", "sleep", "0.3"]
    for place in places[1:]:
        words += ["mousemove", *place, "sleep", "0.15"]
    for _ in range(abs(wheel)):
        words += ["click", "4" if wheel > 0 else "5", "sleep", "0.15"]
    words += ["sleep", held]
    words += ["key", "Escape", "sleep", "0.3"] if escape else []
    words += ["mouseup", "1", "sleep", "0.2"]
    words += ["keyup", key] if key else []
    mouse(*words)


def path(*ends):
    """Return points along a polyline, so that the mouse is moved in small steps."""
    points = []
    for a, b in zip(ends, ends[1:], strict=False):
        points += [Vector(a).lerp(Vector(b), i / 6)[:] for i in range(6)]
    return [*points, ends[-1]]
