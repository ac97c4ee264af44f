# SPDX-License-Identifier: Apache-2.0
"""The worker's plates and bakes: any percentage of a plate's size, and a light copy of the frames for a viewport."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ._frame_rate import frame_rate
from ._worker_task import Cancelled, Invalid, Params, Task, Unfinished
from .bake import Progress, Report, bake
from .color import display_image, unpremultiply
from .errors import MotionError, SequenceError
from .exr import write_exr
from .flowmap import read_motion_any
from .loop import Loop, load_kernels
from .motion.field import MotionField
from .motion.hints import read_hints, read_mask
from .motion.predict import predict_motion
from .plate import Plate, read_plate
from .sequence import FramePattern, format_range, parse_range, write_atomically

PROXY_WIDTH = 1280
PROXY_FOLDER = "proxy"


class PlateSource:
    """The parameters that say which plate, at which size, and how it moves."""

    def __init__(self, params: Params) -> None:
        self.path = params.path("plate")
        self.layer, self.colorspace = params.take("layer", str, None), params.take("colorspace", str, None)
        self.hints, self.mask = params.path_if_given("hints"), params.path_if_given("mask")
        self.motion_path: Path | None = None
        self.speed = 1.0

    def read(self, task: Task) -> Plate:
        task.step("Reading the plate")
        return read_plate(self.path, layer=self.layer, colorspace=self.colorspace)

    def motion(self, task: Task, plate: Plate) -> MotionField:
        """The motion named, or made from hints; a mask given takes the place of either's own."""
        size = (plate.height, plate.width)
        mask = None if self.mask is None else read_mask(self.mask, *size)
        if self.motion_path is None:
            task.step("Making the motion")
            motion = predict_motion(plate, None if self.hints is None else read_hints(self.hints), mask)
        else:
            task.step("Reading the motion")
            motion = read_motion_any(self.motion_path, size=size, rescale=True)
            motion = motion if mask is None else replace(motion, mask=mask)
        return motion if self.speed == 1.0 else motion.scaled(self.speed)


class Animation:
    """One `animate` request: its parameters, checked, and how they are carried out."""

    def __init__(self, task: Task, params: Params) -> None:
        self.task = task
        self.source = PlateSource(params)
        self.source.motion_path = params.path_if_given("motion")
        self.source.speed = params.take("speed", float, 1.0)
        self.folder, self.name = params.path("folder"), params.take("name", str, f"{self.source.path.stem}_loop")
        self.frames, self.first = params.take("frames", int, 60), params.take("first", int, 1001)
        self.fps, self.range = params.take("fps", str, "24"), params.take("range", str, None)
        self.method, self.contrast = params.take("method", str, "warp"), params.take("contrast", float, 1.0)
        self.format, self.depth = params.take("format", str, "exr"), params.take("depth", str, None)
        self.overwrite, self.proxy = params.take("overwrite", bool, False), params.take("proxy", bool, False)
        self.resolution = params.take("resolution", int, 100)
        params.finish()
        if not 1 <= self.resolution <= 100:
            raise Invalid(f"'resolution' must be from 1 to 100 percent, not {self.resolution}")

    def run(self) -> dict[str, Any]:
        """Bake, and say what is there."""
        fps = frame_rate(self.fps)
        numbers = None if self.range is None else parse_range(self.range)
        self._check_motion()
        self.task.folders |= {self.folder, self.folder / PROXY_FOLDER}
        with ThreadPoolExecutor(1) as beside:
            # Half a second of the first frame's wait. What goes wrong there goes wrong below, too, and is told there.
            beside.submit(load_kernels)
            plate = self._plate()
            motion = self.source.motion(self.task, plate)
        self.task.step("Preparing the loop")
        loop = Loop(plate, motion, self.frames, self.method, self.contrast)
        report = self._bake(loop, fps, numbers)
        if report.failed:
            raise Unfinished(_reasons(report.failed))
        if report.cancelled or self.task.cancelled():
            raise Cancelled
        return self._result(plate, report.written, report.skipped)

    def _check_motion(self) -> None:
        source, ours = self.source, self.folder / "motion.exr"
        if source.motion_path is not None and source.hints is not None:
            raise MotionError("a motion field and hints were both given: a motion field needs no hints, leave one out")
        if source.speed == 0:
            raise MotionError("speed 0 stops everything: give another factor on the motion")
        if source.motion_path is None or (source.speed == 1.0 and self.resolution == 100):
            return
        if ours.exists() and source.motion_path.exists() and ours.samefile(source.motion_path):
            raise MotionError(
                f"'{ours}' would be replaced by itself at another speed or size, and again each time: keep it in "
                "another folder"
            )

    def _plate(self) -> Plate:
        """The plate at its percentage; a smaller one is kept beside the frames, for whoever checks them."""
        plate = self.source.read(self.task)
        if self.resolution == 100:
            return plate
        self.task.step("Resizing the plate")
        width, height = (max(1, round(side * self.resolution / 100)) for side in (plate.width, plate.height))
        pixels = resized(plate.pixels, width, height)
        make_folder(self.folder)
        still = self.folder / f"{self.name}_still.exr"
        attributes = dict(plate.metadata)
        if plate.colorspace:
            attributes.pop("chromaticities", None)
            attributes["colorInteropID"] = plate.colorspace
        channels = {name: np.ascontiguousarray(pixels[..., k]) for k, name in enumerate(plate.channels)}
        write_atomically(
            still, lambda path: write_exr(path, channels, attributes=attributes, pixel_aspect=plate.pixel_aspect)
        )
        return replace(read_plate(still), encoded=plate.encoded)

    def _bake(self, loop: Loop, fps: Fraction, numbers: Sequence[int] | None) -> Report:
        # A layer or colour space is of the plate's own file, and not of the smaller copy.
        whole = self.resolution == 100
        notes = {
            "layer": self.source.layer if whole else None, "colorspace": self.source.colorspace if whole else None,
            "speed": self.source.speed, "resolution": self.resolution,
        }  # fmt: skip
        with Proxies(self._pattern(), loop.plate.alpha_index is not None, self.proxy) as proxies:

            def tell(progress: Progress) -> None:
                proxies.frame_done(progress.path)
                self.task.tell("Baking", progress.done, progress.total, progress.path)

            report = bake(
                loop, self.folder, self.name, first=self.first, fps=fps, numbers=numbers, format=self.format,
                depth=self.depth, overwrite=self.overwrite, notes=notes, on_progress=tell,
                cancelled=self.task.cancelled,
            )  # fmt: skip
            if not report.failed and not report.cancelled:
                proxies.finish(self.task, report.skipped)
        self._proxy_pattern = proxies.pattern
        return report

    def _pattern(self) -> FramePattern:
        return FramePattern(self.folder, f"{self.name}.", f".{self.format}")

    def _result(self, plate: Plate, written: list[int], skipped: list[int]) -> dict[str, Any]:
        result = {
            "folder": str(self.folder), "pattern": self._pattern().name, "first": self.first, "frames": self.frames,
            "written": len(written), "skipped": len(skipped), "motion": str(self.folder / "motion.exr"),
            "width": plate.width, "height": plate.height,
        }  # fmt: skip
        if self.proxy:
            result["proxy_pattern"] = f"{PROXY_FOLDER}/{self._proxy_pattern.name}"
        return result


def _reasons(failed: dict[int, str]) -> str:
    """The frames that could not be made, by reason, the first of them first."""
    reasons = dict.fromkeys(failed[number] for number in sorted(failed))
    # What was not made because of another frame says nothing that the other does not.
    told = [reason for reason in reasons if not reason.startswith("not made")] or list(reasons)
    return "; ".join(f"frame {format_range(n for n in failed if failed[n] == reason)}: {reason}" for reason in told)


class Proxies:
    """Light copies of the frames, 8 bits sRGB and at most 1280 pixels wide, made while the next frames are baked.

    JPEG, or PNG where there is alpha, numbered as the frames are.
    """

    def __init__(self, frames: FramePattern, alpha: bool, wanted: bool) -> None:
        self.pattern = FramePattern(frames.folder / PROXY_FOLDER, frames.prefix, ".png" if alpha else ".jpg")
        self._frames, self._alpha, self._wanted = frames, alpha, wanted
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="loopcore-proxy")
        self._made: list[Future[None]] = []

    def __enter__(self) -> Proxies:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def frame_done(self, path: Path | None) -> None:
        """A frame was written."""
        if self._wanted and path is not None:
            self._made.append(self._pool.submit(self._write, path))

    def finish(self, task: Task, skipped: list[int]) -> None:
        """Wait for all, those of frames that were up to date included."""
        if not self._wanted:
            return
        for number in skipped:
            if not self._is_newer(number):
                self._made.append(self._pool.submit(self._write, self._frames.path(number)))
        for done, made in enumerate(self._made, 1):
            made.result()
            task.step("Making viewport copies", done, len(self._made))

    def _is_newer(self, number: int) -> bool:
        try:
            return self.pattern.path(number).stat().st_mtime_ns >= self._frames.path(number).stat().st_mtime_ns
        except OSError:
            return False

    def _write(self, frame: Path) -> None:
        from PIL import Image

        picture = Image.fromarray(viewport_picture(read_plate(frame), self._alpha))
        copy = self.pattern.folder / (frame.stem + self.pattern.suffix)
        make_folder(copy.parent)
        options: dict[str, Any] = {"format": "PNG"} if self._alpha else {"format": "JPEG", "quality": 92}
        write_atomically(copy, lambda path: picture.save(path, **options))


def viewport_picture(plate: Plate, alpha: bool) -> np.ndarray:
    """(H, W, 3 or 4) uint8 sRGB, at most 1280 wide, values above 1 clipped; alpha not premultiplied, as PNG has it."""
    share = min(1.0, PROXY_WIDTH / plate.width)
    pixels = resized(plate.pixels, max(1, round(plate.width * share)), max(1, round(plate.height * share)))
    if plate.alpha_index is None:
        colour = display_image(replace(plate, pixels=pixels), exposure=1.0)
        return np.dstack([colour, np.full(colour.shape[:2], 255, np.uint8)]) if alpha else colour
    straight = unpremultiply(pixels, plate.alpha_index)
    colour = display_image(replace(plate, pixels=straight), exposure=1.0)
    opacity = np.nan_to_num(pixels[..., plate.alpha_index]).clip(0, 1)
    return np.dstack([colour, np.rint(opacity * 255).astype(np.uint8)])


def resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Linear (H, W, C) float32 pixels at a smaller size: means of areas, which neither ring nor alias."""
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    channels = [Image.fromarray(np.ascontiguousarray(pixels[..., k])) for k in range(pixels.shape[2])]
    return np.stack([np.asarray(c.resize((width, height), Image.Resampling.BOX)) for c in channels], axis=2)


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SequenceError(f"cannot make folder '{folder}': {error.strerror or error}") from error
