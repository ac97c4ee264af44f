# SPDX-License-Identifier: Apache-2.0
"""The loop: a plate transported forward and backward along its motion, blended so that frame N is frame 0."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from loopcore.color import contrast_weights
from loopcore.errors import EngineError, MotionError, PlateError
from loopcore.exr import ExrPart, as_stored
from loopcore.loop.device import DEVICES, gpu_unavailable_reason, uses_triton_interpreter
from loopcore.loop.paths import MARGIN, Paths
from loopcore.motion.field import MotionField
from loopcore.plate import Plate

if TYPE_CHECKING:
    from loopcore.loop.carrier import Carrier
    from loopcore.loop.mixture import Mixture

METHODS = ("warp", "splat")
# What the kernels work with.
MAX_CHANNELS = 4
# Their births take memory.
MAX_CYCLES = 4096


class Loop:
    """A seamless loop of N frames made from a plate and its motion.

    Frame t shows (1 - t/N) of the plate carried forward by t frames and t/N of it carried backward by N - t frames,
    each weighted by how little it was distorted (Holynski et al., CVPR 2021, symmetric splatting; the warp is its
    continuum limit, w = |det(I + dB/dy)|, and 1 / w where the plate is squeezed). That is one cycle; with more,
    copies are born more often and live shorter (`cycles`), and their looks may be kept (`steady`). Any frame is
    made alone, from nothing but the plate and the motion; the same arguments on the same device give the same bits,
    whatever the order of frames or the number of threads. Frames of the two devices differ a little:
    docs/performance.md says by how much.

    Convention: as MotionField: (x, y) in pixels per frame, x right, y down, pointing where content goes.

    Args:
        plate: the still, at most four channels; its pixels are copied.
        motion: the motion field, of the size of the plate or of its display window.
        frames: N, at least 2.
        method: "warp" fetches each pixel from where it came, "splat" deposits each pixel where it goes.
        contrast: 0 to 1, how much of the detail lost by blending is restored.
        cycles: how often the plate is renewed in the loop, 1 to N / 2: fast motion needs shorter lives than N frames.
            "auto": as each place needs it, by displacement and distortion.
        steady: 0 to 1, how much the local mean of brightness and colour stays where it is while the texture moves.
            "auto": where cycles are needed.
        device: "cpu", "cuda" (an NVIDIA GPU, with triton), or "auto": the CPU, until the GPU's kernels
            have been tested on a card.

    Raises:
        MotionError: plate and motion differ in size, or a setting is out of range.
        PlateError: the plate has more than four channels.
        EngineError: the device is not available or has too little memory.

    Public: `frame`, `frames`, `plate`, `motion`, `method`, `contrast`, `cycles`, `steady`, `device`. For other
    modules of this package only: `canvas`, `begin`, `render`, `carried` and `bound` (baking); `window`, `copies`,
    `sqrt_luminance` and `holes` (quality).
    """

    def __init__(
        self,
        plate: Plate,
        motion: MotionField,
        *,
        frames: int = 60,
        method: str = "warp",
        contrast: float = 1.0,
        cycles: int | str = "auto",
        steady: float | str = "auto",
        device: str = "auto",
    ) -> None:
        motion = fitted(plate, motion)
        check_settings(frames, method, contrast, cycles, steady, device, plate)
        from loopcore.loop import blend
        from loopcore.loop.contrast import Contrast
        from loopcore.transport.fill import repair

        self.plate, self.motion, self.frames, self.method, self.contrast = plate, motion, frames, method, contrast
        self.device = "cuda" if device == "cuda" else "cpu"
        self._paths = Paths(motion, frames)
        self.window, self._mask, self._step = self._paths.window, self._paths.mask, self._paths.step
        self._spans = _row_spans(self._mask)
        self._still = four_channels(plate.pixels)
        # NaN and Inf stay where they are still; what moves, moves without them.
        self._source = repair(np.ascontiguousarray(self._still[self.window]))
        self._luma, self._colour = contrast_weights(plate.channels)
        self._tone = blend.sqrt_luminance(self._source, self._luma)
        self.cycles = cycles if cycles == "auto" else int(cycles)
        self.steady = steady if steady == "auto" else float(steady)
        self._mixture = self._prepare_mixture()
        self._detail = Contrast(self._mask, contrast) if self._mixture is None else self._mixture.contrast
        self._scratch = threading.local()
        self._gpu = cast(Any, None)
        self._carrier = self._prepare_carrier()
        if self.device == "cuda":
            self._use_gpu()

    @property
    def plain(self) -> bool:
        """Whether frames are blends of two copies: one cycle, without steady looks."""
        return self._mixture is None

    def digest(self) -> str:
        """`Plate.digest` of the pixels as this loop copied them, whatever was written to the plate's since."""
        return replace(self.plate, pixels=self._still[..., : len(self.plate.channels)]).digest()

    def frame(self, t: float) -> np.ndarray:
        """Frame t as (H, W, C) float32, scene-linear, in the plate's channels.

        t runs from 0 to N and wraps beyond; frame N is rendered, not copied from frame 0. Fractions give times
        between frames.
        """
        out = self._still.copy()
        self.render(t, out)
        channels = len(self.plate.channels)
        return out if channels == 4 else np.ascontiguousarray(out[..., :channels])

    def canvas(self, dtype: type = np.float32) -> np.ndarray:
        """A buffer (H, W, 4), float32 or float16, for `render`, with the still plate in it."""
        pixels = as_stored(self._still, dtype)
        return pixels if self._gpu is None else self._gpu.canvas(pixels)

    def bound(self) -> float:
        """No value of any frame is greater in magnitude: the plate's peak, and what steady looks and contrast add."""
        from loopcore.loop import blend

        gain = blend.MAX_RATIO**2 if self.contrast > 0 and (self._mask > 0).any() else 1.0
        moving = _greatest(self._source[..., self._colour > 0])
        if self._mixture is not None:
            moving = self._mixture.bound(moving)
        return max(_greatest(self._still), gain * moving)

    def render(self, t: float, out: np.ndarray) -> None:
        """Write the moving pixels of frame t into `out`, a `canvas` used any number of times.

        Raises EngineError where the GPU fails.
        """
        self.begin(t, out)()

    def begin(self, t: float, out: np.ndarray) -> Callable[[], None]:
        """Start to `render`; returns a function that waits until the frame is in `out`.

        On the GPU the next frame may start meanwhile; on the CPU it is finished on return. Raises EngineError where the
        GPU fails.
        """
        if not np.isfinite(t):
            raise MotionError(f"frame {t} does not exist: give a number from 0 to {self.frames}")
        time = float(t) if 0 <= t <= self.frames else float(t) % self.frames
        if self._gpu is not None:
            done: Callable[[], None] = self._gpu.begin(time, out)
            return done
        self._render(time, out)
        return lambda: None

    def carried(self, t: float, canvas: np.ndarray, into: list[ExrPart] | None = None) -> list[ExrPart]:
        """The parts of frame t's file: the plate's layers, carried on the CPU as its pixels in `canvas` were.

        `into` are parts of an earlier call, which are overwritten and returned.
        """
        if self._carrier is None:
            raise PlateError("the plate has no layers: read it with layers=")
        time = float(t) if 0 <= t <= self.frames else float(t) % self.frames
        parts = self._carrier.parts() if into is None else into
        self._carrier.carry(time, canvas, parts)
        return parts

    def _prepare_carrier(self) -> Carrier | None:
        """What carries the plate's layers, if it has any."""
        if self.plate.layers is None:
            return None
        from loopcore.loop.carrier import Carrier

        splat = (lambda time, values: self._splatted(time, values)[0]) if self.method == "splat" else None
        return Carrier(self.plate, self._paths, self._mixture, self._source, self._spans, splat)

    def _prepare_mixture(self) -> Mixture | None:
        """What a loop of several cycles or with steady looks is mixed by; None for the two copies of the plain one."""
        from loopcore.loop.mixture import mixture_of

        return mixture_of(self._paths, self.cycles, self.steady, self._source, self._luma, self._tone, self.contrast)

    def _use_gpu(self) -> None:
        """Move to the GPU; EngineError where that does not work."""
        reason = ("" if uses_triton_interpreter() else gpu_unavailable_reason()) or self._move()
        if reason:
            raise EngineError(f"device 'cuda' is not available: {reason}; use --device cpu")

    def _move(self) -> str:
        """Move to the GPU; why not, where that does not work."""
        from loopcore.loop.gpu import loop as gpu_loop

        splat, (height, width) = self.method == "splat", self._mask.shape
        if not uses_triton_interpreter():
            nodes, free = self._paths.velocity[..., 0].size, gpu_loop.bytes_free()
            copies = 0 if self._mixture is None else self._mixture.cycles.most_copies
            needed = gpu_loop.bytes_needed(height, width, self.plate.width, nodes, splat, copies)
            if needed > free:
                return f"the loop needs {needed / 2**30:.1f} GB of the GPU's memory, and {free / 2**30:.1f} GB are free"
        scene = gpu_loop.Scene(
            self._still, self.window, self._source, self._tone, self._mask, self._luma, self._colour,
            self._paths.velocity, self._step, self.frames, splat, self._detail, self._mixture,
        )  # fmt: skip
        try:
            self._gpu = gpu_loop.GpuLoop(scene)
            self._gpu.warm_up()
        except Exception as error:  # of torch, the driver, Triton, its compilers: of no common kind
            return f"the GPU failed ({(str(error).strip() or type(error).__name__).splitlines()[0]})"
        return ""

    def _render(self, time: float, out: np.ndarray) -> None:
        from loopcore.loop import blend

        copy, tones = self._buffers()
        if self._mixture is None:
            change = self._blend(time, copy, tones)
        else:
            change = self._mix(self._mixture, time, copy, tones)
        blend.composite(
            self._source, copy, tones[0], change, self._mask, self._spans, self._colour, out,
            (self.window[0].start, self.window[1].start),
        )  # fmt: skip

    def _mix(self, mixture: Mixture, time: float, copy: np.ndarray, tones: np.ndarray) -> np.ndarray | None:
        """Mix the copies of a frame; returns the change that contrast keeping makes of their tone."""
        from loopcore.loop import mixing

        nodes = mixture.nodes(time)
        mixing.mix(
            self._source, nodes, self._step, self._mask, self._spans, self._luma, self._colour, mixture.white, copy,
            tones[0], None if self.method == "warp" else self._splatted(time)[0],
        )  # fmt: skip
        if time % self.frames == 0:  # the plate itself
            return None
        return mixture.contrast.change(tones[0], mixture.wanted(nodes))

    def _blend(self, time: float, copy: np.ndarray, tones: np.ndarray) -> np.ndarray | None:
        """Blend the two copies of a frame; returns the change that contrast keeping makes of their tone."""
        from loopcore.loop import blend

        nodes = self._paths.nodes(time)
        blend.blend(self._source, nodes, self._step, self._mask, self._spans, self._luma, copy, tones)
        if self.method == "splat":
            copy[...] = self._splatted(time)[0]
            np.copyto(tones[0], blend.sqrt_luminance(copy, self._luma), where=self._mask > 0)
        return self._detail.change(tones[0], self._detail.of_copies(tones[1], tones[2], nodes[..., 4]))

    def holes(self, t: float) -> float:
        """Fraction of the moving pixels that no sample reaches in frame t, before they are filled."""
        if self.method == "warp" or not (self._mask > 0).any():
            return 0.0
        _, weights = self._splatted(float(t))
        return float(np.mean(weights[self._mask > 0] <= 0))

    def copies(self, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The two copies that frame t is blended from.

        Returns the square root of the luminance of the copy from the past and of the one from the future, and the
        blend weight of the first: float32, the size of `window` (two slices), defined where the mask is above 0. Both
        copies are the plate fetched by backward warping, whatever the loop's method.
        """
        from loopcore.loop import blend

        nodes = self._paths.nodes(float(t))
        copy, tones = self._buffers()
        blend.blend(self._source, nodes, self._step, self._mask, self._spans, self._luma, copy, tones)
        past_weight = blend.expand(np.ascontiguousarray(nodes[..., 4:5]), self._step, *self._mask.shape)[..., 0]
        return tones[1].copy(), tones[2].copy(), past_weight

    def sqrt_luminance(self, pixels: np.ndarray) -> np.ndarray:
        """Square root of the luminance (H, W) of a frame (H, W, C), 0 where that is negative."""
        from loopcore.loop import blend
        from loopcore.transport.fill import repair

        return blend.sqrt_luminance(repair(four_channels(pixels)), self._luma)

    def _splatted(self, time: float, values: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The symmetric splat of the plate, or other values, divided by its weights, its holes filled; the weights."""
        from loopcore.transport import cpu
        from loopcore.transport.fill import fill

        height, width = self._mask.shape
        sums, weights = np.zeros((height, width, 4), np.float32), np.zeros((height, width), np.float32)
        for steps, weight in self._splats(time):
            cpu.splat(
                self._source if values is None else values, self._paths.displacement(steps), weight, (sums, weights)
            )
        return fill(sums, weights, self._mask > 0), weights

    def _splats(self, time: float) -> Iterator[tuple[float, np.ndarray]]:
        """Frames from home of each copy, and the weight (H, W) of its pixels."""
        if self._mixture is not None:
            yield from self._mixture.splats(time)
            return
        alpha = 1.0 - time / self.frames
        for steps, weight in ((time, alpha), (time - self.frames, 1.0 - alpha)):
            if weight > 0:
                yield steps, np.full(self._mask.shape, weight, np.float32)

    def _buffers(self) -> tuple[np.ndarray, np.ndarray]:
        """A thread's own blend and three tones; the tones' still pixels are the plate's, and stay so."""
        if not hasattr(self._scratch, "copy"):
            self._scratch.copy = np.zeros_like(self._source)
            self._scratch.tones = np.stack([self._tone] * 3)
        return self._scratch.copy, self._scratch.tones


def load_kernels(device: str = "cpu") -> None:
    """Render one frame of a tiny loop to load the compiled kernels, for instance while a plate is read."""
    size = (2 * MARGIN, 2 * MARGIN)
    plate = Plate(np.ones((*size, 3), np.float32), ("R", "G", "B"))
    motion = MotionField(np.ones((*size, 2), np.float32), np.ones(size, np.float32), np.ones(size, np.float32))
    loop = Loop(plate, motion, device=device)
    loop.render(1, loop.canvas(np.float16))


def fitted(plate: Plate, motion: MotionField) -> MotionField:
    """The motion over all of the plate: one of the display window's size is continued into the overscan."""
    from loopcore.motion.masks import matches

    if not matches(motion.windows, plate.windows):
        raise MotionError(
            f"the plate is {plate.windows} and the motion {motion.windows}: "
            "resize the motion to the plate (MotionField.resized)"
        )
    return motion.over(plate.windows)


def check_settings(
    frames: int, method: str, contrast: float, cycles: int | str, steady: float | str, device: str,
    plate: Plate | None = None,
) -> None:  # fmt: skip
    """Raises MotionError, EngineError or PlateError where `Loop` cannot use settings, or the plate, if it is known."""
    check_loop(plate, frames, cycles, steady)
    if method not in METHODS:
        raise MotionError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    if not 0 <= contrast <= 1:
        raise MotionError(f"contrast {contrast} is out of range: give a number from 0 (off) to 1 (full)")
    if device not in DEVICES:
        raise EngineError(f"unknown device {device!r}: choose one of {', '.join(DEVICES)}")


def check_loop(plate: Plate | None, frames: int, cycles: int | str, steady: float | str) -> None:
    """Raises PlateError or MotionError where a loop cannot be made of the plate, if it is known, by these settings."""
    if plate is not None and len(plate.channels) > MAX_CHANNELS:
        raise PlateError(
            f"the plate has the channels {', '.join(plate.channels)}: a loop takes at most {MAX_CHANNELS},"
            " read one layer of the file"
        )
    if not isinstance(frames, int | np.integer) or frames < 2:
        raise MotionError(f"a loop needs a whole number of frames, at least 2: {frames!r} was given")
    most = min(frames // 2, MAX_CYCLES)
    if cycles != "auto" and not (isinstance(cycles, int | np.integer) and 1 <= cycles <= most):
        raise MotionError(f"cycles {cycles!r} is out of range: give 'auto' or a whole number from 1 to {most}")
    if steady != "auto" and not (isinstance(steady, int | float | np.number) and 0 <= steady <= 1):
        raise MotionError(f"steady {steady!r} is out of range: give 'auto' or a number from 0 (off) to 1 (full)")


def four_channels(pixels: np.ndarray) -> np.ndarray:
    """The pixels (H, W, C) with channels of zeros up to four, a copy."""
    out = np.zeros((*pixels.shape[:2], 4), np.float32)
    for channel in range(pixels.shape[2]):  # Many times faster than numpy's own loop over three values a pixel.
        out[..., channel] = pixels[..., channel]
    return out


def _greatest(pixels: np.ndarray) -> float:
    """The greatest finite magnitude; 0 where there is none."""
    greatest = max(float(pixels.max(initial=0)), -float(pixels.min(initial=0)))
    return greatest if np.isfinite(greatest) else float(np.abs(pixels[np.isfinite(pixels)]).max(initial=0))


def _row_spans(mask: np.ndarray) -> np.ndarray:
    """(H, 2): the first moving pixel of each row and one past the last; (0, 0) where none moves."""
    moving = mask > 0
    some = moving.any(axis=1)
    first = np.where(some, moving.argmax(axis=1), 0)
    last = np.where(some, mask.shape[1] - moving[:, ::-1].argmax(axis=1), 0)
    return np.ascontiguousarray(np.stack([first, last], axis=1).astype(np.int64))
