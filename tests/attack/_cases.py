# SPDX-License-Identifier: Apache-2.0
"""Hostile inputs by kind, each made from small valid files by a seeded generator."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import _flow_files
import _mutate
import _scenes
import numpy as np

WIDTH, HEIGHT = 32, 24
ODD = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45], np.float32)  # pixels
# What hostile files are called, before the suffix.
NAMES = ["input", "a%d", "concat:a", "a\nb", "a b", "[/x]", "%s{0}", "-o", "..", "é", "x" * 200, "\x1b[31m", "\udcff"]


@dataclass(frozen=True)
class Case:
    """One run: a command, or the worker's method of that name, on hostile inputs.

    Attributes:
        kind: of input.
        label: what was damaged and how.
        folder: fresh parent folder; holds ``in`` and, once written, ``out``.
        method: ``animate``, ``flow`` or ``check``.
        settings: by the worker's names; paths are absolute.
        arguments: of the command line instead, where they have no equivalent in the worker.
        subjects: texts of which an error message must contain one.
    """

    kind: str
    label: str
    folder: Path
    method: str
    settings: dict[str, object]
    arguments: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Returns the arguments of ``loopcore``."""
        if self.arguments:
            return list(self.arguments)
        positional = {"animate": "plate", "flow": "motion", "check": "folder"}[self.method]
        words = [self.method, str(self.settings[positional])]
        for name, value in self.settings.items():
            if name != positional:
                words.append(f"--{'output' if name == 'folder' else name}={value}")
        return words


def make_seeds(folder: Path) -> Path:
    """Writes the valid files into a folder: pictures, EXR, hints, motion, weights, and a baked loop."""
    from PIL import Image
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    codes = _scenes.codes(WIDTH, HEIGHT)
    for name in ("plate.png", "plate.jpg", "plate.tif", "plate.bmp", "plate.webp", "postscript.eps"):
        Image.fromarray(codes).save(folder / name)
    _scenes.exr(folder / "plate.exr", _scenes.linear("RGBA", WIDTH, HEIGHT))
    odd = _scenes.linear("RGBA", WIDTH, HEIGHT)
    odd[2:8, 2:20] = np.resize(ODD, 4)
    odd[9, :18] = np.resize(ODD, (18, 4))
    _scenes.exr(folder / "plate_odd.exr", odd)
    _scenes.exr(folder / "motion_odd.exr", odd[..., :2], ("forward.u", "forward.v"))
    _scenes.hints(folder / "hints.json", WIDTH, HEIGHT)
    field = _flow_files.field(HEIGHT, WIDTH)
    field.save(folder / "motion.exr")
    flo = b"PIEH" + np.array([WIDTH, HEIGHT], "<i4").tobytes() + field.velocity.astype("<f4").tobytes()
    (folder / "motion.flo").write_bytes(flo)
    save_file({"weight": np.ones((4, 3), np.float32)}, folder / "weights.safetensors", {"network": "unet"})
    done = _scenes.run("animate", folder / "plate.png", "--motion", folder / "motion.exr", "--frames", 2,
                       "-o", folder / "loop", "--name", "loop")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def _bake(inputs: Path, **changes: object) -> dict[str, object]:
    """Returns the settings of the smallest bake, with changes."""
    chosen = {"plate": str(inputs / "plate.png"), "motion": str(inputs / "motion.exr"), "frames": 2,
              "folder": str(inputs.parent / "out"), "name": "loop", **changes}  # fmt: skip
    return {name: value for name, value in chosen.items() if value is not None}


def _file_case(
    kind: str, sources: list[str], option: str, seeds: Path, folder: Path, rng: random.Random, **changes: object
) -> Case:
    """Returns a case in which one input is damaged, or something that is no file lies in its place."""
    inputs = folder / "in"
    inputs.mkdir()
    for name in ("plate.png", "motion.exr"):
        shutil.copy(seeds / name, inputs)
    source = seeds / rng.choice(sources)
    suffix = ".png" if source.suffix == ".eps" or rng.random() < 0.1 else source.suffix
    hostile = inputs / (rng.choice(NAMES) + suffix)
    hostile.parent.mkdir(exist_ok=True)  # of "[/x]"
    if rng.random() < 0.2:
        label = rng.choice(_mutate.SPECIALS)
        _mutate.special(hostile, label)
    elif source.name == "plate.png" and rng.random() < 0.3:
        width, height = rng.choice([(1 << 31, 1), (0, 0), (60000, 60000), (23000, 23000), ((1 << 31) - 1,) * 2])
        label = f"declared {width}x{height}"
        hostile.write_bytes(_mutate.huge_png(source.read_bytes(), width, height))
    elif source.suffix == ".json":
        label, data = _mutate.damage_json(json.loads(source.read_text("utf-8")), rng, _hints_value)
        hostile.write_bytes(data)
    else:
        label, data = _mutate.damage(source.read_bytes(), rng)
        hostile.write_bytes(data)
    settings = _bake(inputs, **{option: str(hostile)}, **changes)
    # Hints are also named by what they contain, or by the picture they do not suit.
    subjects = (hostile.name, *(("the point", "stroke", "hints") if option == "hints" else ()))
    return Case(kind, f"{source.name} as {hostile.name!r}: {label}", folder, "animate", settings, (), subjects)


def _hints_value(place: tuple[str | int, ...], value: str) -> bool:
    """Whether a value in the hints is tested: very large feathers, and names of masks that are no paths, are not."""
    return not ("feather" in place or "size" in place or place[-1] == "mask" and value in ('"\\u0000"', '"\\ud800"'))


def _pictures(seeds: Path, folder: Path, rng: random.Random) -> Case:
    names = ["plate.png", "plate.jpg", "plate.tif", "plate.bmp", "plate.webp", "postscript.eps"]
    return _file_case("pictures", names, rng.choice(["plate", "plate", "mask"]), seeds, folder, rng)


def _exr(seeds: Path, folder: Path, rng: random.Random) -> Case:
    return _file_case("exr", ["plate.exr", "plate_odd.exr"], "plate", seeds, folder, rng)


def _hints(seeds: Path, folder: Path, rng: random.Random) -> Case:
    return _file_case("hints", ["hints.json"], "hints", seeds, folder, rng, motion=None)


def _motion(seeds: Path, folder: Path, rng: random.Random) -> Case:
    return _file_case("motion", ["motion.exr", "motion_odd.exr", "motion.flo"], "motion", seeds, folder, rng)


def _weights(seeds: Path, folder: Path, rng: random.Random) -> Case:
    return _file_case("weights", ["weights.safetensors"], "weights", seeds, folder, rng, motion=None)


def _loops(seeds: Path, folder: Path, rng: random.Random) -> Case:
    """The recipe or a frame of a baked loop is damaged; the loop is checked, or baked again."""
    inputs, out = folder / "in", folder / "out"
    inputs.mkdir()
    for name in ("plate.png", "motion.exr"):
        shutil.copy(seeds / name, inputs)
    shutil.copytree(seeds / "loop", out)
    hostile = out / rng.choice(["recipe.json", "recipe.json", *(path.name for path in sorted(out.glob("loop.*.exr")))])
    data = hostile.read_bytes()
    hostile.unlink()
    if rng.random() < 0.2:
        label = rng.choice(_mutate.SPECIALS)
        _mutate.special(hostile, label)
    elif hostile.suffix == ".json" and rng.random() < 0.7:
        label, data = _mutate.damage_json(json.loads(data), rng)
        hostile.write_bytes(data)
    else:
        label, data = _mutate.damage(data, rng)
        hostile.write_bytes(data)
    if rng.random() < 0.5:
        label, settings = f"check, {hostile.name}: {label}", {"folder": str(out)}
        return Case("loops", label, folder, "check", settings, (), (str(out), "plate"))
    return Case("loops", f"bake, {hostile.name}: {label}", folder, "animate", _bake(inputs), (), (hostile.name,))


_OPTIONS = [
    "frames", "fps", "first", "speed", "contrast", "cycles", "steady", "depth", "name", "resolution", "range", "layer",
    "colorspace", "convention", "format", "method",
]  # fmt: skip
_TEXTS = [
    "", " ", "0", "-1", "1e400", "nan", "inf", "-inf", "9" * 400, "1e308", "1e-320", "../x", "a/b", "[/x]", "a\nb",
    "\udcff", "%d", "####", "x" * 5000, "1-2-3", "1-999999999", "1/0", "24/1e9", "0x10", "\u0661", "--", "2,2",
]  # fmt: skip


def _options(seeds: Path, folder: Path, rng: random.Random) -> Case:
    inputs = folder / "in"
    inputs.mkdir()
    for name in ("plate.png", "motion.exr"):
        shutil.copy(seeds / name, inputs)
    option, text = rng.choice(_OPTIONS), rng.choice(_TEXTS)
    words = ["animate", str(inputs / "plate.png"), f"--motion={inputs / 'motion.exr'}", f"--output={folder / 'out'}"]
    if option != "range":  # one frame, whatever the length
        words.append("--range=1001")
    words += ["--frames=2"] * (option != "frames")
    return Case("options", f"--{option}={text[:20]!r}", folder, "animate", {},
                (*words, f"--{option}={text}"), (option, text))  # fmt: skip


KINDS: dict[str, Callable[[Path, Path, random.Random], Case]] = {
    "pictures": _pictures, "exr": _exr, "hints": _hints, "motion": _motion, "weights": _weights, "loops": _loops,
    "options": _options,
}  # fmt: skip


FILE_KINDS = [kind for kind in KINDS if kind != "options"]  # the others are of the command line alone


def make_case(seed: int, number: int, kind: str, seeds: Path, folder: Path) -> Case:
    """Returns a case, and writes its inputs into a new folder; the same for the same seed and number."""
    folder.mkdir(parents=True)
    return KINDS[kind](seeds, folder, random.Random(f"{seed}/{number}/{kind}"))


def worker_line(rng: random.Random) -> bytes:
    """Returns one line for the worker: a damaged request that starts no long job."""
    request = {
        "jsonrpc": "2.0", "id": rng.choice(["1", -5]), "method": rng.choice(["hello", "check", "arrows", "flow"]),
        "params": {"folder": "gone", "motion": "gone", "spacing_px": 3, "convention": "nuke"},
    }  # fmt: skip
    _, line = (_mutate.damage_json if rng.random() < 0.7 else _damaged_text)(request, rng)
    return line.replace(b"\n", b" ")


def _damaged_text(request: dict[str, object], rng: random.Random) -> tuple[str, bytes]:
    return _mutate.damage(json.dumps(request).encode(), rng)
