# SPDX-License-Identifier: Apache-2.0
"""Backdrops: smooth behind a part of the picture, deterministic."""

from __future__ import annotations

import numpy as np

from loopcore.training.backdrops import add_backdrop


def test_a_part_stays_and_the_rest_is_smooth() -> None:
    picture = np.random.default_rng(1).random((96, 128, 3), np.float32)
    rough = np.abs(np.diff(picture, axis=1)).mean()
    kept = []
    for seed in range(30):
        found = add_backdrop(picture, np.random.default_rng(seed))
        assert found.dtype == np.float32 and found.shape == picture.shape and 0 <= found.min() <= found.max() <= 1
        assert np.array_equal(found, add_backdrop(picture, np.random.default_rng(seed)))
        back = (np.abs(found - picture) > 0.05).mean(axis=-1) > 0.5
        kept.append(1 - back.mean())
        both = back[:, 1:] & back[:, :-1]
        if both.sum() > 100:
            assert np.abs(np.diff(found, axis=1))[both].mean() < 0.7 * rough
    assert 0.1 < np.mean(kept) < 0.8 and np.ptp(kept) > 0.2


def test_pictures_of_one_shade_stay_finite() -> None:
    for seed in range(10):
        assert np.isfinite(add_backdrop(np.zeros((32, 32, 3), np.float32), np.random.default_rng(seed))).all()
