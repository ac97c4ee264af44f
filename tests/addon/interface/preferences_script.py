# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: the worker's Python in the preferences, without a window.

python preferences_script.py ZIP WHEELS
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import bpy
import inside


def main(zip_path, wheels):
    results = {"package": inside.install(zip_path)}
    mine = bpy.context.preferences.addons[results["package"]].preferences
    module = sys.modules[results["package"] + ".engine.installation"]
    results["names"] = names(results["package"])
    results["check"], results["missing"] = call(bpy.ops.loopcore.check_python), module.missing()
    mine.python = "/nowhere/python"
    results["gone"] = [module.missing(), call(bpy.ops.loopcore.check_python)]
    mine.python = ""
    results["not set up"] = module.missing()
    bpy.context.preferences.system.use_online_access = False
    results["offline"] = call(bpy.ops.loopcore.set_up)
    results["empty folder"] = call(bpy.ops.loopcore.set_up, wheels=wheels)
    results["still not set up"] = module.missing()
    results["place"] = [str(module.place().folder), str(module.place().wheel), module.place().wheel.is_file()]
    results["leases"] = leases(module, results["package"])
    results["cancelled"] = cancelled(module, Path(wheels))
    # A check that is running when the add-on is disabled.
    work = module.Setup.check(module.place(create=True), Path(sys.executable))
    module.begin(work)
    work.poll()
    bpy.ops.preferences.addon_disable(module=results["package"])
    results["disabled"] = work.state
    inside.emit(results)


def names(package):
    """Return the names of the preferences, and of the root package in modules of the add-on."""
    interface = sys.modules[package + ".interface.preferences"]
    mine = bpy.context.preferences.addons[package].preferences
    return [mine.bl_rna.identifier, type(mine).bl_idname, interface.package.NAME, interface.__package__,
            sys.modules[package + ".engine.installation"].preferences() == mine]  # fmt: skip


def leases(module, package):
    """Return whether the lease is held before, during (twice) and after the engine's life."""
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


def cancelled(module, wheels):
    """Cancel a setup; returns whether buttons are enabled, and messages: before, during, while cleaning and after."""
    (wheels / "other-0.1-py3-none-any.whl").write_bytes(b"")
    seen = [[bpy.ops.loopcore.bake.poll(), module.missing()]]
    work = module.Setup.install(module.place(create=True), Path(sys.executable), wheels=wheels)
    module.begin(work)
    while work.state == "running" and work.message != "Creating the environment":
        work.poll()
        time.sleep(0.01)
    seen.append([bpy.ops.loopcore.bake.poll(), module.missing()])
    work.cancel()
    seen.append([work.cleaning, module.missing()])
    while work.cleaning:
        time.sleep(0.01)
    return [*seen, [bpy.ops.loopcore.bake.poll(), module.missing()]]


def call(operator, **settings):
    """Call an operator; returns its result or error message."""
    try:
        return sorted(operator(**settings))
    except RuntimeError as error:
        return str(error)


main(*sys.argv[1:])
