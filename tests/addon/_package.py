# SPDX-License-Identifier: Apache-2.0
"""Modules of the add-on that need no Blender, imported without the package's own start, which does."""

import importlib
import sys
import types
from pathlib import Path

_NAME = "loopcore_addon_without_blender"
FOLDER = Path(__file__).resolve().parents[2] / "addon"


def module(name: str) -> types.ModuleType:
    """One of the add-on's modules, with the relative imports in it."""
    if _NAME not in sys.modules:
        package = types.ModuleType(_NAME)
        package.__path__ = [str(FOLDER)]
        sys.modules[_NAME] = package
    return importlib.import_module(f"{_NAME}.{name}")
