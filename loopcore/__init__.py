# SPDX-License-Identifier: Apache-2.0
"""Loopcore: one still plate and its motion in, a seamlessly looping animated plate out.

The names below are the public ones. They are imported when first used, so that `import loopcore` stays light.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "EngineError": "errors",
    "LoopcoreError": "errors",
    "MotionError": "errors",
    "PlateError": "errors",
    "SequenceError": "errors",
    "Anchor": "motion",
    "Hints": "motion",
    "Loop": "loop",
    "MotionField": "motion",
    "Plate": "plate",
    "Recipe": "baking.recipe",
    "Stroke": "motion",
    "bake": "baking.bake",
    "export_flow": "flowmap",
    "check": "quality",
    "predict_motion": "motion.predict",
    "read_hints": "motion",
    "read_mask": "motion",
    "read_motion": "motion",
    "read_plate": "plate",
    "solve_motion": "motion",
    "transport": "",
    "write_hints": "motion",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'loopcore' has no attribute {name!r}")
    home = _HOMES[name]
    if not home:
        return importlib.import_module(f"loopcore.{name}")
    value = getattr(importlib.import_module(f"loopcore.{home}"), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """The package, where a public name wins over the module of that name, which its first import binds here."""

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
