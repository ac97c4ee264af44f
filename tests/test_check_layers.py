# SPDX-License-Identifier: Apache-2.0
"""The check of import layers and licence lines that every change has to pass."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[1] / ".ci" / "check_layers.py"
SPDX = "# SPDX-License-Identifier: Apache-2.0\n"
GPL = "# SPDX-License-Identifier: GPL-3.0-or-later\n"


def check(root: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(CHECK), str(root)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small tree that keeps all the rules."""
    sources = {
        "loopcore/__init__.py": "from loopcore.baking.bake import bake\n__version__ = '1'\n",
        "loopcore/errors.py": "",
        "loopcore/files/ranges.py": "from loopcore.errors import SequenceError\n",
        "loopcore/plate/__init__.py": "from loopcore.plate.plate import Plate\n",
        "loopcore/plate/plate.py": "import loopcore.files.ranges\nfrom .. import errors\nfrom . import icc\n",
        "loopcore/plate/icc.py": "from loopcore.errors import PlateError\n",
        "loopcore/motion/__init__.py": "from loopcore.motion.field import MotionField\n",
        "loopcore/motion/field.py": "from ..plate import Plate\n",
        "loopcore/motion/solve.py": "from .field import MotionField\nfrom loopcore.motion import field\n",
        "loopcore/baking/recipe.py": "from loopcore import __version__\nfrom loopcore.motion import MotionField\n",
        "loopcore/baking/bake.py": "def bake():\n    from loopcore.baking import recipe\n",
        "loopcore/animate.py": "from loopcore.baking.bake import bake\n",
        "loopcore/training/__init__.py": "from loopcore.motion.field import MotionField\n",
        "loopcore/cli/main.py": "import loopcore\nfrom loopcore import animate, training, Plate\n",
    }
    for name, text in sources.items():
        write(tmp_path, name, text)
    return tmp_path


def write(root: Path, name: str, text: str, licence: str = SPDX) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(licence + text, encoding="utf-8")


def test_a_tidy_house_passes(house: Path) -> None:
    assert check(house) == (0, "layers and licences: fine\n")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("loopcore/files/ranges.py", "from loopcore.motion.field import MotionField\n", "an import upward"),
        ("loopcore/plate/plate.py", "def read():\n    import loopcore.baking.bake\n", "an import upward"),
        ("loopcore/motion/field.py", "from ..baking import recipe\n", "an import upward"),
        ("loopcore/motion/field.py", "from ..cli.main import main\n", "an import upward"),
        ("loopcore/baking/bake.py", "from loopcore import animate\n", "an import upward"),
        ("loopcore/plate/plate.py", "from loopcore import Plate\n", "not the package"),
        ("loopcore/plate/plate.py", "import loopcore\n", "not the package"),
        ("loopcore/errors.py", "def f():\n    from loopcore import plate\n", "an import upward"),
        ("loopcore/plate/icc.py", "from loopcore.plate.plate import Plate\n", "circle of imports"),
        ("loopcore/motion/field.py", "def f():\n    from .solve import solve\n", "circle of imports"),
        ("loopcore/plate/icc.py", "from loopcore.baking.recipe import Recipe\n", "an import upward"),
        ("loopcore/_utilities.py", "import loopcore.errors\n", "stands in no layer"),
        ("loopcore/utilities.py", "import loopcore.errors\n", "stands in no layer"),
        ("loopcore/baking/bake.py", "from loopcore import training\n", "only the command line"),
        ("loopcore/training/train.py", "from loopcore.baking.bake import bake\n", "below baking"),
        ("addon/panels.py", "import torch\n", "inside Blender only"),
        ("addon/panels.py", "from loopcore import Plate\n", "inside Blender only"),
    ],
)
def test_a_broken_rule_is_named_with_its_place(house: Path, name: str, text: str, problem: str) -> None:
    write(house, name, text, GPL if name.startswith("addon") else SPDX)
    code, said = check(house)
    assert code == 1
    assert problem in said
    assert problem == "circle of imports" or str(Path(name)) in said


def test_a_circle_inside_the_addon_is_found(house: Path) -> None:
    write(house, "addon/__init__.py", "from . import panels\n", GPL)
    write(house, "addon/panels.py", "from . import runtime\n", GPL)
    write(house, "addon/runtime.py", "def stop():\n    from .panels import draw\n", GPL)
    code, said = check(house)
    assert code == 1 and "circle of imports: addon.panels -> addon.runtime -> addon.panels" in said


def test_a_circle_between_rooms_of_the_addon_is_found(house: Path) -> None:
    """Although no module imports itself by way of others."""
    for room in ("plane", "engine"):
        write(house, f"addon/{room}/__init__.py", "", GPL)
    write(house, "addon/plane/image.py", "from ..engine.lock import Lock\n", GPL)
    write(house, "addon/plane/map.py", "", GPL)
    write(house, "addon/engine/tasks.py", "from ..plane import map\n", GPL)
    write(house, "addon/engine/lock.py", "", GPL)
    code, said = check(house)
    assert code == 1 and "circle of rooms: addon.engine -> addon.plane -> addon.engine" in said
    assert "circle of imports" not in said


def test_blender_and_the_standard_library_are_the_addons(house: Path) -> None:
    write(
        house, "addon/__init__.py", "import bpy, json\nfrom bpy.props import IntProperty\nfrom . import panels\n", GPL
    )
    write(house, "addon/panels.py", "import mathutils\n", GPL)
    assert check(house)[0] == 0


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("loopcore/baking/bake.py", ""),
        ("tests/test_bake.py", "# SPDX-License-Identifier: MIT\n"),
        ("addon/panels.py", SPDX),
        (".ci/tool.py", ""),
        ("Makefile", ""),
        ("setup.py", ""),
    ],
)
def test_a_missing_or_wrong_licence_line_is_named(house: Path, name: str, licence: str) -> None:
    write(house, name, "x = 1\n", licence)
    code, said = check(house)
    assert code == 1
    assert f"{Path(name)}:1: begin with" in said
