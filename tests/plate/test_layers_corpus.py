# SPDX-License-Identifier: Apache-2.0
"""Real files all the way round with all their layers: read, animated, written, and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loopcore.baking.bake import bake
from loopcore.errors import PlateError
from loopcore.exr import ExrPart, read_exr
from loopcore.exr.windows import place
from loopcore.loop import Loop
from loopcore.motion import MotionField
from loopcore.plate import Plate, read_plate
from loopcore.plate.carried import LOSSY

# By what each shows: parts, views and depth of different windows; several views in one part; tiles of one level and of
# several; luminance alone; half and float in one part; every display window; NaN and Inf; lossy compression.
FILES = [
    "valid/Beachball/multipart.0006.exr", "valid/Beachball/singlepart.0006.exr", "valid/MultiView/Fog.exr",
    "valid/Tiles/GoldenGate.exr", "valid/MultiResolution/Bonita.exr", "valid/LuminanceChroma/Garden.exr",
    "valid/Chromaticities/XYZ_YC.exr", "openexr-test/v1.7.test.1.exr", "openexr-test/v1.7.test.tiled.exr",
    "openexr-test/tiled_with_deeptile_type.exr", *(f"valid/DisplayWindow/t{n:02}.exr" for n in (1, 5, 9, 16)),
    "valid/TestImages/BrightRingsNanInf.exr", "valid/TestImages/WideFloatRange.exr", "valid/ScanLines/Cannon.exr",
]  # fmt: skip
REFUSED = {
    "openexr-test/11.deep.exr": "deep pixels",
    "valid/v2/LowResLeftView/Trunks.exr": "deep pixels",
    "openexr-test/invalid_shared_attrs_multipart.exr": "it is cut short",
}


def moving(plate: Plate) -> MotionField:
    """A current through the middle of the plate: a small window, so that large files are quick."""
    height, width = plate.height, plate.width
    mask = np.zeros((height, width), np.float32)
    mask[height // 2 - 20 : height // 2 + 20, width // 2 - 20 : width // 2 + 20] = 1
    mask[height // 2 + 20 : height // 2 + 24, width // 2 - 20 : width // 2 + 20] = 0.5
    return MotionField(np.full((height, width, 2), 1.5, np.float32), mask, np.ones_like(mask))


def structure(parts: list[ExrPart], chroma: bool = False) -> list[object]:
    found: list[object] = []
    for part in parts:
        channels = {name: values.dtype for name, values in part.channels.items()}
        if chroma:  # written as R, G and B, as the library cannot write subsampled channels
            assert channels.keys() == {"Y", "RY", "BY"}
            channels = dict.fromkeys(("B", "G", "R"), channels["Y"])
        compression = "zip" if part.compression in LOSSY else part.compression
        found.append((part.name, channels, part.data_window, part.display_window, part.tiles, compression))
    return found


@pytest.mark.parametrize("name", FILES)
def test_all_the_way_round(corpus: Path, tmp_path: Path, name: str) -> None:
    plate = read_plate(corpus / "exr" / name, layers="all")
    motion = moving(plate)
    assert not bake(Loop(plate, motion, frames=3, device="cpu"), tmp_path, "loop").failed
    source, chroma = read_exr(corpus / "exr" / name), name.endswith("_YC.exr")
    for number in (1001, 1002, 1003):
        parts = read_exr(tmp_path / f"loop.{number}.exr")
        assert structure(parts) == structure(source, chroma)
        for part, before in zip(parts, source, strict=True):
            carried = {key: value for key, value in before.attributes.items() if key != "timeCode"}
            assert all(part.attributes[key] == value for key, value in carried.items() if key != "framesPerSecond")
            still = ~place(motion.mask > 0, plate.windows.data, part.data_window)
            for key, values in part.channels.items():
                stored = before.channels[key] if not chroma else None
                if stored is None:
                    pixels = place(plate.pixels, plate.windows.data, part.data_window)
                    stored = pixels[..., plate.channels.index(key)].astype(values.dtype)
                unlike = (values != stored) & ~((values != values) & (stored != stored))
                assert not unlike[still].any(), key
    again = read_plate(tmp_path / "loop.1002.exr")
    assert again.channels == plate.channels and again.windows == plate.windows
    assert np.isfinite(again.pixels[motion.mask == 1]).all()


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_refused(corpus: Path, name: str, reason: str) -> None:
    with pytest.raises(PlateError, match=reason) as refusal:
        read_plate(corpus / "exr" / name, layers="all")
    assert str(corpus / "exr" / name) in str(refusal.value) and str(refusal.value).count("\n") == 0
