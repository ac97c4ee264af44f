# SPDX-License-Identifier: Apache-2.0
"""Inside Blender: the commands of ``blender --command loopcore ...``, and events during a bake.

python commands_script.py ZIP FOLDER
"""

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

import bpy
import inside


def main(zip_path, folder):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    package = inside.install(zip_path)
    commands = import_module(f"{package}.interface.commands")
    tasks, runtime = (import_module(f"{package}.engine.{name}") for name in ("tasks", "runtime"))
    plane = inside.image_plane(inside.photograph(folder))
    results = {"unsaved": run(commands, "bake")}
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    bpy.ops.loopcore.add_stroke(object_name="Plate", points="[[40, 90], [160, 90], [280, 90]]", speed=2.0)
    inside.white_mask(plane)
    run_all(commands, runtime, folder, results)

    # As after `blender -b shot.blend`: the painted mask was packed when the file was saved.
    bpy.ops.wm.open_mainfile(filepath=str(folder / "shot.blend"))
    nodes = bpy.data.objects["Plate"].active_material.node_tree.nodes
    results["saved"] = next(n.image.source for n in nodes if n.type == "TEX_IMAGE")
    results["mask kept"] = max(bpy.data.images["Plate mask"].pixels[:3])

    blocked = folder / "a file"
    blocked.write_text("no folder")
    results["no folder"] = run(commands, "bake", "--frames", "6", "--folder", str(blocked / "below"))
    results["killed"] = during(runtime, lambda pid: os.kill(pid, signal.SIGKILL))
    results["cancelled"] = during(runtime, lambda pid: tasks.current().cancel())
    results["adapted message"] = nothing_flows(folder)
    results["after"] = run(commands, "bake", "--frames", "6")
    results["temporaries"] = [p.name for p in (folder / "loops" / "shot" / "Plate").iterdir() if p.name.startswith(".")]
    inside.emit(results)


def run_all(commands, runtime, folder, results):
    """Run every command, with valid and invalid arguments, on the plane."""
    results["usage"] = run(commands, "bake", "--frames", "many")
    results["unknown object"] = run(commands, "bake", "--object", "Nobody")
    results["help"] = run(commands, "--help")
    results["bake"] = run(commands, "bake", "--object", "Plate", "--frames", "6", "--format", "png_8", "--save")
    results["part"] = run(commands, "bake", "--frames", "6", "--range", "1001-1002", "--folder", str(folder / "part"))
    results["python"] = run(commands, "setup", "--python", os.environ["LOOPCORE_WORKER_PYTHON"])
    place = import_module(f"{runtime.__package__}.installation").place()
    results["left by checks"] = [path.name for path in place.folder.glob("check-*")]
    results["no python"] = run(commands, "setup", "--python", str(folder / "nowhere"))
    results["two sources"] = run(commands, "setup", "--python", "p", "--wheels", "w")
    inside.use_worker(runtime.__package__.rpartition(".")[0])
    card = inside.image_plane(folder / "plate.png", name="Card")
    results["all"] = run(commands, "bake", "--all", "--frames", "4", "--resolution", "20", "--no-proxy",
                         "--folder", str(folder / "all {object}"))  # fmt: skip
    results["all of one"] = run(commands, "bake", "--all", "--object", "Plate")
    bpy.data.objects.remove(card)
    results["flow"] = run(commands, "flow", "--convention", "nuke", "--frames", "6")
    results["predict"] = run(commands, "predict")
    results["motion"] = bpy.path.abspath(bpy.data.objects["Plate"].loopcore.motion)
    results["bad range"] = run(commands, "bake", "--frames", "6", "--range", "1-3")
    results["no speed"] = run(commands, "bake", "--frames", "6", "--speed", "0")
    results["cycles word"] = run(commands, "bake", "--frames", "6", "--cycles", "many")
    results["too many cycles"] = run(commands, "bake", "--frames", "6", "--cycles", "4")
    results["too steady"] = run(commands, "bake", "--frames", "6", "--steady", "2")
    results["looks"] = [looks(commands, folder, *options) for options in
                        ([], ["--cycles", "3", "--steady", "0.3"], ["--cycles", "2"], ["--steady", "0"])]  # fmt: skip
    bpy.data.objects["Plate"].loopcore.auto_looks = False
    results["looks"] += [looks(commands, folder, *options) for options in
                         ([], ["--cycles", "auto"], ["--cycles", "auto", "--steady", "auto"])]  # fmt: skip
    bpy.data.objects["Plate"].loopcore.auto_looks = True
    in_the_way = folder / "in the way" / "Plate_loop.1003.png" / "something"
    in_the_way.mkdir(parents=True)
    results["frame fails"] = run(
        commands, "bake", "--frames", "6", "--format", "png_8", "--folder", str(folder / "in the way")
    )
    results["interrupted"] = [
        during(runtime, lambda pid, number=number: os.kill(os.getpid(), number), commands)
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    results["restore"] = run(commands, "restore")
    results["again"] = run(commands, "restore")


def looks(commands, folder, *options):
    """Bake one frame; returns the exit code, and cycles and steady of the recipe."""
    place = folder / "looks"
    made = run(commands, "bake", "--frames", "6", "--range", "1002", "--folder", str(place), *options)
    recipe = json.loads((place / "recipe.json").read_text("utf-8"))["recipe"]
    return [made["code"], recipe["cycles"], recipe["steady"]]


def nothing_flows(folder):
    """Predict the motion of a uniform image without hints; returns the error, and restores the plane."""
    plane, grey = bpy.data.objects["Plate"], bpy.data.images.new("grey", 320, 180)
    grey.generated_color = (0.5, 0.5, 0.5, 1)
    bpy.ops.loopcore.restore_still(object_name="Plate")
    node = next(n for n in plane.active_material.node_tree.nodes if n.type == "TEX_IMAGE")
    before, kept, stroke = node.image, plane.pop("loopcore_mask"), plane.children[0]
    node.image, stroke.hide_viewport = grey, True
    try:
        return sorted(bpy.ops.loopcore.predict_motion(object_name="Plate", folder=str(folder / "grey")))
    except RuntimeError as error:
        return str(error)
    finally:
        node.image, plane["loopcore_mask"], stroke.hide_viewport = before, kept, False


def run(commands, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = commands.main(list(arguments))
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def during(runtime, act, commands=None):
    """Bake, by the operator or the command, and call `act` with the worker's pid in a thread after the first frame.

    The bake is long enough for a slow machine to call `act` before its end.
    """
    pids = []

    def wait():
        place = Path(bpy.data.filepath).parent / "loops" / "shot" / "Plate"
        before = time.time()
        while not any(p.stat().st_mtime > before for p in place.glob("Plate_loop.*.exr")):
            time.sleep(0.02)
        pids.append(runtime.engine().pid)
        act(pids[0])

    thread = threading.Thread(target=wait)
    thread.start()
    answer = ""
    if commands is not None:
        answer = run(commands, "bake", "--frames", "2000", "--overwrite")
        thread.join()
        return answer
    try:
        bpy.ops.loopcore.bake(object_name="Plate", frames=2000, overwrite=True)
    except RuntimeError as error:
        answer = str(error)
    thread.join()
    plane = bpy.data.objects["Plate"]
    return {"answer": answer, "message": plane.loopcore.message, "failed": plane.loopcore.failed}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps("done"))
