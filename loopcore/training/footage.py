# SPDX-License-Identifier: Apache-2.0
"""Supervision of the fluid network from clips: some frames of each, their mean motion, and where it can be trusted.

A clip's motion is its mean optical flow (:mod:`loopcore.training.mean_flow`). It is trusted where one steady field
explains the flow, and where a second estimator agrees with the direction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loopcore.errors import MotionError, PlateError
from loopcore.files.atomic import make_folder, write_bytes_atomically
from loopcore.files.regular import PIXELS, check_regular
from loopcore.training.estimators import Estimator
from loopcore.training.flows import measure_flows
from loopcore.training.manifest import NAME, path_inside, read_rows
from loopcore.training.mean_flow import average, still
from loopcore.training.video import Shot, clip_name, read_shots

LONG_SIDE = 512  # pixels of prepared frames
_FRAMES = 45  # whose flow is averaged
_KEPT = 6  # frames that are prepared
_CONFIRMING_PAIRS = 15  # of frames, whose flow the second estimator measures
_WINDOW = 9  # pixels over which steadiness and change are averaged
_MIN_CHANGE = 2.0  # deviation over time of 8-bit grey: flow without change is spread from elsewhere, as on black
_AGREE, _DIFFER = 0.9, 0.5  # cosine between two estimates from which a direction is trusted, and below which it is not
_VERSION = 1  # of the prepared files


@dataclass(frozen=True)
class Supervision:
    """What a clip teaches.

    Attributes:
        name: of the clip.
        kind: fall, sea, ..., as the manifest says.
        scene: clips of the same scene share it: the manifest's repository, or the clip's name.
        frames: (n, h, w, 3) uint8 sRGB.
        velocity: (h, w, 2) float32, px per frame.
        trust: (h, w) float32 0..1, of the velocity.
        moving: (h, w) bool.
        still: (h, w) bool; elsewhere whether it moves is unknown.
    """

    name: str
    kind: str
    scene: str
    frames: np.ndarray
    velocity: np.ndarray
    trust: np.ndarray
    moving: np.ndarray
    still: np.ndarray


@dataclass(frozen=True)
class Listed:
    """A clip in a folder's manifest."""

    path: Path
    kind: str
    scene: str


def list_footage(folder: Path, split: str, without: Sequence[str] = ()) -> list[Listed]:
    """Lists the clips of a split, in the manifest's order.

    Args:
        folder: with ``manifest.csv``: columns clip, kind and split; repository, if there, parts the scenes.
        split: train, val or test.
        without: names of clips to leave out, because their motion cannot be believed.

    Raises:
        PlateError: the manifest cannot be read.
        MotionError: a name in ``without`` that no clip has, or no clips are left.
    """
    rows = read_rows(folder, "clips", ("clip", "kind", "split"))
    paths = {row["clip"]: path_inside(folder, row["clip"]) for row in rows}
    names = {clip_name(path) for path in paths.values()}
    if unknown := [name for name in without if name not in names]:
        raise MotionError(f"{folder / NAME} has no clip {', '.join(unknown)} to leave out")
    listed = [
        Listed(paths[row["clip"]], row["kind"], row.get("repository") or clip_name(paths[row["clip"]]))
        for row in rows
        if row["split"] == split and clip_name(paths[row["clip"]]) not in without
    ]
    if not listed:
        raise MotionError(f"there is no footage to train on: {folder / NAME} has no clips in the split {split!r}")
    return listed


def prepare_footage(
    clips: Sequence[Listed],
    cache: Path,
    estimators: tuple[Estimator, Estimator],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Supervision]:
    """Measures the clips that are not in the cache yet, and reads them all; clips in which nothing moves are left out.

    Args:
        clips: to prepare.
        cache: folder of prepared files, made if absent.
        estimators: of optical flow: the first measures, the second confirms.
        on_progress: called with (done, total); may raise to interrupt.

    Raises:
        PlateError: a clip that cannot be read.
        PackageError: OpenCV is absent.
        MotionError: a damaged file in the cache.
        SequenceError: the cache cannot be written.
        EngineError: an estimator fails.
    """
    make_folder(cache)
    found = []
    for number, clip in enumerate(clips):
        file = cache / f"{clip_name(clip.path)}-{_key(clip.path, estimators)}.safetensors"
        if not file.is_file():
            write_bytes_atomically(file, _packed(measure(clip, *estimators)))
        supervision = _read(file, clip)
        if supervision.moving.any():
            found.append(supervision)
        if on_progress:
            on_progress(number + 1, len(clips))
    return found


def measure(clip: Listed, first: Estimator, second: Estimator) -> Supervision:
    """Measures a clip's motion, what moves, and where it can be trusted.

    Raises:
        PlateError: it cannot be read, or has fewer than two frames.
    """
    shot = max(read_shots(clip.path, LONG_SIDE, _FRAMES, enlarge=False), key=lambda one: len(one.frames))
    if len(shot.frames) < 2:
        raise PlateError(f"clip {clip.path} has no two different frames in a shot, so nothing is known of its motion")
    flows = measure_flows(shot, estimator=first)
    mean = average(flows.values, flows.known)
    moving = mean.mask & _changes(shot)
    trust = moving * _steadiness(flows.values, mean.velocity) * _agreement(shot, mean.velocity, second)
    stays = still(shot.frames, mean.velocity) & ~mean.mask
    kept = np.unique(np.linspace(0, len(shot.frames) - 1, _KEPT).round().astype(int))
    return Supervision(
        clip_name(clip.path), clip.kind, clip.scene, shot.frames[kept], mean.velocity, trust.astype(np.float32),
        moving, stays,
    )  # fmt: skip


def _changes(shot: Shot) -> np.ndarray:
    from scipy.ndimage import uniform_filter

    deviation = shot.frames.mean(axis=3, dtype=np.float32).std(axis=0)
    return uniform_filter(deviation, _WINDOW) > _MIN_CHANGE


def _steadiness(flows: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Returns the fraction of the flow's energy nearby that the mean explains, (h, w) 0..1."""
    from scipy.ndimage import uniform_filter

    energy = uniform_filter((flows**2).sum(axis=-1).mean(axis=0), _WINDOW)
    left = uniform_filter(((flows - velocity) ** 2).sum(axis=-1).mean(axis=0), _WINDOW)
    return np.clip(1 - left / np.maximum(energy, 1e-6), 0, 1)


def _agreement(shot: Shot, velocity: np.ndarray, estimator: Estimator) -> np.ndarray:
    """Returns how far another estimator's median flow of some pairs has the same direction, (h, w) 0..1."""
    starts = np.unique(np.linspace(0, len(shot.frames) - 2, _CONFIRMING_PAIRS).round().astype(int))
    other = np.median([estimator.calc(shot.frames[i], shot.frames[i + 1]) for i in starts], axis=0)
    lengths = np.hypot(velocity[..., 0], velocity[..., 1]) * np.hypot(other[..., 0], other[..., 1])
    cosine = (velocity * other).sum(axis=-1) / np.maximum(lengths, 1e-6)
    return np.clip((cosine - _DIFFER) / (_AGREE - _DIFFER), 0, 1)


def _key(path: Path, estimators: tuple[Estimator, Estimator]) -> str:
    names, weights = [one.name for one in estimators], "".join(one.weights for one in estimators)
    try:
        stat = path.stat()
    except OSError as error:
        raise PlateError(f"clip {path} cannot be read: {error.strerror or error}") from None
    state = f"{_VERSION} {LONG_SIDE} {_FRAMES} {_KEPT} {names}{weights} {path.name} {stat.st_size} {stat.st_mtime_ns}"
    return hashlib.sha256(state.encode()).hexdigest()[:12]


def _packed(supervision: Supervision) -> bytes:
    from safetensors.numpy import save

    tensors = {
        "frames": supervision.frames,
        "velocity": supervision.velocity.astype(np.float16),
        "trust": supervision.trust.astype(np.float16),
        "moving": supervision.moving.astype(np.uint8),
        "still": supervision.still.astype(np.uint8),
    }
    return save({name: np.ascontiguousarray(value) for name, value in tensors.items()})


def _read(file: Path, clip: Listed) -> Supervision:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        check_regular(file, PIXELS)
        tensors = load_file(file)
        velocity, trust = (tensors[name].astype(np.float32) for name in ("velocity", "trust"))
        moving, stays = (tensors[name] > 0 for name in ("moving", "still"))
        return Supervision(
            clip_name(clip.path), clip.kind, clip.scene, tensors["frames"], velocity, trust, moving, stays
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise MotionError(f"prepared clip {file} is damaged ({error}): delete it and train again") from None
