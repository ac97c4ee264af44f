# SPDX-License-Identifier: Apache-2.0
"""Comparison of predicted motion with motion fields that another program gave for the same stills.

Neither is the truth: the scores of :mod:`loopcore.training.motion_scores` measure their disagreement.

Convention: a field ``NAME.npy`` is (2, 512, 512) float16: u right and v down, up to a scale, for the square still
``NAME.png`` or ``NAME.jpg`` at 512 x 512.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import LoopcoreError, MotionError, PlateError
from loopcore.files.regular import TEXT, open_regular
from loopcore.image import open_picture
from loopcore.training.evaluate_motion import check_weights, frame_to_plate, predicted_or_none
from loopcore.training.mean_flow import MIN_RELATIVE_SPEED
from loopcore.training.motion_means import method_means
from loopcore.training.motion_scores import MethodScore, Truth, score
from loopcore.training.report import score_head, score_line, score_values, without_nan
from loopcore.training.run_log import Sheet, flow_colours
from loopcore.training.video import PICTURES

SIDE = 512  # pixels


def evaluate_peers(
    stills: Path, fields: Path, weights: Path | None = None, on_progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[str, MethodScore | None, str, Sheet]]:
    """Compares the prediction for each still with the field of the same name.

    Args:
        stills: folder of pictures, in subfolders of any depth.
        fields: folder of ``NAME.npy``.
        weights: of the user's own network; by default the shipped one.
        on_progress: called with (done, total).

    Yields:
        Name, disagreement, remark and picture (still, their motion, ours); without disagreement and picture, the remark
        says why.

    Raises:
        MotionError: no fields, or weights that cannot be read.
    """
    paths = sorted(fields.glob("*.npy"))
    if not paths:
        raise MotionError(f"'{fields}' has no fields NAME.npy")
    check_weights(weights)
    for done, path in enumerate(paths, 1):
        try:
            compared = compare_peer(_still(stills, path.stem), path, weights)
            yield path.stem, compared[0], "", compared[1]
        except LoopcoreError as error:
            yield path.stem, None, str(error), []
        if on_progress:
            on_progress(done, len(paths))


def _still(folder: Path, name: str) -> Path:
    for path in sorted(folder.rglob("*")):
        if path.stem == name and path.suffix.lower() in PICTURES:
            return path
    raise MotionError(f"'{folder}' has no picture {name} ({', '.join(PICTURES)})")


def compare_peer(still: Path, npy: Path, weights: Path | None = None) -> tuple[MethodScore, Sheet]:
    """Compares predicted motion with another field: the score's ``scale`` is their px per px of ours.

    Their motion is where it is faster than 15 % of its fast flow (95th percentile), as in clips; all other pixels count
    as still.

    Args:
        still: a square picture.
        npy: their field for it.
        weights: of the user's own network; by default the shipped one.

    Raises:
        MotionError: not such a field.
        PlateError: the picture cannot be read, or is not square.
    """
    theirs, picture = read_peer(npy), _square(still)
    speed = np.hypot(theirs[..., 0], theirs[..., 1])
    moving = speed > MIN_RELATIVE_SPEED * float(np.quantile(speed, 0.95))
    ours = predicted_or_none(frame_to_plate(picture), weights)
    none = np.zeros_like(theirs)
    velocity, mask = (none, speed < 0) if ours is None else (ours.velocity, ours.mask > 0.5)
    found = score("predicted", Truth(theirs, moving, ~moving), velocity, mask)
    shown = none if ours is None else ours.effective
    return found, [[picture, flow_colours(theirs * moving[..., None]), flow_colours(shown)]]


def read_peer(path: Path) -> np.ndarray:
    """Reads a field, (512, 512, 2) float32.

    Raises:
        MotionError: unreadable, of another shape or type, or not finite.
    """
    try:
        with open_regular(path, TEXT) as file:
            field = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MotionError(f"'{path}' is not an array of numbers: {error}") from None
    if not isinstance(field, np.ndarray) or field.shape != (2, SIDE, SIDE) or field.dtype != np.float16:
        what = f"{field.dtype} {field.shape}" if isinstance(field, np.ndarray) else "an archive"
        raise MotionError(f"'{path}' is {what}: a field is float16 (2, {SIDE}, {SIDE})")
    if not np.isfinite(field).all():
        raise MotionError(f"'{path}' contains NaN or Inf")
    return np.moveaxis(field, 0, -1).astype(np.float32)


def _square(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with open_picture(path) as opened:
            picture = opened.convert("RGB")
    except Exception as error:  # pillow raises nearly anything on a bad file
        raise PlateError(f"picture {path} cannot be read: {error}") from None
    if picture.width != picture.height:
        raise PlateError(f"picture {path} is not square: {picture.width}x{picture.height}")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def peer_table(found: dict[str, MethodScore], remarks: dict[str, str]) -> list[str]:
    """Returns lines of text: the disagreement by still, its mean, and remarks."""
    lines = [f"{score_head('still')}{'scale':>9}"]
    lines += [f"{score_line(name, row)}{row.scale:9.3g}" for name, row in found.items()]
    lines += [score_line(f"mean of {len(found)}", m.mean) for m in method_means(found.values()).values()]
    return lines + [f"* {name}: {remark}" for name, remark in remarks.items()]


def peer_json(found: dict[str, MethodScore], remarks: dict[str, str]) -> dict[str, Any]:
    """Returns the disagreement by still and its mean as JSON values."""
    mean = [score_values(m.mean) for m in method_means(found.values()).values()]
    stills = {name: score_values(row) for name, row in found.items()}
    return without_nan({"stills": stills, "mean": mean[0] if mean else None, "remarks": remarks})
