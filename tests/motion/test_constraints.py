# SPDX-License-Identifier: Apache-2.0
"""Strokes and anchors on the cells of a grid."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loopcore.motion import Anchor, Stroke
from loopcore.motion.constraints import ANCHOR_WEIGHT, anchor_weights, resample_stroke, sample_strokes
from loopcore.motion.grid import build_grid


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 70), st.floats(-9, 50)), max_size=6), st.integers(0, 2))
def test_anchors_weigh_by_their_distance_to_each_cell(drawn: list[tuple[float, float]], margin: int) -> None:
    grid = build_grid(np.ones((40, 60), np.float32), 32 + margin, np.zeros((0, 2)))
    rows, columns = grid.shape
    expected = np.zeros((rows, columns), np.float32)
    for point in drawn:
        x, y = grid.to_cells(np.array(point))
        distance = np.hypot(np.arange(columns) - x, (np.arange(rows) - y)[:, None])
        expected = np.maximum(expected, (ANCHOR_WEIGHT * np.clip(2.0 - distance, 0, 1)).astype(np.float32))
    assert np.array_equal(anchor_weights(grid, tuple(Anchor(*point) for point in drawn)), expected)


def test_many_strokes_and_anchors_are_sampled() -> None:
    random = np.random.default_rng(3)
    starts = random.uniform(20, 80, (2000, 2))
    strokes = tuple(Stroke(np.array([start, start + (3, 1)])) for start in starts)
    anchors = tuple(Anchor(*point) for point in random.uniform(0, 100, (100_000, 2)).tolist())
    grid = build_grid(np.ones((400, 400), np.float32), 400, np.zeros((0, 2)))
    samples = sample_strokes(grid, [resample_stroke(stroke, 0.25) for stroke in strokes])
    lines = samples.polylines()
    assert anchor_weights(grid, anchors).max() == ANCHOR_WEIGHT
    assert len(lines) == 2000
    assert np.allclose([line.points[0] for line in lines], starts)
