# SPDX-License-Identifier: Apache-2.0
"""Clips: their mean motion, and how guesses at it are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopcore.cli import main
from loopcore.errors import SequenceError
from loopcore.training.clips import read_clip
from loopcore.training.measure import evaluate_clips, similarity, table
from loopcore.training.video import find_clips


def texture(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).random((height, width, 3))
    smooth = gaussian_filter(noise, (2, 2, 0))
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip: still above, drifting right by 2 px a frame (4 at 640 px) below."""
    home = tmp_path_factory.mktemp("clips")
    (home / "drift").mkdir()
    ground, water = texture(1), texture(2)
    for t in range(6):
        ground[120:] = np.roll(water, 2 * t, axis=1)[120:]
        Image.fromarray(ground).save(home / "drift" / f"{t:03}.png")
    (home / "drift_mask").mkdir()
    return home


def test_clips_are_found_and_masks_are_not(clips: Path, tmp_path: Path) -> None:
    assert [path.name for path in find_clips(clips)] == ["drift"]
    with pytest.raises(SequenceError, match="holds no clips"):
        find_clips(tmp_path)
    assert main(["evaluate", str(tmp_path / "none")]) == 2


def test_the_mean_motion_of_a_drift(clips: Path) -> None:
    pytest.importorskip("cv2")
    clip = read_clip(clips / "drift")
    assert clip.frames.shape == (6, 480, 640, 3)
    assert np.median(clip.velocity[300:460, 100:540], axis=(0, 1)) == pytest.approx([4, 0], abs=0.2)
    assert clip.mask[280:].mean() > 0.9 and clip.mask[:200].mean() < 0.1
    assert clip.steadiness > 0.8


def test_each_method_is_scored(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    rows = {row.method: row for row in next(evaluate_clips(clips))[2]}
    assert rows["truth"].overlap == 1 and rows["truth"].scaled_error == 0 and rows["truth"].direction == (0, 0)
    assert rows["sideways"].axis[0] < 3 and rows["sideways"].direction[0] < 3
    assert rows["down"].axis[0] > 85
    assert rows["none"].overlap == 0 and rows["none"].axis == (45, 45) and rows["none"].scaled_error == 1
    assert rows["truth"].psnr > rows["none"].psnr
    assert rows["best one"].scaled_error <= rows["sideways"].scaled_error + 1e-6
    lines = table(list(rows.values()))
    assert len({len(line) for line in lines[:-9]}) <= 2 and "predicted" in "".join(lines)
    assert main(["evaluate", str(clips), "-o", str(tmp_path / "pictures")]) == 0
    assert "mean of 1 steady" in capsys.readouterr().out
    assert Image.open(tmp_path / "pictures" / "drift.png").size == (3 * 640, 480)


def test_similarity_is_one_for_equal_pictures_and_less_for_noise() -> None:
    picture = texture(3)[..., 0].astype(np.float64)
    assert similarity(picture, picture) == pytest.approx(1)
    noisy = picture + np.random.default_rng(1).normal(0, 20, picture.shape)
    assert similarity(picture, noisy) < 0.8
