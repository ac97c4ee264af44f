# SPDX-License-Identifier: Apache-2.0
"""Prints a Nuke script that rebuilds a loop of several layers, to be pasted into the Node Graph:

    python stmap_layers.py STILL.exr FOLDER/motion 1001 1060

where FOLDER has motion_stmap_1.1001.exr, motion_stmap_2.1001.exr, ... and, with steady looks, motion_shift.1001.exr, as
`loopcore flow motion.exr -o FOLDER --convention stmap --plate STILL.exr` writes them.

    mask = sum of the layers' alpha
    moving = sum of alpha * still seen through the layer / mask, its tone shifted
    frame = mask * moving + (1 - mask) * still
"""

import sys
from pathlib import Path

READ = """Read {{
 inputs 0
 file {file}
 first {first}
 last {last}
 before {outside}
 after {outside}
{raw} name {name}
}}
set {name} [stack 0]
"""
LAYER = """push ${layer}
Expression {{
 expr0 a
 expr1 a
 expr2 a
 expr3 a
 name {weight}
}}
set {weight} [stack 0]
push ${layer}
push $Still
STMap {{
 inputs 2
 channels rgba
 uv rgb
 filter Keys
 name Through{k}
}}
Merge2 {{
 inputs 2
 operation multiply
 name Part{k}
}}
"""
MERGE = """Merge2 {{
 inputs 2
 operation {operation}
 name {name}
}}
"""
TWO = """MergeExpression {{
 inputs 2
 expr0 "{0}"
 expr1 "{1}"
 expr2 "{2}"
 expr3 "{3}"
 name {name}
}}
"""
REST = """push $Mask
Expression {
 expr0 1-r
 expr1 1-g
 expr2 1-b
 expr3 1-a
 name Rest
}
push $Still
"""
# The plate's white is the alpha of the shift. Values of `Moving` that are not above 0 keep their value.
TONE = "(A{c} > 0) * (sqrt(max(0, min(A{c} / Ba, 1))) + 0.5 * log(max(A{c} / Ba, 1))) + min(A{c}, 0) / Ba"
SHIFT = "(A{c} > 0) * max(A{c} + B{c}, A{c} / 4) + min(A{c}, 0)"
LIGHT = "Ba * (pow(max(0, min(A{c}, 1)), 2) * exp(2 * (max(A{c}, 1) - 1)) + min(A{c}, 0))"


def script(still, maps, layers, steady, first, last):
    """Returns the script.

    Args:
        still: file of the still.
        maps: start of the maps' names.
        layers: number of layers.
        steady: whether there are shifts of tone.
        first: number of the first frame.
        last: number of the last frame.
    """
    made = _read(still, "Still", first, last, still=True)
    for k in range(1, layers + 1):
        made += _read(f"{maps}_stmap_{k}.####.exr", f"Layer{k}", first, last)
    for k in range(1, layers + 1):
        made += LAYER.format(layer=f"Layer{k}", weight=f"Weight{k}", k=k)
        made += MERGE.format(operation="plus", name=f"Sum{k}") if k > 1 else ""
    made += "set Sum [stack 0]\n"
    for k in range(1, layers + 1):
        made += f"push $Weight{k}\n"
        made += MERGE.format(operation="plus", name=f"Masks{k}") if k > 1 else ""
    made += "set Mask [stack 0]\npush $Sum\n"
    if steady:
        made += "push $Mask\n"
        made += TWO.format(*(f"A{c} / max(B{c}, 1e-9)" for c in "rgba"), name="Moving")
        made += _read(f"{maps}_shift.####.exr", "Shift", first, last)
        made += TWO.format(*_channels(TONE), name="Tone") + "push $Shift\n"
        made += TWO.format(*_channels(SHIFT), name="Shifted") + "push $Shift\n"
        made += TWO.format(*_channels(LIGHT), name="Light") + "push $Mask\n"
        made += MERGE.format(operation="multiply", name="MovingPart")
    made += REST + MERGE.format(operation="multiply", name="RestPart")
    return made + MERGE.format(operation="plus", name="Loop")


def _read(file, name, first, last, still=False):
    return READ.format(
        file=file, name=name, first=first, last=last, outside="hold" if still else "loop",
        raw="" if still else " raw true\n",
    )  # fmt: skip


def _channels(expression):
    """The expression for red, green and blue; alpha stays."""
    return *(expression.format(c=c) for c in "rgb"), "Aa"


def main():
    still, maps, first, last = sys.argv[1:]
    layers = 0
    while Path(f"{maps}_stmap_{layers + 1}.{int(first):04d}.exr").is_file():
        layers += 1
    if not layers:
        sys.exit(f"{maps}_stmap_1.{int(first):04d}.exr does not exist: for {maps}_stmap_past use stmap_loop.nk")
    steady = Path(f"{maps}_shift.{int(first):04d}.exr").is_file()
    print(script(still, maps, layers, steady, first, last), end="")


if __name__ == "__main__":
    main()
