# SPDX-License-Identifier: Apache-2.0
"""Import modules of the add-on that do not need Blender, without the package's __init__, which does."""

import importlib
import sys
import types
from pathlib import Path

_NAME = "loopcore_addon_without_blender"
FOLDER = Path(__file__).resolve().parents[2] / "addon"


def module(name: str) -> types.ModuleType:
    """Import a module of the add-on, including its relative imports."""
    if _NAME not in sys.modules:
        package = types.ModuleType(_NAME)
        package.__path__ = [str(FOLDER)]
        sys.modules[_NAME] = package
    return importlib.import_module(f"{_NAME}.{name}")
