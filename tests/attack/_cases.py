# SPDX-License-Identifier: Apache-2.0
"""Hostile inputs by kind, each made from small valid files by a seeded generator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import _mutate
import _seeds
import _training_cases
from _case import NAMES, Case, copy_inputs, hostile_file

_PICTURES = ["plate.png", "plate.jpg", "plate.tif", "plate.bmp", "plate.webp", "postscript.eps", "profile.png"]
_HINTS = ["hints.json", "hints.json", "hints_painted.json", "hints_labelme.json"]
_WEIGHTS = ["weights.safetensors", "generator.safetensors", "generator.safetensors"]


def _bake(inputs: Path, **changes: object) -> dict[str, object]:
    """Returns the settings of the smallest bake, with changes."""
    chosen = {"plate": str(inputs / "plate.png"), "motion": str(inputs / "motion.exr"), "frames": 2,
              "folder": str(inputs.parent / "out"), "name": "loop", **changes}  # fmt: skip
    return {name: value for name, value in chosen.items() if value is not None}


def _prediction(inputs: Path, **changes: object) -> dict[str, object]:
    """Returns the settings of a prediction by the smallest generator, with changes."""
    out = inputs.parent / "out"
    out.mkdir(exist_ok=True)
    return {"plate": str(inputs / "plate.png"), "weights": str(inputs / "generator.safetensors"),
            "motion_out": str(out / "motion.exr"), **changes}  # fmt: skip


def _hostile_input(
    sources: list[str], seeds: Path, folder: Path, rng: random.Random, beside: tuple[str, ...] = ()
) -> tuple[Path, Path, str, str]:
    """Returns the folder of inputs with one hostile file, that file, what it was made from, and what was done."""
    inputs = copy_inputs(seeds, folder, "plate.png", "motion.exr", *beside)
    source = seeds / rng.choice(sources)
    suffix = ".png" if source.suffix == ".eps" or rng.random() < 0.1 else source.suffix
    hostile = inputs / (rng.choice(NAMES) + suffix)
    done = hostile_file(source, hostile, rng)
    return inputs, hostile, source.name, f"{source.name} as {hostile.name!r}: {done}"


def _bake_of(
    kind: str, sources: list[str], option: str, seeds: Path, folder: Path, rng: random.Random, **changes: object
) -> Case:
    inputs, hostile, source, label = _hostile_input(sources, seeds, folder, rng, ("mask.png",))
    settings = _bake(inputs, **{option: str(hostile)}, **changes)
    return Case(kind, label, folder, "animate", settings, (), (hostile.name,))


def _pictures(seeds: Path, folder: Path, rng: random.Random) -> Case:
    return _bake_of("pictures", _PICTURES, rng.choice(["plate", "plate", "mask"]), seeds, folder, rng)


def _exr(seeds: Path, folder: Path, rng: random.Random) -> Case:
    return _bake_of("exr", ["plate.exr", "plate_odd.exr"], "plate", seeds, folder, rng)


def _documents(seeds: Path, folder: Path, rng: random.Random) -> Case:
    layer = rng.choice(["Water", "Water", "Front", "Boat", "Light", None, "\u202e"])
    return _bake_of("documents", ["plate.psd"], "plate", seeds, folder, rng, layer=layer)


def _hints(seeds: Path, folder: Path, rng: random.Random) -> Case:
    """Damaged hints, or hints of a picture many times larger, or with many strokes or anchors."""
    case = _bake_of("hints", _HINTS, "hints", seeds, folder, rng, motion=None)
    if rng.random() < 0.8:
        return case
    hostile = Path(str(case.settings["hints"]))
    if hostile.is_symlink() or not hostile.is_file():
        return case
    document = json.loads((seeds / rng.choice(["hints.json", "hints_painted.json"])).read_bytes())
    change = rng.choice(["size", "strokes", "anchors", "corners"])
    if change == "size":
        factor = rng.choice([7, 300, 2048])
        document["size"] = [factor * side for side in document["size"]]
    elif change == "corners":
        document["mask"] = {"polygons": [[[i % 32, i % 24] for i in range(20000)]]}
    else:
        document[change] *= rng.choice([300, 20000])
    hostile.write_text(json.dumps(document), "utf-8")
    return Case("hints", f"many {change}", folder, "animate", case.settings, (), case.subjects)


def _motion(seeds: Path, folder: Path, rng: random.Random) -> Case:
    return _bake_of("motion", ["motion.exr", "motion_odd.exr", "motion.flo"], "motion", seeds, folder, rng)


def _weights(seeds: Path, folder: Path, rng: random.Random) -> Case:
    return _bake_of("weights", _WEIGHTS, "weights", seeds, folder, rng, motion=None)


def _predict(seeds: Path, folder: Path, rng: random.Random) -> Case:
    """A prediction of a hostile plate, or with hostile hints, mask or weights; also of plates of extreme shapes."""
    option = rng.choice(["plate", "plate", "plate", "hints", "mask", "weights"])
    shapes = [f"{name}.png" for name in _seeds.SHAPES]
    sources = {"plate": [*_PICTURES, "plate.exr", "plate_odd.exr", *shapes, *shapes], "hints": _HINTS,
               "mask": [*_PICTURES, "mask.png"], "weights": _WEIGHTS}[option]  # fmt: skip
    beside = ("generator.safetensors", "mask.png")
    inputs, hostile, source, label = _hostile_input(sources, seeds, folder, rng, beside)
    settings = _prediction(inputs, **{option: str(hostile)})
    if f"{source}" in shapes and rng.random() < 0.5:
        del settings["weights"]
    return Case("predict", label, folder, "predict", settings, (), (hostile.name,))


def _shapes(seeds: Path, folder: Path, rng: random.Random) -> Case:
    """A loop of a plate of an extreme shape, with a film and a contact sheet."""
    name = rng.choice(list(_seeds.SHAPES))
    inputs = copy_inputs(seeds, folder, f"{name}.png", "generator.safetensors")
    plate, out = inputs / f"{name}.png", folder / "out"
    words = ["animate", str(plate), f"--output={out}", "--frames=2", "--preview", "--proxy"]
    words += [f"--weights={inputs / 'generator.safetensors'}"] * (rng.random() < 0.7)
    resolution = rng.choice([100, 50, 1])
    words += [f"--resolution={resolution}"] * (resolution != 100)
    return Case("shapes", f"{name} at {resolution} %", folder, "animate", {}, tuple(words), (plate.name, str(out)))


def _loops(seeds: Path, folder: Path, rng: random.Random) -> Case:
    """The recipe or a frame of a baked loop is damaged; the loop is checked, or baked again."""
    inputs, out = copy_inputs(seeds, folder, "plate.png", "motion.exr", "loop"), folder / "out"
    (inputs / "loop").rename(out)
    hostile = out / rng.choice(["recipe.json", "recipe.json", *(path.name for path in sorted(out.glob("loop.*.exr")))])
    done = hostile_file(seeds / "loop" / hostile.name, hostile, rng)
    if rng.random() < 0.5:
        label, settings = f"check, {hostile.name}: {done}", {"folder": str(out)}
        return Case("loops", label, folder, "check", settings, (), (str(out),))
    return Case("loops", f"bake, {hostile.name}: {done}", folder, "animate", _bake(inputs), (), (hostile.name,))


def _previews(seeds: Path, folder: Path, rng: random.Random) -> Case:
    """A film or a contact sheet of frames of which one is damaged, or with odd options."""
    inputs, out = copy_inputs(seeds, folder, "loop"), folder / "out"
    out.mkdir()
    loop = inputs / "loop"
    frame = rng.choice(sorted(loop.glob("loop.*.exr")))
    target = out / rng.choice(["film.mp4", "sheet.png", "sheet.jpg"])
    words = ["preview", str(rng.choice([loop, loop / "loop.####.exr"])), f"--output={target}"]
    if rng.random() < 0.6:
        label = f"{target.name} of {frame.name}: {hostile_file(seeds / 'loop' / frame.name, frame, rng)}"
        return Case("previews", label, folder, "preview", {}, tuple(words), (frame.name, str(loop)))
    option, text = rng.choice(["fps", "cycles", "width", "output"]), rng.choice(_TEXTS)
    label = f"{target.name}, --{option}={text[:20]!r}"
    if option == "output":
        text = str(out / (text + target.suffix)) if "\0" not in text and "/" not in text else text
    words.append(f"--{option}={text}")
    return Case("previews", label, folder, "preview", {}, tuple(words), (option, text, "preview", "fps", "frame rate"))


_CHOICES = [
    "frames", "fps", "first", "speed", "contrast", "cycles", "steady", "depth", "name", "resolution", "range", "layer",
    "colorspace", "convention", "format", "method",
]  # fmt: skip
_TEXTS = [
    "", " ", "0", "-1", "1e400", "nan", "inf", "-inf", "9" * 400, "1e308", "1e-320", "../x", "a/b", "[/x]", "a\nb",
    "\udcff", "%d", "####", "x" * 5000, "1-2-3", "1-999999999", "1/0", "24/1e9", "0x10", "\u0661", "--", "2,2",
    "1000000007", "\u2028",
]  # fmt: skip


def _options(seeds: Path, folder: Path, rng: random.Random) -> Case:
    inputs = copy_inputs(seeds, folder, "plate.png", "motion.exr")
    option, text = rng.choice(_CHOICES), rng.choice(_TEXTS)
    words = ["animate", str(inputs / "plate.png"), f"--motion={inputs / 'motion.exr'}", f"--output={folder / 'out'}"]
    if option != "range":  # one frame, whatever the length
        words.append("--range=1001")
    words += ["--frames=2"] * (option != "frames")
    return Case("options", f"--{option}={text[:20]!r}", folder, "animate", {},
                (*words, f"--{option}={text}"), (option, text))  # fmt: skip


KINDS: dict[str, Callable[[Path, Path, random.Random], Case]] = {
    "pictures": _pictures, "documents": _documents, "exr": _exr, "hints": _hints, "motion": _motion,
    "weights": _weights, "loops": _loops, "predict": _predict, "shapes": _shapes, "previews": _previews,
    "options": _options, "training": _training_cases.train, "evaluation": _training_cases.evaluate,
}  # fmt: skip
# Kinds that the worker can run; the others are of the command line alone.
FILE_KINDS = ["pictures", "documents", "exr", "hints", "motion", "weights", "loops", "predict"]


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
