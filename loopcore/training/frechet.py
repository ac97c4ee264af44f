# SPDX-License-Identifier: Apache-2.0
"""Frechet distance between features of two sets of pictures, inside a region.

Features are those of the shipped network's encoder (EfficientNet-Lite2) at strides 8 and 16; each cell of
stride 8 that lies in the region, in each picture, is a sample.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from loopcore.motion.deterministic import run_parallel
from loopcore.motion.estimate import shipped_network
from loopcore.motion.networks import MULTIPLE

if TYPE_CHECKING:
    from torch import Tensor

_CELL = 8  # pixels
_MIN_SHARE = 0.5  # of a cell's pixels that lie in the region
_MARGIN = 32  # pixels around the region that the encoder sees as well


def region_features(
    pictures: Sequence[np.ndarray], region: np.ndarray, on_picture: Callable[[], None] | None = None
) -> np.ndarray:
    """Computes the encoder's features in a region of pictures.

    Args:
        pictures: (h, w, 3) float32 sRGB codes 0..1 each.
        region: (h, w) bool.
        on_picture: called after each picture.

    Returns:
        (samples, channels) float64; no samples where no cell of 8 by 8 pixels lies mostly in the region.
    """
    window = bounding_window(region, _MARGIN)
    blocks = _padded(region[window].astype(np.float32), "constant")
    rows, columns = (side // _CELL for side in blocks.shape)
    cells = blocks.reshape(rows, _CELL, columns, _CELL).mean(axis=(1, 3)) >= _MIN_SHARE
    found = []
    for batch in _batches(pictures):
        tasks = [functools.partial(_cell_features, _padded(picture[window], "symmetric"), cells) for picture in batch]
        for features in run_parallel(tasks):
            found.append(features.numpy().astype(np.float64))
            if on_picture:
                on_picture()
    return np.concatenate(found)


def bounding_window(region: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Returns rows and columns that hold a region, (h, w) bool and not empty, and a margin of pixels around it."""
    spans = []
    for axis, length in enumerate(region.shape):
        there = np.flatnonzero(region.any(axis=1 - axis))
        spans.append(slice(max(0, int(there[0]) - margin), min(length, int(there[-1]) + 1 + margin)))
    return spans[0], spans[1]


def _batches(pictures: Sequence[np.ndarray]) -> Iterator[Sequence[np.ndarray]]:
    """As many pictures at a time as there are threads, so that a stop need not wait for all of them."""
    import torch

    size = max(1, torch.get_num_threads())
    for start in range(0, len(pictures), size):
        yield pictures[start : start + size]


def _padded(plane: np.ndarray, mode: str) -> np.ndarray:
    """Extends rows and columns to the multiple that the encoder needs."""
    pad = [(0, -length % MULTIPLE) for length in plane.shape[:2]] + [(0, 0)] * (plane.ndim - 2)
    return np.pad(plane, pad, mode=mode)  # type: ignore[call-overload]


def _cell_features(picture: np.ndarray, cells: np.ndarray) -> Tensor:
    import torch
    from torch.nn import functional as F

    planes = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32))[None]
    _, fine, coarse, _ = shipped_network().encoder(planes)
    coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
    inside = torch.from_numpy(cells)
    return torch.cat([fine[0], coarse[0]])[:, inside].T.contiguous()


def relative_distance(samples: np.ndarray, reference: np.ndarray) -> float:
    """:func:`frechet_distance` in units of the reference's standard deviation, channel by channel.

    So no channel counts for more because its numbers are large, and distances of different clips can be averaged.
    """
    if not len(reference):
        return float("nan")
    scale = reference.std(axis=0)
    scale[scale == 0] = 1
    return frechet_distance(samples / scale, reference / scale)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The Frechet distance of Gaussians fitted to two sets of samples: |ma - mb|^2 + tr(A + B - 2 (A B)^(1/2)).

    The covariances A and B are shrunk (:func:`shrunk_covariance`).

    Args:
        a, b: (samples, channels) each.

    Returns:
        The distance, in squared units of the features; NaN where a set has fewer than two samples.

    Source: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (NeurIPS 2017), equation 6; after Dowson and
    Landau, "The Frechet Distance between Multivariate Normal Distributions" (1982).
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    first, second = shrunk_covariance(a), shrunk_covariance(b)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # A B has the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    shift = a.mean(axis=0) - b.mean(axis=0)
    return max(0.0, float(shift @ shift + np.trace(first) + np.trace(second) - 2 * cross))


def shrunk_covariance(samples: np.ndarray) -> np.ndarray:
    """Covariance (channels, channels) of samples (n, channels), drawn towards a multiple of the identity.

    The fewer the samples, the more it is: (1 - w) S + w m I, with S the samples' covariance, m its mean variance and
    w = min(1, b^2 / d^2), where d^2 = |S - m I|^2 and b^2 = sum_k |x_k x_k^T - S|^2 / n^2 (Frobenius norms). The
    weight assumes independent samples; those of neighbouring cells are not, so it is the least that is due.

    Source: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices" (JMVA 2004).
    """
    n, channels = samples.shape
    centred = samples - samples.mean(axis=0)
    covariance = centred.T @ centred / n
    target = np.eye(channels) * (np.trace(covariance) / channels)
    spread = float(((covariance - target) ** 2).sum())
    # sum_k |x_k x_k^T - S|^2 = sum_k |x_k|^4 - n |S|^2
    error = float(((centred**2).sum(axis=1) ** 2).sum() - n * (covariance**2).sum()) / n**2
    weight = min(1.0, max(0.0, error) / spread) if spread > 0 else 1.0
    return (1 - weight) * covariance + weight * target
