# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# what fails in it says with which values, as in a test
pytest.register_assert_rewrite("_workers")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Folder of real files to test against (``$LOOPCORE_DATA``, else beside the checkout).

    Where it is absent: skips, but fails in CI (``CI=true``), where nobody would notice what was not tested.
    """
    named = os.environ.get("LOOPCORE_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        absent = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        absent(f"no test data at {folder}: set LOOPCORE_DATA to a folder that has it")
    return folder
