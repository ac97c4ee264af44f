# SPDX-License-Identifier: Apache-2.0
"""Runs inside Blender: what the preferences say and do about the worker's Python, without a window.

python preferences_script.py ZIP WHEELS
"""

import hashlib
import json
import sys
from pathlib import Path

import bpy
import inside


def main(zip_path, wheels):
    found = {"package": inside.install(zip_path)}
    mine = bpy.context.preferences.addons[found["package"]].preferences
    module = sys.modules[found["package"] + ".engine.installation"]
    found["names"] = names(found["package"])
    found["check"], found["missing"] = tried(bpy.ops.loopcore.check_python), module.missing()
    mine.python = "/nowhere/python"
    found["gone"] = [module.missing(), tried(bpy.ops.loopcore.check_python)]
    mine.python = ""
    found["not set up"] = module.missing()
    bpy.context.preferences.system.use_online_access = False
    found["offline"] = tried(bpy.ops.loopcore.set_up)
    found["empty folder"] = tried(bpy.ops.loopcore.set_up, wheels=wheels)
    found["still not set up"] = module.missing()
    found["place"] = [str(module.place().folder), str(module.place().wheel), module.place().wheel.is_file()]
    found["leases"] = leases(module, found["package"])
    # The middle of something, when the add-on is disabled.
    work = module.Setup.check(module.place(create=True), Path(sys.executable))
    module.begin(work)
    work.poll()
    bpy.ops.preferences.addon_disable(module=found["package"])
    found["disabled"] = work.state
    inside.emit(found)


def names(package):
    """Under which name Blender has the preferences, and which package each module of the add-on takes for the root."""
    interface = sys.modules[package + ".interface.preferences"]
    mine = bpy.context.preferences.addons[package].preferences
    return [mine.bl_rna.identifier, type(mine).bl_idname, interface.package.NAME, interface.__package__,
            sys.modules[package + ".engine.installation"].preferences() == mine]  # fmt: skip


def leases(module, package):
    """Whether the environment is held: before there is an engine, with one, and after it was stopped."""
    place = module.place(create=True)
    place.python.parent.mkdir(parents=True)
    place.python.write_text("", "utf-8")
    digest = hashlib.sha256(place.wheel.read_bytes()).hexdigest()
    place.marker.write_text(json.dumps({"version": "1", "python": "3.11.9", "torch": None, "wheel": digest}), "utf-8")
    runtime = sys.modules[package + ".engine.runtime"]
    held = [place.leases[0].is_held()]
    for step in (runtime.engine, runtime.engine, runtime.stop):
        step()
        held.append(place.leases[0].is_held())
    return held


def tried(operator, **settings):
    """What came of it: the operator's result, or its error."""
    try:
        return sorted(operator(**settings))
    except RuntimeError as error:
        return str(error)


main(*sys.argv[1:])
