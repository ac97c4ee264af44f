# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures with a class for each pixel, and the crops that a network is trained on.

The folder has a ``manifest.csv`` with the columns image, label, set and split (train, val or test); other columns are
ignored. image and label are paths in the folder. A label is an 8-bit picture of the image's size whose values are
indices into :data:`loopcore.motion.networks.CLASSES`; 255 is unknown and ignored.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.errors import PlateError
from loopcore.image import luma, open_picture
from loopcore.training.manifest import path_inside, read_rows

if TYPE_CHECKING:
    from loopcore.training.footage import Supervision

UNKNOWN = 255
CROP = 256
_LONG_SIDES = (256, 640)  # of the whole picture before cropping, pixels
_FULL_SET = 120  # pictures in a set below which they are cropped more often
_MAX_REPEATS = 8.0
# Crops of a picture that shows the class on at least ``_MIN_CLASS_AREA`` of its known pixels.
_CLASS_REPEATS = {1: 3.0, 3: 2.0, 4: 2.0}
_MIN_CLASS_AREA = 0.02
# Fractions of the crops that are mixed with another, blurred, noisy, saved as JPEG.
_MIX_PROBABILITY, _BLUR_PROBABILITY, _NOISE_PROBABILITY, _JPEG_PROBABILITY = 0.2, 0.25, 0.25, 0.3
# Casts of white balance: normal ones, and strong ones as in snow, at dusk or by lamps.
_CASTS, _STRONG_CAST_PROBABILITY = (0.08, 0.25), 0.2
_PALE_PROBABILITY = 0.1  # of crops, made as white as snow
_BLURS = (0.4, 3.0)  # sigma, pixels
# Fractions of static crops that have a backdrop, of those that have nothing else, and of crops that are pasted over.
_BACKDROP_PROBABILITY, _BARE_PROBABILITY, _PASTE_PROBABILITY = 0.5, 0.7, 0.4


@dataclass(frozen=True)
class Sample:
    """One picture of a manifest.

    Attributes:
        image: path of the picture.
        label: path of its labels.
        set: where it is from.
        split: train, val or test.
    """

    image: Path
    label: Path
    set: str
    split: str


def read_manifest(folder: str | Path) -> list[Sample]:
    """Reads all samples of a folder, in the manifest's order.

    Raises:
        PlateError: no manifest, a missing column, no rows, or a path outside the folder.
    """
    folder = Path(folder)
    rows = read_rows(folder, "pictures", ("image", "label", "set", "split"))
    return [
        Sample(path_inside(folder, r["image"]), path_inside(folder, r["label"]), r["set"], r["split"]) for r in rows
    ]  # fmt: skip


def read_sample(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Reads an (H, W, 3) uint8 sRGB picture and its (H, W) uint8 labels.

    Raises:
        PlateError: unreadable, or sizes that differ.
    """
    try:
        with open_picture(sample.image) as opened:
            picture = np.array(opened.convert("RGB"))
        with open_picture(sample.label) as opened:
            labels = np.array(opened)
    except Exception as error:  # pillow raises nearly anything on a bad file
        raise PlateError(f"training picture {sample.image} or its label cannot be read: {error}") from None
    if labels.dtype != np.uint8 or labels.shape != picture.shape[:2]:
        raise PlateError(f"label {sample.label} must be an 8-bit index picture of the size of {sample.image}")
    return picture, labels


def crop_plan(samples: list[Sample]) -> list[Sample]:
    """Returns the samples, each repeated by its number of crops: more for rare classes and small sets."""
    sizes = Counter(sample.set for sample in samples)
    plan = []
    for sample in samples:
        labels = read_sample(sample)[1]
        known = max(1, int((labels != UNKNOWN).sum()))
        shown = [factor for c, factor in _CLASS_REPEATS.items() if (labels == c).sum() >= _MIN_CLASS_AREA * known]
        rare = min(_MAX_REPEATS, max(1.0, _FULL_SET / sizes[sample.set]))
        plan += [sample] * round(rare * max(shown, default=1.0))
    return plan


@dataclass(frozen=True)
class Crop:
    """A training crop.

    Attributes:
        picture: (3, s, s) float32 sRGB 0..1.
        labels: (s, s) uint8.
        motion: (s, s, 5) float32, as in :mod:`loopcore.training.pasting`.
    """

    picture: np.ndarray
    labels: np.ndarray
    motion: np.ndarray


def crop_of(
    plan: Sequence[Sample],
    index: int,
    seed: int,
    epoch: int,
    size: int = CROP,
    clips: Sequence[Supervision] = (),
) -> Crop:
    """Returns entry ``index`` of the plan in an epoch.

    Deterministic by all arguments. Some crops are partly covered by another crop. ``clips`` are pasted from.
    """
    random = np.random.default_rng((seed, epoch, index))
    crop = random_crop(*read_sample(plan[index]), random, size, clips)
    if random.random() < _MIX_PROBABILITY:
        other = random_crop(*read_sample(plan[int(random.integers(len(plan)))]), random, size, clips)
        tall, wide = random.integers(size // 4, 3 * size // 4, 2)
        y, x = random.integers(size - tall), random.integers(size - wide)
        here = (slice(y, y + tall), slice(x, x + wide))
        crop.picture[:, *here], crop.labels[here] = other.picture[:, *here], other.labels[here]
        crop.motion[here] = other.motion[here]
    return crop


def random_crop(
    picture: np.ndarray,
    labels: np.ndarray,
    random: np.random.Generator,
    size: int = CROP,
    clips: Sequence[Supervision] = (),
) -> Crop:
    """Returns a crop at a random scale and place, half the time mirrored, with varied colours.

    Some crops have backdrops, or fluids over them, from ``clips`` or synthetic.
    """
    from PIL import Image

    long_side = random.uniform(*_LONG_SIDES) * size / CROP
    scale = long_side / max(labels.shape)
    width, height = (max(1, round(side * scale)) for side in labels.shape[::-1])
    small = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
    known = np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
    pad = [(0, max(0, size - side)) for side in known.shape]
    small = np.pad(small, [*pad, (0, 0)], mode="symmetric")
    known = np.pad(known, pad, constant_values=UNKNOWN)
    y, x = (int(random.integers(side - size + 1)) for side in known.shape)
    small, known = small[y : y + size, x : x + size], known[y : y + size, x : x + size]
    if random.random() < 0.5:
        small, known = small[:, ::-1], known[:, ::-1]
    small, known, motion = _changed(small / np.float32(255), known, random, clips)
    seen = vary(small, random)
    return Crop(np.ascontiguousarray(seen.transpose(2, 0, 1)), np.array(known), motion)


def _changed(
    picture: np.ndarray, labels: np.ndarray, random: np.random.Generator, clips: Sequence[Supervision]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds a backdrop, pastes fluids or overlays synthetic ones, at random; returns picture, labels and motion."""
    from loopcore.training.backdrops import add_backdrop
    from loopcore.training.overlays import add_overlay
    from loopcore.training.pasting import add_patches, label_motion, pale

    if random.random() < _PALE_PROBABILITY:
        picture = pale(picture, random)

    if not (labels[labels != UNKNOWN] > 0).any() and random.random() < _BACKDROP_PROBABILITY:
        picture = add_backdrop(picture, random)
        if random.random() < _BARE_PROBABILITY:
            return picture, labels, label_motion(labels)
    if clips and random.random() < _PASTE_PROBABILITY:
        return add_patches(picture, labels, clips, random, UNKNOWN)
    picture, labels = add_overlay(picture, labels, random, UNKNOWN)
    return picture, labels, label_motion(labels)


def vary(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Varies colours of (H, W, 3) sRGB codes 0..1, and adds blur, noise and JPEG artefacts, at random."""
    return _degrade(_augment_colours(rgb, random), random)


def _augment_colours(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Varies gamma, contrast, saturation and white balance of (H, W, 3) sRGB codes 0..1."""
    rgb = rgb ** np.float32(np.exp(random.uniform(-0.35, 0.35)))
    grey = luma(rgb)
    saturation = np.float32(random.uniform(0.5, 1.3) if random.random() > 0.07 else 0.0)
    rgb = grey[..., None] + saturation * (rgb - grey[..., None])
    cast = _CASTS[int(random.random() < _STRONG_CAST_PROBABILITY)]
    rgb = rgb * random.uniform(1 - cast, 1 + cast, 3).astype(np.float32)
    mean = np.float32(grey.mean())
    return np.clip(mean + np.float32(random.uniform(0.75, 1.25)) * (rgb - mean), 0, 1).astype(np.float32)


def _degrade(rgb: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Adds blur, noise and JPEG artefacts to (H, W, 3) sRGB codes 0..1, at random."""
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    if random.random() < _BLUR_PROBABILITY:
        sigma = _BLURS[0] * (_BLURS[1] / _BLURS[0]) ** random.random()
        rgb = gaussian_filter(rgb, (sigma, sigma, 0))
    if random.random() < _NOISE_PROBABILITY:
        rgb = rgb + random.normal(0, random.uniform(0.005, 0.05), rgb.shape).astype(np.float32)
    rgb = np.clip(rgb, 0, 1)
    if random.random() < _JPEG_PROBABILITY:
        file = io.BytesIO()
        codes = (rgb * 255 + 0.5).astype(np.uint8)
        Image.fromarray(codes).save(file, "JPEG", quality=int(random.integers(25, 90)))
        rgb = np.asarray(open_picture(file)) / np.float32(255)
    return rgb


def soft_targets(labels: np.ndarray, classes: int, stride: int) -> np.ndarray:
    """Converts (H, W) labels to class fractions per block, (classes, H / stride, W / stride) float32.

    They sum to the known fraction of the block.
    """
    index = np.arange(classes, dtype=np.uint8)[:, None, None]
    counts = np.zeros((classes, labels.shape[0] // stride, labels.shape[1] // stride), np.float32)
    for y in range(stride):
        for x in range(stride):
            counts += labels[y::stride, x::stride] == index
    return counts / np.float32(stride * stride)
