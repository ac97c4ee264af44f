# SPDX-License-Identifier: Apache-2.0
"""Training data of the motion generator: pictures with their motion, prepared once and cached on disk.

Each window of a clip, and each synthetic scene, becomes one safetensors file: some of its frames, each a possible
input, and their common motion field.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import EngineError, LoopcoreError, MotionError
from loopcore.files.atomic import write_bytes_atomically, write_text_atomically
from loopcore.files.regular import PIXELS, TEXT, check_regular, read_regular
from loopcore.image import open_picture
from loopcore.motion.field import MotionField
from loopcore.training.clips import Clip, ClipSettings, read_windows
from loopcore.training.config import DataSettings
from loopcore.training.estimators import FETCH, Estimator, make_estimator
from loopcore.training.synthetic import KINDS, make_scene
from loopcore.training.video import PICTURES, clip_name, find_clips, scene_of, split_of

Progress = Callable[[int, int], None]
Estimators = tuple[Estimator, Estimator | None]

_VERSION = 1  # of the cache: a new one invalidates all prepared files
_FRAME_STEP = 8  # between frames of a synthetic scene


@dataclass(frozen=True)
class Example:
    """One prepared file.

    Attributes:
        name: of the clip or synthetic scene.
        scene: that it shows.
        split: train, val or test.
        frames: number of frames in it.
        file: its path.
    """

    name: str
    scene: str
    split: str
    frames: int
    file: Path


@dataclass(frozen=True)
class Dataset:
    """All examples of a run.

    Attributes:
        clips: examples of clips.
        synthetic: examples of synthetic scenes.
        refused: (name, reason) of clips that cannot be used.
    """

    clips: tuple[Example, ...]
    synthetic: tuple[Example, ...]
    refused: tuple[tuple[str, str], ...]

    def of(self, split: str) -> tuple[Example, ...]:
        """Returns the clips' examples of a split, or the synthetic ones if it has no clips."""
        real = tuple(example for example in self.clips if example.split == split)
        return real or tuple(example for example in self.synthetic if example.split == split)


def prepare_dataset(settings: DataSettings, cache: Path, on_progress: Progress | None = None) -> Dataset:
    """Prepares the examples that are not in ``cache`` or have changed.

    Args:
        settings: of the data.
        cache: folder of prepared files.
        on_progress: called with (done, total); may raise to interrupt.

    Raises:
        MotionError: unusable background photographs or weights.
        PackageError: OpenCV or LZ4 is absent.
        EngineError: an estimator fails, or its library is absent.
        SequenceError: no clips, or the cache cannot be written.
    """
    paths = [] if settings.clips is None else find_clips(settings.clips)
    total = len(paths) + settings.synthetic
    cache.mkdir(parents=True, exist_ok=True)
    clips: list[Example] = []
    refused: list[tuple[str, str]] = []

    @lru_cache(1)
    def estimators() -> Estimators:
        """Loads networks once, and only for clips that are not prepared yet."""
        second = make_estimator(settings.second_flow, settings.second_flow_weights) if settings.second_flow else None
        return make_estimator(settings.flow, settings.flow_weights), second

    for done, path in enumerate(paths, 1):
        assert settings.clips is not None

        def on_pair(done: int = done) -> None:
            if on_progress:  # also between clips, which take up to half a minute each
                on_progress(done - 1, total)

        record = _prepare_clip(path, settings, estimators, cache, on_pair)
        split, scene = split_of(path, settings.clips, settings.held_out), scene_of(path)
        clips += [Example(w["name"], scene, split, w["frames"], cache / w["file"]) for w in record["windows"]]
        refused += [(name, reason) for name, reason in record["refused"]]
        if on_progress:
            on_progress(done, total)
    made = []
    for number in range(settings.synthetic):
        made.append(_prepare_scene(number, settings, cache))
        if on_progress:
            on_progress(len(paths) + number + 1, total)
    return Dataset(tuple(clips), tuple(made), tuple(refused))


def _prepare_clip(
    path: Path, settings: DataSettings, estimators: Callable[[], Estimators], cache: Path, on_pair: Callable[[], None]
) -> dict[str, Any]:
    """Returns the record of a clip: its windows' files, and its refused windows."""
    key = _clip_key(path, settings)
    name = f"{clip_name(path)}-{key[:12]}"
    record_file = cache / f"{name}.json"
    if record_file.is_file():
        return json.loads(read_regular(record_file, TEXT))
    side = max(settings.long_side, settings.flow_side)
    flow, second = estimators()
    clip_settings = ClipSettings(side, settings.frames, settings.windows, settings.least_frames, settings.steadiness,
                                 flow=flow, second_flow=second)  # fmt: skip
    record: dict[str, Any] = {"clip": path.name, "windows": [], "refused": []}
    try:
        for number, clip in enumerate(read_windows(path, clip_settings, on_pair)):
            if clip.rejection:
                record["refused"].append([clip.name, clip.rejection])
                continue
            file = f"{name}.{number}.safetensors"
            frames = _write_clip(clip, settings, cache / file)
            record["windows"].append(
                {"name": clip.name, "file": file, "frames": frames, "source": clip.source,
                 "steadiness": None if np.isnan(clip.steadiness) else round(clip.steadiness, 4)}
            )  # fmt: skip
    except EngineError:  # of an estimator, or a package is absent: it would fail on all clips
        raise
    except LoopcoreError as error:
        record["refused"].append([clip_name(path), str(error)])
    write_text_atomically(record_file, json.dumps(record, indent=1))
    return record


def _clip_key(path: Path, s: DataSettings) -> str:
    beside = [path, *sorted(path.parent.glob(f"{clip_name(path)}_*"))]
    folders = [inside for file in beside if file.is_dir() for inside in sorted(file.iterdir())]
    numbers = (_VERSION, s.long_side, s.flow_side, s.frames, s.windows, s.least_frames, s.kept, s.steadiness)
    state = f"{numbers} {path}\n{s.flow} {s.flow_weights} {s.second_flow} {s.second_flow_weights}\n"
    weights = [Path(file) for file in (s.flow_weights, s.second_flow_weights) if file not in (None, FETCH)]
    for file in (*beside, *folders, *weights):
        stat = file.stat()
        state += f"{file.name} {stat.st_size if file.is_file() else 0} {stat.st_mtime_ns}\n"
    return hashlib.sha256(state.encode()).hexdigest()


def _write_clip(clip: Clip, settings: DataSettings, file: Path) -> int:
    """Writes some of a clip's frames and its motion at training size; returns the number of frames."""
    from PIL import Image

    chosen = np.unique(np.linspace(0, len(clip.frames) - 1, settings.kept).round().astype(int))
    scale = settings.long_side / max(clip.mask.shape)
    height, width = (max(16, round(side * scale)) for side in clip.mask.shape)
    frames = [Image.fromarray(clip.frames[i]).resize((width, height), Image.Resampling.BICUBIC) for i in chosen]
    mask = clip.mask.astype(np.float32)
    shown = MotionField(clip.velocity * mask[..., None], mask, mask).resized(height, width)
    moves = shown.mask > 0.5
    _write_example(file, np.stack([np.asarray(frame) for frame in frames]), shown.velocity * moves[..., None], moves)
    return len(chosen)


def _prepare_scene(number: int, settings: DataSettings, cache: Path) -> Example:
    kind, wide = KINDS[number % len(KINDS)], settings.long_side
    tall = round(wide * (2 / 3, 9 / 16, 3 / 4)[number % 3])
    folder_name = "" if settings.backgrounds is None else str(settings.backgrounds)
    key = hashlib.sha256(f"{_VERSION} {wide} {settings.kept} {folder_name}".encode()).hexdigest()[:12]
    file = cache / f"made-{number:05}-{key}.safetensors"
    if not file.is_file():
        background = None if settings.backgrounds is None else _background(settings.backgrounds, number, tall, wide)
        scene = make_scene(kind, number, tall, wide, background)
        frames, velocity = scene.frames(settings.kept, _FRAME_STEP), scene.velocity * scene.mask[..., None]
        _write_example(file, frames, velocity, scene.mask > 0.5)
    name = f"{kind} {number}"
    return Example(name, name, "val" if number % 10 == 9 else "train", settings.kept, file)


def _background(folder: Path, number: int, height: int, width: int) -> np.ndarray:
    from PIL import ImageOps

    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES) if folder.is_dir() else []
    if not found:
        raise MotionError(f"data.backgrounds {folder} contains no pictures ({', '.join(PICTURES)})")
    path = found[int(np.random.default_rng((number, 7)).integers(len(found)))]
    try:
        with open_picture(path) as opened:
            return np.asarray(ImageOps.fit(opened.convert("RGB"), (width, height)))
    except Exception as error:  # pillow raises nearly anything on a bad file
        raise MotionError(f"background {path} cannot be read: {error}") from None


def _write_example(file: Path, frames: np.ndarray, velocity: np.ndarray, mask: np.ndarray) -> None:
    from safetensors.numpy import save

    tensors = {"frames": frames, "velocity": velocity.astype(np.float16), "mask": mask.astype(np.uint8)}
    write_bytes_atomically(file, save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))


def read_example(example: Example, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads one frame of an example.

    Returns:
        The frame (h, w, 3) uint8, its motion (h, w, 2) float32 in px per frame and its mask (h, w) float32.

    Raises:
        MotionError: the prepared file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(example.file, PIXELS)
        with safe_open(example.file, framework="numpy") as file:
            picture = file.get_slice("frames")[frame : frame + 1][0]
            return picture, file.get_tensor("velocity").astype(np.float32), file.get_tensor("mask").astype(np.float32)
    except (OSError, SafetensorError, KeyError, IndexError) as error:
        raise MotionError(f"prepared clip {example.file} is damaged ({error}): delete it and train again") from None
