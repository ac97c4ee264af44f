# SPDX-License-Identifier: Apache-2.0
"""Guided-filter masks: they follow the picture's edges, and do not depend on threads or bands."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from loopcore.motion.edges import apply_guided_filter, fit_guided_filter, smoothstep

SHARPEN = (0.35, 0.7)


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a picture with a slanted border between two colours, and the mask of one side."""
    y, x = np.mgrid[:height, :width] / np.float32(max(height, width))
    beyond = x + 0.3 * y > 0.55
    noise = np.random.default_rng(1).normal(0, 0.01, (height, width, 3))
    picture = np.where(beyond[..., None], (0.2, 0.45, 0.6), (0.5, 0.4, 0.3)) + noise
    return np.clip(picture, 0, 1).astype(np.float32), beyond


def test_a_blurred_mask_finds_the_border_at_full_size() -> None:
    from scipy.ndimage import gaussian_filter

    small, beyond = scene(90, 120)
    coarse = gaussian_filter(beyond.astype(np.float32), 4)
    slopes, offset = fit_guided_filter(coarse, small, radius=8)
    full, truth = scene(361, 481)
    mask = apply_guided_filter(slopes, offset, lambda a, b: full[a:b], full.shape[:2], SHARPEN)
    wrong = np.abs(mask - truth) > 0.5
    blurred = np.abs(np.kron(coarse, np.ones((4, 4)))[:361, :481] - truth[:360, :480]) > 0.05
    assert wrong.mean() < 0.005 < 0.03 < blurred.mean()
    assert (mask == 0).mean() > 0.3 and (mask == 1).mean() > 0.3


def test_coefficients_are_the_least_squares_fit() -> None:
    """He, Sun, Tang, equations 14 and 15: where the mask is linear in the guide, the fit is exact."""
    guide = np.random.default_rng(2).random((40, 50, 3), np.float32)
    line = np.array([0.5, -0.2, 0.3], np.float32)
    slopes, offset = fit_guided_filter(guide @ line + 0.2, guide, radius=6, epsilon=1e-7)
    assert np.allclose(slopes, line, atol=1e-3) and np.allclose(offset, 0.2, atol=1e-3)


@pytest.mark.parametrize("size", [(33, 7), (64, 95), (301, 90)])
def test_coefficients_are_enlarged_by_bilinear_interpolation(size: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    slopes, offset = random.random((20, 30, 3), np.float32), random.random((20, 30), np.float32)
    guide = random.random((*size, 3), np.float32) - np.float32(0.4)
    planes = torch.from_numpy(np.concatenate([slopes, offset[..., None]], axis=2)).permute(2, 0, 1)[None]
    dense = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)[0].numpy()
    expected = smoothstep((dense[:3] * guide.transpose(2, 0, 1)).sum(axis=0) + dense[3], *SHARPEN)
    found = apply_guided_filter(slopes, offset, lambda a, b: guide[a:b], size, SHARPEN)
    assert np.abs(found - expected).max() < 1e-4


def test_result_does_not_depend_on_threads() -> None:
    random = np.random.default_rng(4)
    slopes, offset = random.random((9, 12, 3), np.float32), random.random((9, 12), np.float32)
    guide = random.random((150, 200, 3), np.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(apply_guided_filter(slopes, offset, lambda a, b: guide[a:b], (150, 200), SHARPEN))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)


def test_ramp_ends_are_exact() -> None:
    ramp = smoothstep(np.array([-1, 0.35, 0.5, 0.7, 2], np.float32), *SHARPEN)
    assert ramp[[0, 1]].tolist() == [0, 0] and ramp[[3, 4]].tolist() == [1, 1] and 0 < ramp[2] < 1
