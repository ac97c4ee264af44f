# SPDX-License-Identifier: Apache-2.0
"""Blending as Photoshop does, written from the formula: a second opinion for tests of documents' layers."""

import numpy as np

BLENDS = {
    "normal": lambda below, above: above,
    "multiply": lambda below, above: below * above,
    "screen": lambda below, above: below + above - below * above,
}


def over(result: np.ndarray, above: np.ndarray, alpha: np.ndarray, blend: str) -> np.ndarray:
    """Blends colour over a picture (PDF 1.7, 11.3.6).

    Args:
        result: (H, W, 4) straight colour 0..1 in the document's encoding, and alpha.
        above: (H, W, 3), likewise.
        alpha: (H, W, 1) of `above`.
        blend: a key of `BLENDS`.
    """
    below, under = result[..., :3], result[..., 3:]
    union = alpha + under - alpha * under
    mixed = (1 - under) * above + under * BLENDS[blend](below, above)
    light = (under * (1 - alpha) * below + alpha * mixed) / np.maximum(union, 1e-9)
    return np.concatenate([light, union], axis=2)
