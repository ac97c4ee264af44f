# SPDX-License-Identifier: Apache-2.0
"""Clips on disk: finding them, their scenes and splits, and their frames without repeats, divided at cuts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import LoopcoreError, PlateError, SequenceError
from loopcore.files.regular import check_regular
from loopcore.image import open_picture

SUFFIXES = (".mp4", ".avi", ".gif", ".mov", ".mkv", ".webm", ".m4v")
PICTURES = (".jpg", ".jpeg", ".png")
SPLITS = ("train", "val", "test")
_FOLDERS = {"train": "train", "training": "train", "val": "val", "validation": "val", "test": "test"}

# Mean differences of 8-bit grey at 64 pixels, absolute and relative to the usual change, below which a frame repeats
# the one before, as after conversions of frame rates.
_SAME, _SAME_SHARE = 0.02, 0.05
_CUT, _CUT_FACTOR = 12.0, 3.0  # difference of a cut, absolute and relative to the frames around it
_AROUND = 6  # frames to each side


@dataclass(frozen=True)
class Shot:
    """Frames of one shot without repeats.

    Attributes:
        frames: (n, h, w, 3) uint8 sRGB.
        numbers: of each frame in its file, from 0.
    """

    frames: np.ndarray
    numbers: tuple[int, ...]


def find_clips(folder: str | Path) -> list[Path]:
    """Finds videos and folders of numbered pictures below a folder, except masks (``*_mask``) and hidden ones.

    Raises:
        SequenceError: not a folder, or no clips in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SequenceError(f"{folder} is not a folder of clips")
    found = [path for path in sorted(folder.rglob("*")) if _is_clip(path, folder)]
    if not found:
        raise SequenceError(f"{folder} contains no clips: videos ({', '.join(SUFFIXES)}) or folders of pictures")
    return found


def _is_clip(path: Path, folder: Path) -> bool:
    names = path.relative_to(folder).parts
    if path.stem.endswith("_mask") or any(name.startswith(".") for name in names):
        return False
    if path.is_dir():
        return sum(inside.suffix.lower() in PICTURES for inside in path.iterdir()) > 1
    return path.suffix.lower() in SUFFIXES


def clip_name(path: Path) -> str:
    """Returns the name that a clip shares with its other files: ``00001_00000`` for ``00001_00000_gt.mp4``."""
    return (path.stem if path.suffix.lower() in SUFFIXES else path.name).removesuffix("_gt")


def scene_of(path: Path) -> str:
    """Returns a clip's scene: its name without a number at the end, ``brook`` for ``brook_01`` and ``brook_02``."""
    name = clip_name(path)
    return re.sub(r"[._-]\d+$", "", name) or name


def split_of(path: Path, folder: Path, held_out: float) -> str:
    """Returns train, val or test: by the name of the clip's folder, else by a hash of its scene's name.

    A scene's split does not depend on other clips.

    Args:
        path: of the clip.
        folder: of all clips.
        held_out: fraction of scenes for val and test, half each, 0..1.
    """
    for name in reversed(path.relative_to(folder).parts[:-1]):
        if name.lower() in _FOLDERS:
            return _FOLDERS[name.lower()]
    digest = hashlib.sha256(scene_of(path).encode()).digest()
    place = int.from_bytes(digest[:4], "big") / 2**32
    return "val" if place < held_out / 2 else "test" if place < held_out else "train"


def read_shots(path: Path, long_side: int, most: int, enlarge: bool = True) -> list[Shot]:
    """Reads the shots among a clip's first frames.

    Args:
        path: of the clip.
        long_side: of the frames, pixels.
        most: largest number of frames, without repeats.
        enlarge: whether smaller frames are enlarged.

    Raises:
        PlateError: unreadable, or without frames.
    """
    kept: list[np.ndarray] = []
    numbers: list[int] = []
    small: list[np.ndarray] = []
    try:
        for number, frame in enumerate(_pictures(path, long_side, enlarge)):
            thumbnail = _thumbnail(frame)
            if small and _repeats(small, thumbnail):
                continue
            kept.append(frame)
            numbers.append(number)
            small.append(thumbnail)
            if len(kept) == most:
                break
    except LoopcoreError:
        raise
    except Exception as error:  # av and pillow raise nearly anything on a bad file
        if len(kept) < 2:  # frames before the damage are valid
            raise PlateError(f"clip {path} cannot be read: {error}") from None
    if not kept:
        raise PlateError(f"clip {path} has no frames")
    starts = [0, *_cuts(small), len(kept)]
    return [
        Shot(np.stack(kept[a:b]), tuple(numbers[a:b])) for a, b in zip(starts, starts[1:], strict=False)
    ]  # fmt: skip


def _pictures(path: Path, long_side: int, enlarge: bool) -> Iterator[np.ndarray]:
    if path.is_dir():
        from PIL import Image

        for inside in sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES):
            with open_picture(inside) as opened:
                picture = opened.convert("RGB")
            width, height = _size(*picture.size, long_side, enlarge)
            yield np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))
        return
    import av

    check_regular(path)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield _scaled(frame, long_side, enlarge)


def _scaled(frame: Any, long_side: int, enlarge: bool) -> np.ndarray:
    width, height = _size(frame.width, frame.height, long_side, enlarge)
    kind = "AREA" if width < frame.width else "BICUBIC"
    return frame.reformat(width=width, height=height, format="rgb24", interpolation=kind).to_ndarray()


def _size(width: int, height: int, long_side: int, enlarge: bool) -> tuple[int, int]:
    scale = long_side / max(width, height)
    scale = scale if enlarge else min(1.0, scale)
    return max(16, round(width * scale)), max(16, round(height * scale))


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """Returns grey block means of about 64 pixels a side, float32 0..255."""
    step = max(1, max(frame.shape[:2]) // 64)
    height, width = (side // step * step for side in frame.shape[:2])
    blocks = frame[:height, :width].reshape(height // step, step, width // step, step, 3)
    return blocks.mean(axis=(1, 3, 4), dtype=np.float32)


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean())


def _repeats(before: list[np.ndarray], thumbnail: np.ndarray) -> bool:
    change = _difference(before[-1], thumbnail)
    recent = before[-_AROUND:]
    usual = float(np.median([_difference(a, b) for a, b in zip(recent, recent[1:], strict=False)] or [0.0]))
    return change < max(_SAME, _SAME_SHARE * usual)


def _cuts(small: list[np.ndarray]) -> list[int]:
    """Returns the first frame of each further shot, where the change is far above those of the frames around it."""
    changes = np.array([_difference(a, b) for a, b in zip(small, small[1:], strict=False)])
    cuts = []
    for at, change in enumerate(changes):
        around = np.concatenate([changes[max(0, at - _AROUND) : at], changes[at + 1 : at + 1 + _AROUND]])
        usual = float(np.quantile(around, 0.8)) if around.size else 0.0
        if change > max(_CUT, _CUT_FACTOR * usual):
            cuts.append(at + 1)
    return cuts
