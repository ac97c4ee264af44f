# SPDX-License-Identifier: Apache-2.0
"""Loopcore turns a still plate and its motion into a seamlessly looping animated plate.

The public names are imported on first use, so that `import loopcore` stays fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loopcore import animate, preview, transport
    from loopcore.baking.bake import BakeResult, bake
    from loopcore.baking.frame_rate import frame_rate
    from loopcore.baking.recipe import Recipe
    from loopcore.errors import EngineError, LoopcoreError, MotionError, PlateError, SequenceError
    from loopcore.flowmap import FlowNumbers, FlowSettings, export_flow, read_motion
    from loopcore.loop import Loop
    from loopcore.motion import (
        Anchor,
        Flip,
        Hints,
        MotionField,
        Stroke,
        read_hints,
        read_mask,
        solve_motion,
        write_hints,
    )
    from loopcore.motion.predict import predict_motion
    from loopcore.plate import Plate, read_plate
    from loopcore.preview import preview_sequence
    from loopcore.quality import QualityReport, check

__version__ = "0.1.0"

# The module of each public name; "" for names that are modules.
_MODULES = {
    "Anchor": "motion",
    "BakeResult": "baking.bake",
    "EngineError": "errors",
    "Flip": "motion",
    "FlowNumbers": "flowmap",
    "FlowSettings": "flowmap",
    "Hints": "motion",
    "Loop": "loop",
    "LoopcoreError": "errors",
    "MotionError": "errors",
    "MotionField": "motion",
    "Plate": "plate",
    "PlateError": "errors",
    "QualityReport": "quality",
    "Recipe": "baking.recipe",
    "SequenceError": "errors",
    "Stroke": "motion",
    "animate": "",
    "bake": "baking.bake",
    "check": "quality",
    "export_flow": "flowmap",
    "frame_rate": "baking.frame_rate",
    "predict_motion": "motion.predict",
    "preview": "",
    "preview_sequence": "preview",
    "read_hints": "motion",
    "read_mask": "motion",
    "read_motion": "flowmap",
    "read_plate": "plate",
    "solve_motion": "motion",
    "transport": "",
    "write_hints": "motion",
}

__all__ = [
    "Anchor",
    "BakeResult",
    "EngineError",
    "Flip",
    "FlowNumbers",
    "FlowSettings",
    "Hints",
    "Loop",
    "LoopcoreError",
    "MotionError",
    "MotionField",
    "Plate",
    "PlateError",
    "QualityReport",
    "Recipe",
    "SequenceError",
    "Stroke",
    "__version__",
    "animate",
    "bake",
    "check",
    "export_flow",
    "frame_rate",
    "predict_motion",
    "preview",
    "preview_sequence",
    "read_hints",
    "read_mask",
    "read_motion",
    "read_plate",
    "solve_motion",
    "transport",
    "write_hints",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'loopcore' has no attribute {name!r}")
    module = _MODULES[name]
    if not module:
        return importlib.import_module(f"loopcore.{name}")
    value = getattr(importlib.import_module(f"loopcore.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
