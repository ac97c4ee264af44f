# SPDX-License-Identifier: Apache-2.0
"""The kernels that carry layers, against plain arithmetic: lookups, storing, data, ids; halves as float32."""

from __future__ import annotations

import numpy as np
import pytest

from loopcore.exr import as_stored
from loopcore.loop import carrying, storing
from loopcore.loop.carrying import Region
from loopcore.loop.packing import local_means
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.transport import warp

HEIGHT, WIDTH, STEP = 21, 34, 3
# Far beyond the border, so that footprints lie inside, across it, and wholly in the mirrored picture.
REACH = 40


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def spans(mask: np.ndarray) -> np.ndarray:
    rows = [np.flatnonzero(row > 0) for row in mask]
    return np.array([(row[0], row[-1] + 1) if row.size else (0, 0) for row in rows], np.int64)


@pytest.fixture(scope="module")
def mask(random: np.random.Generator) -> np.ndarray:
    mask = np.clip(random.random((HEIGHT, WIDTH)) * 2 - 0.5, 0, 1).astype(np.float32)
    mask[4], mask[:, :2] = 0, 0
    return mask


def nodes_of(shifts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Nodes of copies displaced alike everywhere: (copies, 2) in pixels, and their weights."""
    rows, columns = -(-(HEIGHT - 1) // STEP) + 1, -(-(WIDTH - 1) // STEP) + 1
    grid = np.zeros((rows, columns, COPY * len(shifts) + SHIFT), np.float32)
    for k, (shift, weight) in enumerate(zip(shifts, weights, strict=True)):
        grid[..., COPY * k : COPY * k + 2], grid[..., COPY * k + 2] = shift, weight
    return grid


@pytest.fixture(scope="module", params=[(3.3, -1.6), (REACH + 0.25, 7.5), (-19.4, -REACH - 0.75), (0.5, 0)], ids=str)
def grid(request: pytest.FixtureRequest) -> np.ndarray:
    return nodes_of(np.array([request.param, (-1.25, 2.5)], np.float32), np.array([0.25, 0.75], np.float32))


def fetched(values: np.ndarray, guide: np.ndarray, grid: np.ndarray, mask: np.ndarray, region: Region) -> list:
    shape = region.bottom - region.top, region.right - region.left
    moved, reference = np.zeros((*shape, values.shape[2]), np.float32), np.zeros((*shape, 4), np.float32)
    carrying.fetch(values, guide, grid, STEP, mask, spans(mask), region, moved.reshape(-1), reference.reshape(-1))
    return [moved, reference]


def warped(picture: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The weighted mean of the copies, by the reference's clamped cubic lookups."""
    out = np.zeros(picture.shape, np.float64)
    for k in range(0, grid.shape[2] - SHIFT, COPY):
        shift = np.ascontiguousarray(np.broadcast_to(grid[0, 0, k : k + 2], (HEIGHT, WIDTH, 2)))
        out += grid[0, 0, k + 2] * warp(picture, shift, backend="reference")
    return out


@pytest.mark.parametrize("layers", [1, 2, 3, 6])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_layers_equal_to_the_guide_come_out_as_clamped_lookups_of_it(
    random: np.random.Generator, mask: np.ndarray, grid: np.ndarray, layers: int, dtype: type
) -> None:
    guide = random.normal(size=(HEIGHT, WIDTH, 4)).astype(np.float16).astype(np.float32)
    guide[7:9, 11:13] = 40  # lookups near it are limited
    factors = 2.0 ** np.arange(layers)  # of powers of 2: halves of them are exact, and so are the limits
    values = np.concatenate([guide * factor for factor in factors], axis=2).astype(dtype)
    region = Region(2, HEIGHT, 5, WIDTH - 1)
    moved, reference = fetched(values, guide, grid, mask, region)
    inside = mask[region.top : region.bottom, region.left : region.right] > 0
    wanted = warped(guide, grid)[region.top : region.bottom, region.left : region.right]
    # Where the clamp acts, lookups are limited more than it does, towards the bilinear ones.
    assert (np.abs(reference - wanted) < 1e-4)[inside].mean() > 0.9
    assert guide.min() - 1e-5 <= reference[inside].min() and reference[inside].max() <= guide.max() + 1e-5
    for k, factor in enumerate(factors):
        np.testing.assert_array_equal(moved[..., 4 * k : 4 * k + 4][inside], factor * reference[inside])


def test_lookups_of_layers_are_linear_and_do_not_depend_on_the_pack_or_region(
    random: np.random.Generator, mask: np.ndarray, grid: np.ndarray
) -> None:
    guide = random.normal(size=(HEIGHT, WIDTH, 4)).astype(np.float32)
    share = random.random((HEIGHT, WIDTH, 4)).astype(np.float32)
    parts = [share * guide, (1 - share) * guide]
    whole = Region(0, HEIGHT, 0, WIDTH)
    moved, reference = fetched(np.concatenate([*parts, guide], axis=2), guide, grid, mask, whole)
    inside = mask > 0
    np.testing.assert_allclose((moved[..., :4] + moved[..., 4:8])[inside], reference[inside], atol=1e-5)
    alone, _ = fetched(parts[1], guide, grid, mask, whole)
    np.testing.assert_array_equal(alone[inside], moved[..., 4:8][inside])
    corner, _ = fetched(parts[1], guide, grid, mask, Region(9, 20, 13, 31))
    np.testing.assert_array_equal(corner[inside[9:20, 13:31]], alone[9:20, 13:31][inside[9:20, 13:31]])


def test_squeezed_lookups_are_means_along_the_axis(random: np.random.Generator, mask: np.ndarray) -> None:
    """Of a picture that is linear along x, which means leave as it is, and random along y."""
    guide = np.repeat(random.normal(size=(HEIGHT, 1, 4)), WIDTH, axis=1).astype(np.float32)
    plain = nodes_of(np.array([(0.4, 0.3)], np.float32), np.array([1], np.float32))
    across, along = plain.copy(), plain.copy()
    across[..., 3], along[..., 4] = 2.5, 2.5
    values = np.concatenate([guide, -guide], axis=2)
    found = [fetched(values, guide, nodes, mask, Region(0, HEIGHT, 0, WIDTH)) for nodes in (plain, across, along)]
    inside = mask > 0
    np.testing.assert_allclose(found[1][1][inside], found[0][1][inside], atol=1e-5)
    assert np.abs(found[2][1] - found[0][1])[inside].max() > 0.5
    for moved, reference in found:
        np.testing.assert_array_equal(moved[inside], np.concatenate([reference, -reference], axis=2)[inside])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_put_stores_as_exr_does(random: np.random.Generator, mask: np.ndarray, dtype: type) -> None:
    values = (10.0 ** random.uniform(-9, 6, (HEIGHT, WIDTH, 8))).astype(np.float32) * random.choice([-1, 1], 8)
    values = values.astype(np.float32)
    values[9, :6, 5] = np.nan, np.inf, -np.inf, 65519, 65520, -1e30
    mask = mask.copy()
    mask[9, :6] = 1
    window, part = (10, 20, 10 + WIDTH - 1, 20 + HEIGHT - 1), (13, 15, 60, 35)
    out = np.full((21, 48), 7, dtype)
    whole = Region(0, HEIGHT, 0, WIDTH)
    storing.put(values.reshape(-1), 8, 5, mask, spans(mask), whole, out, storing.box_of(part, window))
    wanted = np.full((21, 48), 7, dtype)
    inside = mask[:16, 3:] > 0
    wanted[5:21, : WIDTH - 3][inside] = as_stored(values[:16, 3:, 5], dtype)[inside]
    np.testing.assert_array_equal(out, wanted)


def bilinear(values: np.ndarray, grid: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of bilinear lookups in the mirrored picture, of the finite values only, over the still."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    total, weights = np.zeros((HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
    padded = np.pad(values.astype(np.float64), 3 * REACH, mode="reflect")
    for k in range(0, grid.shape[2] - SHIFT, COPY):
        u, v = x + grid[0, 0, k], y + grid[0, 0, k + 1]
        for i in range(2):
            for j in range(2):
                column, row = np.floor(u).astype(int) + i, np.floor(v).astype(int) + j
                w = grid[0, 0, k + 2] * (1 - np.abs(u - column)) * (1 - np.abs(v - row))
                value = padded[row + 3 * REACH, column + 3 * REACH]
                counts = np.isfinite(value) & (w > 0)
                total += np.where(counts, w * np.where(counts, value, 0), 0)
                weights += np.where(counts, w, 0)
    still = values.astype(np.float64)
    mean = np.where(weights > 0, total / np.where(weights > 0, weights, 1), still)
    with np.errstate(invalid="ignore"):
        return np.where((mask < 1) & np.isfinite(still) & (weights > 0), still + mask * (mean - still), mean)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("holes", [False, True])
def test_data_are_bilinear_means_of_what_is_finite(
    random: np.random.Generator, mask: np.ndarray, grid: np.ndarray, dtype: type, holes: bool
) -> None:
    values = random.normal(size=(HEIGHT, WIDTH)).astype(dtype)
    if holes:
        values[random.random(values.shape) < 0.3] = np.inf
    out, window = values.copy(), (0, 0, WIDTH - 1, HEIGHT - 1)
    storing.data(values, grid, STEP, mask, spans(mask), not holes, out, storing.box_of(window, window))
    wanted = np.where(mask > 0, bilinear(values, grid, mask), values.astype(np.float64))
    np.testing.assert_allclose(out.astype(np.float64), wanted, atol=2e-3 if dtype == np.float16 else 1e-5)
    np.testing.assert_array_equal(out[mask <= 0], values[mask <= 0])


def test_ids_come_whole_from_the_copy_that_shows_most(random: np.random.Generator, mask: np.ndarray) -> None:
    grid = nodes_of(np.array([(5.2, -3.4), (1, 1)], np.float32), np.array([0.7, 0.3], np.float32))
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint32).reshape(HEIGHT, WIDTH)
    out, window = values.copy(), (0, 0, WIDTH - 1, HEIGHT - 1)
    places = storing.sources(grid, STEP, mask, spans(mask))
    storing.ids(values, places, mask, spans(mask), out, storing.box_of(window, window))
    padded = np.pad(values, 8, mode="reflect")
    shown = padded[8 - 3 : 8 - 3 + HEIGHT, 8 + 5 : 8 + 5 + WIDTH]
    np.testing.assert_array_equal(out, np.where(mask * np.float32(0.7) > 1 - mask, shown, values))


def test_local_means_of_packs_are_those_of_their_layers(random: np.random.Generator) -> None:
    values = random.normal(size=(HEIGHT, WIDTH, 8)).astype(np.float16)
    means = local_means(values, 4)
    np.testing.assert_array_equal(means[..., 4:], local_means(np.ascontiguousarray(values[..., 4:]), 4))
    np.testing.assert_allclose(local_means(np.full_like(values, 2), 4), 2, rtol=1e-6)
