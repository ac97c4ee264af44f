# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of previews: reading picture files."""

from pathlib import Path

import numpy as np


def read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
