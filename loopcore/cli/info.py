# SPDX-License-Identifier: Apache-2.0
"""`loopcore info`: what is installed; `loopcore info PLATE`: what a still holds and what in it seems to flow."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopcore.cli.console import DONE, Stop, given_path, installed
from loopcore.errors import PlateError

if TYPE_CHECKING:
    from loopcore.plate import Plate


def info_options(command: argparse.ArgumentParser) -> None:
    """Adds the options of `loopcore info`."""
    add = command.add_argument
    add("plate", type=given_path, nargs="?", help="a still: its layers, windows, colour space, and what seems to flow")
    add("--layer", help="layer, part or view of an EXR, or layer of a PSD")
    add("--colorspace", help="colour space of the plate, e.g. srgb_rec709_scene")
    add("--json", action="store_true", help="print JSON instead of a table")
    command.set_defaults(run=_info)


def _info(arguments: argparse.Namespace, stop: Stop) -> int:
    if arguments.plate is None:
        facts: Mapping[str, Any] = installed()
        rows = [(name, str(value)) for name, value in facts.items()]
    else:
        facts = _plate_facts(arguments.plate, arguments.layer, arguments.colorspace)
        rows = list(_plate_rows(facts))
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in rows:
            print(f"{name:<14}{value}")
    return DONE


def _plate_facts(path: Path, layer: str | None, colorspace: str | None) -> dict[str, Any]:
    """Returns what a still holds; where no layer is its picture, its layers and the reason alone."""
    from loopcore.files.regular import existing_file
    from loopcore.plate import read_plate
    from loopcore.plate.describe import describe_plate, list_layers, still_format

    facts: dict[str, Any] = {"plate": str(path), "format": still_format(existing_file(path))}
    try:
        plate = read_plate(path, layer=layer, colorspace=colorspace)
    except PlateError as error:
        if layer is not None or facts["format"] != "EXR":
            raise
        layers = list_layers(path)  # raises the same if the file is damaged
        return facts | {"picture": str(error), "layers": layers}
    return facts | describe_plate(plate) | {"layer": layer, "layers": list_layers(path), "flow": _flow(plate)}


def _flow(plate: Plate) -> dict[str, Any]:
    """Returns what seems to flow: the score and the limit, the moving share, and the shares of the fluids in it."""
    from loopcore.motion.estimate import MIN_SCORE, estimate_plate
    from loopcore.motion.networks import CLASSES

    estimate = estimate_plate(plate)
    moving = estimate.flowing
    amounts = {} if estimate.classes is None else {
        name: float((moving * part).sum())
        for name, part in zip(CLASSES, estimate.classes, strict=True) if name != "static"
    }  # fmt: skip
    total = max(sum(amounts.values()), 1e-6)
    return {
        "score": round(estimate.score, 3),
        "needed": MIN_SCORE,
        "animates": estimate.score >= MIN_SCORE,
        "moving": round(float((moving > 0.5).mean()), 3),
        "fluids": {name: round(amount / total, 3) for name, amount in amounts.items()},
    }


def _plate_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("plate", facts["plate"]), ("format", facts["format"])]
    if "picture" in facts:
        rows.append(("picture", facts["picture"]))
    else:
        aspect = "" if facts["pixel_aspect"] == 1 else f", pixel aspect {facts['pixel_aspect']:g}"
        rows.append(("size", f"{facts['width']} x {facts['height']}{aspect}"))
        windows = [name for name in ("data_window", "display_window") if name in facts]
        rows += [(name.replace("_", " "), _window(facts[name])) for name in windows]
        rows += [
            ("channels", ", ".join(facts["channels"])),
            ("colour", f"{facts['colorspace'] or 'unknown primaries'}, stored as {facts['stored']}"),
            ("flow", _flow_text(facts["flow"])),
        ]
    for number, layer in enumerate(facts["layers"]):
        rows.append(("" if number else "layers", _layer_text(layer)))
    return rows


def _window(window: tuple[int, int, int, int]) -> str:
    left, top, right, bottom = window
    return f"x {left} to {right}, y {top} to {bottom}"


def _flow_text(flow: Mapping[str, Any]) -> str:
    if not flow["animates"]:
        return f"nothing seems to flow (score {flow['score']:.2f}, {flow['needed']:.2f} is needed)"
    fluids = sorted(flow["fluids"].items(), key=lambda item: -item[1])
    named = ", ".join(f"{name} {share:.0%}" for name, share in fluids if share >= 0.05)
    return f"{flow['moving']:.0%} of the picture{f': {named}' if named else ''} (score {flow['score']:.2f})"


def _layer_text(layer: Mapping[str, Any]) -> str:
    if "box" in layer:
        left, top, right, bottom = layer["box"]
        hidden = "" if layer["visible"] else ", hidden"
        return (
            f"{layer['name']}  ({layer['kind']}, {layer['blend']} {layer['opacity']:.0%}{hidden}, "
            f"{right - left} x {bottom - top} at {left}, {top})"
        )
    channels = ", ".join(f"{full.rpartition('.')[2]} {kind}" for full, kind in layer["channels"].items())
    part = f" in part {layer['part']!r}" if layer["part"] and not layer["name"].startswith(layer["part"]) else ""
    return f"{layer['name'] or '(unnamed)'}{part}  ({channels})"
