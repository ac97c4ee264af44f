# SPDX-License-Identifier: GPL-3.0-or-later
"""``blender -b shot.blend --command loopcore bake --object NAME ...``: for farms and scripts.

A line a percent and a line a task, as ``loopcore`` itself prints them. Exit codes: 0 done, 1 the worker failed,
2 usage or bad input, 130 interrupted.
"""

import argparse
import sys

import bpy

from . import properties, runtime, tasks, work
from .plane import PlaneError

NAME = "loopcore"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_command = None


def register():
    global _command
    _command = bpy.utils.register_cli_command(NAME, main)


def unregister():
    global _command
    if _command is not None:
        bpy.utils.unregister_cli_command(_command)
        _command = None


def main(argv: list[str]) -> int:
    """Run one command on the file that is open; returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    try:
        obj = _object(arguments.object)
        code = arguments.run(obj, arguments)
        if code == DONE and arguments.save:
            _save()
        return code
    except (tasks.Refused, PlaneError) as error:
        return _failed(str(error), USAGE)
    except RuntimeError as error:
        return _failed(str(error), FAILED)
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)


def _parser():
    parser = argparse.ArgumentParser(prog="blender --command loopcore", description="Loops on image planes.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, run, text in (
        ("bake", _bake, "make the frames of the loop, and have the plane play them"),
        ("predict", _predict, "solve the motion from strokes, anchors and mask"),
        ("flow", _flow, "write the motion for another program"),
        ("restore", _restore, "put the still back"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--object", metavar="NAME", help="the plane; may be left out where there is only one")
        command.add_argument("--save", action="store_true", help="save the .blend afterwards")
        command.set_defaults(run=run)
        if name != "restore":
            _settings(command)
        if name == "bake":
            command.add_argument("--range", default="", metavar="FRAMES", help="only these files, e.g. 1001-1024")
            command.add_argument("--overwrite", action="store_true", help="make frames again that are up to date")
        elif name == "flow":
            kinds = [kind[0] for kind in work.CONVENTIONS]
            command.add_argument("--convention", choices=kinds, default="motion", help="who is to read it (motion)")
    return parser


def _settings(command):
    """What the object's settings say may be said otherwise here."""
    add = command.add_argument
    add("--frames", type=int, help="length of the loop")
    add("--first", type=int, help="number of the first file")
    add("--speed", type=float, help="factor on the motion")
    add("--method", choices=("warp", "splat"), type=str.lower, help="how pixels are carried")
    add("--contrast", type=float, help="how much of the lost detail is restored, 0 to 1")
    add("--resolution", type=int, help="percent of the plate's size")
    add("-o", "--folder", metavar="DIR", help="where the files go")
    add("--format", choices=[kind[0] for kind in properties.FORMATS], type=str.upper, help="kind of file")
    add("--proxy", action="store_true", default=None, help="also write light frames for the viewport")


def _object(name):
    if name:
        found = bpy.data.objects.get(name)
        if found is None:
            known = ", ".join(sorted(o.name for o in bpy.context.scene.objects if o.type == "MESH"))
            raise tasks.Refused(f"there is no object '{name}' in this file; meshes: {known or 'none'}")
        return found
    planes = [obj for obj in bpy.context.scene.objects if _is_plane(obj)]
    if len(planes) != 1:
        raise tasks.Refused(f"{len(planes)} objects of this scene show an image: say which with --object NAME")
    return planes[0]


def _is_plane(obj):
    from . import plane

    try:
        plane.find_plane_image(obj)
    except PlaneError:
        return False
    return True


def _given(obj, arguments):
    given = {name: getattr(arguments, name) for name in properties.LOOP if getattr(arguments, name) is not None}
    if "method" in given:
        given["method"] = given["method"].upper()
    return properties.Settings.of(obj, **given)


def _bake(obj, arguments):
    work_ = work.bake(obj, _given(obj, arguments), overwrite=arguments.overwrite, range=arguments.range)
    return _run("Bake Loop", work_, obj)


def _predict(obj, arguments):
    return _run("Predict Motion", work.predict(obj, _given(obj, arguments)), obj)


def _flow(obj, arguments):
    return _run("Export Flow Map", work.export_flow(obj, _given(obj, arguments), arguments.convention), obj)


def _restore(obj, _arguments):
    print("The still is back" if work.restore(obj) else "The still is shown already", flush=True)
    return DONE


def _run(title, work_, obj):
    said = set()

    def tell(task):
        line = f"Progress: {int(100 * task.factor)}%  {task.step}"
        if line not in said:
            said.add(line)
            print(line, flush=True)

    task = tasks.run(tasks.begin(title, work_, runtime.engine(), obj), tell)
    if task.failed:
        return _failed(task.message, task.code)
    print(task.message, flush=True)
    return DONE


def _save():
    if not bpy.data.filepath:
        raise tasks.Refused("this file was never saved: --save needs one that was opened from disk")
    bpy.ops.wm.save_mainfile()
    print(f"Saved: '{bpy.data.filepath}'", flush=True)


def _failed(message, code):
    print(f"loopcore: error: {message}", file=sys.stderr, flush=True)
    return code
