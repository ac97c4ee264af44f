# SPDX-License-Identifier: GPL-3.0-or-later
"""``blender -b shot.blend --command loopcore bake --object NAME ...``: for farms and scripts.

Prints ``Progress: 42%`` for each percent and ``Saved: 'PATH'`` for each file, and has the exit codes of ``loopcore``:
0 done, 1 failed, 2 usage or invalid input, 130 and 143 interrupted by Ctrl-C and by SIGTERM.
"""

import argparse
import signal
import sys

import bpy

from ..drawing.hints import hints_json
from ..engine import installation, runtime, tasks
from ..errors import AddonError, PlaneError, Refused
from ..plane.image import find_plane_image, refuse_linked
from . import actions, properties, users

NAME = "loopcore"
DONE, FAILED, USAGE = 0, 1, 2

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
    """Run one command on the open file; returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else USAGE
    with _Signals() as signals:
        try:
            if arguments.run is _setup:
                return _setup(arguments)
            codes = [_reported(obj, arguments, signals) for obj in _objects(arguments)]
            if arguments.save and (max(codes) == DONE or len(codes) > 1):
                _save()
            return max(codes)
        except AddonError as error:
            return _failed(str(error), USAGE)
        except (RuntimeError, OSError) as error:
            # Blender's operators begin their errors with that word.
            return _failed(str(error).removeprefix("Error: ").strip(), FAILED)
        except _Interrupted:
            return _failed("interrupted", 128 + signals.received)


class _Interrupted(BaseException):
    """The process received SIGINT or SIGTERM."""


class _Signals:
    """Records SIGINT and SIGTERM until the next `check`, where the task can be interrupted."""

    def __init__(self):
        self.received, self._before = 0, {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            # None: a handler that was not installed from Python, such as Blender's.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _receive(self, number, _frame):
        self.received = number

    def check(self):
        """Raise _Interrupted if a signal was received."""
        if self.received:
            raise _Interrupted


def _parser():
    parser = argparse.ArgumentParser(prog="blender --command loopcore", description="Bake loops on image planes.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, run, text in (
        ("bake", _bake, "bake the frames of the loop, and play them on the plane"),
        ("predict", _predict, "solve the motion from strokes, anchors and mask"),
        ("flow", _flow, "write the motion for another application"),
        ("restore", _restore, "restore the still"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--object", metavar="NAME", help="the plane; optional if the scene has only one")
        command.add_argument("--save", action="store_true", help="save the .blend afterwards")
        command.set_defaults(run=run)
        if name != "restore":
            _settings(command)
            command.add_argument(
                "--take-over", action="store_true", help="replace files of another .blend or object in the folder"
            )
        if name == "bake":
            command.add_argument("--all", action="store_true",
                help="each plane of the scene that has a motion, strokes or a mask; a shared loop once")  # fmt: skip
            command.add_argument("--range", default="", metavar="FRAMES", help="only these files, e.g. 1001-1024")
            command.add_argument("--overwrite", action="store_true", help="bake frames that are up to date again")
        elif name == "flow":
            kinds = [kind[0] for kind in actions.CONVENTIONS]
            command.add_argument(
                "--convention", choices=kinds, default="motion", help="convention of the files (default: motion)"
            )
    _add_setup(commands)
    return parser


def _add_setup(commands):
    """Add the command that prepares a machine without a window."""
    text = "create the engine's private environment, or choose a Python, and check it with a small bake"
    command = commands.add_parser("setup", help=text, description=text)
    source = command.add_mutually_exclusive_group()
    source.add_argument("--wheels", default="", metavar="DIR", help="install from this folder instead of the network")
    source.add_argument("--python", default="", metavar="PATH", help="use this Python, which has the dependencies")
    command.add_argument("--base", default="", metavar="PATH", help="Python to create the environment with")
    command.add_argument("--torch", action=argparse.BooleanOptionalAction, default=True,
        help="also install torch, which is required to predict motion")  # fmt: skip
    command.set_defaults(run=_setup)


def _settings(command):
    """Add options that override the object's settings."""
    add = command.add_argument
    add("--frames", type=int, help="length of the loop")
    add("--first", type=int, help="number of the first file")
    add("--speed", type=float, help="factor on the motion")
    add("--method", choices=("warp", "splat"), type=str.lower, help="how pixels are transported")
    add("--contrast", type=float, help="how much of the contrast lost by blending is restored, 0 to 1")
    add("--cycles", type=_auto_or(int), metavar="auto|K",
        help="how often the image is renewed in one loop, more for fast motion; auto: by place")  # fmt: skip
    add("--steady", type=_auto_or(float), metavar="auto|0..1",
        help="how much brightness and color stay in place while the texture moves")  # fmt: skip
    add("--resolution", type=int, help="percentage of the image's size")
    add("-o", "--folder", metavar="DIR", help="output folder")
    add("--format", choices=[kind[0] for kind in properties.FORMATS], type=str.upper, help="file format")
    add("--proxy", action=argparse.BooleanOptionalAction, help="also write small frames for the viewport")
    add("--passes", action=argparse.BooleanOptionalAction, help="also write frames with all layers of an EXR")


def _auto_or(kind):
    """Return a parser of "auto" or a number."""

    def parse(text):
        try:
            return text if text == "auto" else kind(text)
        except ValueError:
            number = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"give 'auto' or {number}, not '{text}'") from None

    return parse


def _objects(arguments):
    """Return the planes to work on.

    Raises:
        Refused: there is none, or it has to be chosen.
    """
    if not getattr(arguments, "all", False):
        return [_object(arguments.object)]
    if arguments.object:
        raise Refused("--all and --object cannot be combined")
    planes = users.one_per_picture(obj for obj in bpy.context.scene.objects if _is_plane(obj) and _is_prepared(obj))
    if not planes:
        raise Refused("no plane of this scene has a motion, strokes or a mask: choose one with --object NAME")
    return planes


def _is_prepared(obj):
    return bool(obj.loopcore.motion) or hints_json(find_plane_image(obj)) is not None


def _reported(obj, arguments, signals):
    """Run a command on one plane; returns its code. With --all an error does not stop the others."""
    if not getattr(arguments, "all", False):
        return arguments.run(obj, arguments, signals)
    print(f"Object: '{obj.name}'", flush=True)
    try:
        return arguments.run(obj, arguments, signals)
    except AddonError as error:
        return _failed(f"{obj.name}: {error}", USAGE)


def _setup(arguments):
    """Set the engine up; the operators' errors are reported by `main`."""
    mine = installation.preferences()
    mine.python = arguments.python
    if arguments.python:
        bpy.ops.loopcore.check_python()
    else:
        bpy.ops.loopcore.set_up(wheels=arguments.wheels, base=arguments.base, torch=arguments.torch)
    bpy.ops.wm.save_userpref()
    return DONE


def _object(name):
    if name:
        found = bpy.data.objects.get(name)
        if found is None:
            known = ", ".join(sorted(o.name for o in bpy.context.scene.objects if o.type == "MESH"))
            raise Refused(f"there is no object '{name}' in this file; meshes: {known or 'none'}")
        refuse_linked(found)
        return found
    planes = [obj for obj in bpy.context.scene.objects if _is_plane(obj)]
    if len(planes) != 1:
        raise Refused(f"{len(planes)} objects of this scene show an image: choose one with --object NAME")
    return planes[0]


def _is_plane(obj):
    if obj.type != "MESH":
        return False
    try:
        find_plane_image(obj)
    except PlaneError:
        return False
    return obj.library is None


def _overridden(obj, arguments):
    given = {name: value for name, value in vars(arguments).items() if name in properties.LOOP and value is not None}
    if "method" in given:
        given["method"] = given["method"].upper()
    settings = properties.Settings.of(obj, **given)
    if arguments.take_over:
        actions.take_over(obj, settings)
    return settings


def _bake(obj, arguments, signals):
    steps = actions.bake(obj, _overridden(obj, arguments), overwrite=arguments.overwrite, range=arguments.range)
    return _run("Bake Loop", steps, obj, signals)


def _predict(obj, arguments, signals):
    code = _run("Predict Motion", actions.predict(obj, _overridden(obj, arguments)), obj, signals)
    if code == DONE:
        print(f"Saved: '{bpy.path.abspath(obj.loopcore.motion)}'", flush=True)
    return code


def _flow(obj, arguments, signals):
    steps = actions.export_flow(obj, _overridden(obj, arguments), arguments.convention)
    return _run("Export Flow Map", steps, obj, signals)


def _restore(obj, _arguments, _signals):
    print("Still restored" if actions.restore(obj) else "The still is already shown", flush=True)
    return DONE


def _run(title, steps, obj, signals):
    lines = _Lines()

    def on_pump(task):
        lines.report(task)
        signals.check()

    task = tasks.run(tasks.begin(title, steps, runtime.engine(), obj), on_pump)
    lines.report(task)
    if task.failed:
        return _failed(task.message, task.code)
    print(task.message, flush=True)
    return DONE


class _Lines:
    """Prints a task's files and percentage, which never decreases, although each step counts anew."""

    def __init__(self):
        self._saved, self._percent = 0, -1

    def report(self, task):
        for path, done, total in task.saved[self._saved :]:
            print(f"Saved: '{path}'")
            self._reached(done / total)
        self._saved = len(task.saved)
        if task.factor:
            self._reached(task.factor)

    def _reached(self, share):
        percent = int(100 * share)
        if percent > self._percent:
            self._percent = percent
            print(f"Progress: {percent}%", flush=True)


def _save():
    if not bpy.data.filepath:
        raise Refused("this file was never saved: --save needs a file opened from disk")
    bpy.ops.wm.save_mainfile()
    print(f"Saved: '{bpy.data.filepath}'", flush=True)


def _failed(message, code):
    print(f"loopcore: error: {message}", file=sys.stderr, flush=True)
    return code
