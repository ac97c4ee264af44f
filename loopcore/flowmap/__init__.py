# SPDX-License-Identifier: Apache-2.0
"""Flow maps: conversion between the motion field and the conventions of other programs.

`export_flow` writes vectors for Nuke, Blender, Fusion, RSMB and game engines, and maps that rebuild the loop from the
still alone. `read_motion` reads all of these, and the files of Middlebury and KITTI. docs/flow-maps.md says how
each program uses them.
"""

from loopcore.flowmap.export import EXTRAS, PER_FRAME, STATIC, FlowSettings, export_flow
from loopcore.flowmap.reading import CONVENTIONS, FlowNumbers, detect, read_motion

__all__ = [
    "CONVENTIONS",
    "EXTRAS",
    "PER_FRAME",
    "STATIC",
    "FlowNumbers",
    "FlowSettings",
    "detect",
    "export_flow",
    "read_motion",
]
