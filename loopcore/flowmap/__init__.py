# SPDX-License-Identifier: Apache-2.0
"""Flow maps: the one place where our motion meets the conventions of other programs.

`export_flow` writes what Nuke, Blender, Fusion, RSMB and game engines read, and maps that rebuild the loop from the
still alone; `read_motion` reads each of them back, and Middlebury's and KITTI's files too. docs/flow-maps.md says
what to plug where.
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
