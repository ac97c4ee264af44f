# SPDX-License-Identifier: Apache-2.0
"""Tests of the Nuke scripts of the examples: their graphs, expressions and file names, interpreted without Nuke."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _flow_files import field, raw_channels
from test_flowmap_frames import PLAIN, rebuilt

from loopcore.flowmap import FlowSettings, export_flow
from loopcore.loop import Loop
from loopcore.plate import Plate
from loopcore.transport import warp

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "nuke"
FUNCTIONS = {
    "min": np.minimum, "max": np.maximum, "sqrt": np.sqrt, "log": np.log, "exp": np.exp, "pow": np.power,
    "__builtins__": {},
}  # fmt: skip


def evaluated(knobs: dict[str, str], inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The picture of a node's four expressions; in them, `r` is red of the input "", and `Ar` of the input "A"."""
    values = {f"{name}{c}": p[..., k] for name, p in inputs.items() for k, c in enumerate("rgba"[: p.shape[2]])}
    count = next(iter(inputs.values())).shape[2]
    # Nuke's expressions of these scripts mean the same in Python.
    return np.stack([eval(knobs[f"expr{k}"].strip('"'), FUNCTIONS | values) for k in range(count)], axis=-1)


def nuke_result(script: str, read: Callable[[str], np.ndarray], through: Callable[..., np.ndarray]) -> np.ndarray:
    """The result of a .nk script. A node takes its inputs from the top of the stack, the first on top.

    read(file name) and through(picture, coordinates) give (H, W, 3) or (H, W, 4).
    """
    stack: list[np.ndarray] = []
    kept: dict[str, np.ndarray] = {}
    lines = iter(script.splitlines())
    for line in lines:
        words = line.split()
        if line.startswith("#") or not words:
            continue
        if words[0] == "set":
            assert words[2:] == ["[stack", "0]"]
            kept[words[1]] = stack[-1]
        elif words[0] == "push":
            stack.append(kept[words[1].removeprefix("$")])
        else:
            assert words[1:] == ["{"]
            knobs = dict(knob.strip().split(" ", 1) for knob in iter(lines.__next__, "}"))
            inputs = [stack.pop() for _ in range(int(knobs.get("inputs", 1)))]
            stack.append(result(words[0], knobs, inputs, read, through))
    return stack[-1]


def result(
    node: str, knobs: dict[str, str], inputs: list[np.ndarray], read: Callable[[str], np.ndarray],
    through: Callable[..., np.ndarray],
) -> np.ndarray:  # fmt: skip
    if node == "Read":
        return read(knobs["file"])
    if node == "Expression":
        return evaluated(knobs, {"": inputs[0]})
    if node == "MergeExpression":
        return evaluated(knobs, {"B": inputs[0], "A": inputs[1]})
    if node == "STMap":
        return through(*inputs)
    assert node == "Merge2" and knobs["operation"] in ("multiply", "plus")
    return inputs[1] * inputs[0] if knobs["operation"] == "multiply" else inputs[1] + inputs[0]


def seen_through(still: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    height, width = still.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    fetch = [coordinates[..., 0] * width - 0.5 - x, height - 0.5 - coordinates[..., 1] * height - y]
    return warp(still, np.stack(fetch, axis=-1).astype(np.float32))


def test_the_nuke_script_rebuilds_the_loop(tmp_path: Path) -> None:
    script = EXAMPLES / "stmap_loop.nk"
    motion = field(40, 60, speed=1)
    pixels = np.random.default_rng(2).random((40, 60, 3), dtype=np.float32)
    export_flow(motion, tmp_path, "stmap", settings=FlowSettings(frames=12, numbers=[1004], **PLAIN))

    def read(name: str) -> np.ndarray:
        if name == "still.exr":
            return pixels
        channels = raw_channels(tmp_path / name.replace("####", "1004"))
        return np.stack([channels[c] for c in "RGB"], axis=-1)

    made = nuke_result(script.read_text("utf-8"), read, seen_through)
    assert np.abs(made - rebuilt(tmp_path, 1004, pixels)).max() < 1e-6
    moved = Loop(Plate(pixels, ("R", "G", "B")), motion, frames=12, contrast=0, **PLAIN).frame(3)
    assert np.abs(made - pixels).max() > 0.1 > np.abs(made - moved).mean()


@pytest.mark.parametrize("steady", [0.5, 0])
def test_the_nuke_script_of_layers_rebuilds_the_loop(tmp_path: Path, steady: float) -> None:
    """Of a plate with alpha, with values below 0 and above white."""
    motion, looks = field(40, 60, speed=0.3), {"cycles": 4, "steady": steady}
    pixels = np.random.default_rng(2).normal(0.6, 0.6, (40, 60, 4)).astype(np.float32)
    plate = Plate(pixels, ("R", "G", "B", "A"))
    chosen = FlowSettings(frames=12, numbers=[1004], **looks)
    export_flow(motion, tmp_path, "stmap", settings=chosen, plate=plate)
    made = subprocess.run(
        [sys.executable, str(EXAMPLES / "stmap_layers.py"), "still.exr", str(tmp_path / "motion"), "1004", "1004"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    def read(name: str) -> np.ndarray:
        if name == "still.exr":
            return pixels
        channels = raw_channels(Path(name.replace("####", "1004")))
        return np.stack([channels[c] for c in "RGBA"], axis=-1)

    frame = Loop(plate, motion, frames=12, contrast=0, **looks).frame(3)
    off = np.abs(nuke_result(made.stdout, read, seen_through) - frame)
    assert np.quantile(off, 0.9999) < 2e-3 and np.abs(frame - pixels).max() > 0.1
    assert ("Shift" in made.stdout) == (steady > 0)
    manual = (EXAMPLES.parents[1] / "docs" / "flow-maps.md").read_text("utf-8")
    expressions = re.findall(r'expr0 "(.+)"', made.stdout)
    assert len(expressions) == (4 if steady else 0) and all(f"`{text}`" in manual for text in expressions)
