# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: the parts of its window, and the mouse."""

import json
import subprocess
import time
import traceback
from pathlib import Path

import bpy

# Positions of buttons from the sidebar's upper left corner, read from screenshots; below 0: from the lower left.
# "bake" and "preview": with a mask; "bake for all": without one, if other objects use the picture.
BUTTONS = {
    "bake": (145, 536), "bake for all": (145, 591), "preview": (190, 512), "paint mask": (184, 250),
    "cancel": (238, 118), "last panel": (145, -12),
}  # fmt: skip


def window():
    return bpy.context.window_manager.windows[0]


def area(kind="VIEW_3D"):
    return next(a for a in window().screen.areas if a.type == kind)


def region(kind, of="VIEW_3D"):
    return next(r for r in area(of).regions if r.type == kind)


def there():
    return bpy.context.temp_override(window=window(), area=area(), region=region("WINDOW"))


def click(button):
    """Click with the mouse. Does not wait, since this Blender has to process the click."""
    panel = region("UI")
    right, down = BUTTONS[button]
    x, y = panel.x + right, window().height - panel.y + down - (panel.height if down > 0 else 0)
    move = ["mousemove", str(x), str(y), "sleep", "0.4", "mousemove_relative", "1", "0", "sleep", "0.4"]
    subprocess.Popen(["xdotool", *move, "click", "1"])


def move_away():
    """Move the mouse: Blender draws the button under it in the state in which it was pressed."""
    subprocess.Popen(["xdotool", "mousemove", "200", "150", "sleep", "0.3", "mousemove_relative", "5", "5"])


def clicked(button, condition):
    """Click until `condition()`: a busy machine may lose clicks."""
    for _ in range(4):
        click(button)
        try:
            yield from until(condition, 8)
            return
        except TimeoutError:
            pass
    raise TimeoutError(f"a click on '{button}' did nothing")


def scrolled(direction):
    """Scroll the sidebar to its end."""
    with bpy.context.temp_override(window=window(), area=area(), region=region("UI")):
        for _ in range(50):  # steps of 40 pixels
            getattr(bpy.ops.view2d, f"scroll_{direction}")()
    region("UI").tag_redraw()
    yield 1.0


def look(toolbar=True):
    """Show what is selected from the front, in Solid shading with its texture, and the panel."""
    space = area().spaces.active
    space.shading.type, space.shading.color_type, space.shading.light = "SOLID", "TEXTURE", "FLAT"
    space.show_region_ui, space.show_region_toolbar = True, toolbar
    with there():
        bpy.ops.view3d.view_axis(type="FRONT")
    yield 1.5
    region("UI").active_panel_category = "Loopcore"
    with there():
        bpy.ops.view3d.view_selected()
    space.region_3d.view_distance *= 0.72
    yield 1.5


def use(tool):
    """Choose a tool of the 3D Viewport."""
    with there():
        bpy.ops.wm.tool_set_by_id(name=tool)
    yield 1.0


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} was not met in {seconds} s")
        yield 0.05


def picture(folder, name):
    """Take a screenshot of the screen: Blender's own are black without a graphics card."""
    subprocess.run(["import", "-window", "root", str(Path(folder, name + ".png"))], check=True)


def drive(steps, seen, folder):
    """Run a generator, which yields how many seconds to wait; then print `seen` as JSON, and quit."""

    def tick():
        try:
            return next(steps)
        except StopIteration:
            seen["ok"] = True
        except Exception:
            traceback.print_exc()
            picture(folder, "failed")
        print("SEEN: " + json.dumps(seen), flush=True)
        bpy.ops.wm.quit_blender()

    bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
