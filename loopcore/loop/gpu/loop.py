# SPDX-License-Identifier: Apache-2.0
"""A loop on the GPU: plate and motion go up once, frames are made there, and come down while the next ones are made.

Two streams: one computes, one carries frames to the host. There are two frames on the GPU, so that one can be written
while the other leaves; on the host, canvases lie in pinned memory, where copies are asynchronous.

Runs through Triton's interpreter on the CPU, too, without streams: for tests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch

from loopcore.exr import HALF_MAX, as_stored
from loopcore.loop import blend
from loopcore.loop.contrast import PATCH, Contrast
from loopcore.loop.device import translate_errors
from loopcore.loop.gpu.contrast import GpuContrast, GpuPlateContrast
from loopcore.loop.gpu.kernels import blend as blend_kernels
from loopcore.loop.gpu.kernels import mixing as mixing_kernels
from loopcore.loop.gpu.mixture import GpuMixture, bytes_per_node, smoothed
from loopcore.loop.mixture import Mixture
from loopcore.loop.plate_contrast import COPY, SHIFT
from loopcore.transport import gpu
from loopcore.transport.fill import fill_tensor
from loopcore.transport.gpu import plan

# Bytes a pixel of the window: plate, mask and copy; levels, weights and changes of the bands, and their blocks.
_BYTES_PER_PIXEL = 16 + 4 + 16 + 16 + 6 + 6 + 2
# While a splat is made: two displacements, pieces, cells, some two entries a cell, and the filling of holes.
_SPLAT_BYTES_PER_PIXEL = 16 + 2 + 32 + 16 + 80
# A node: its numbers, velocity, displacements, and blend weights while they are smoothed.
_BYTES_PER_NODE = 36 + 8 + 16 + 16
# What torch and Triton take besides, and what others may want meanwhile.
_RESERVED_BYTES = 512 << 20


class Scene(NamedTuple):
    """What a loop is made of, as `Loop` has it: the still (H, W, 4), and what lies in the window of it that moves."""

    still: np.ndarray
    window: tuple[slice, slice]
    source: np.ndarray
    tone: np.ndarray
    mask: np.ndarray
    luma: np.ndarray
    colour: np.ndarray
    velocity: np.ndarray
    step: int
    frames: int
    splat: bool
    contrast: Contrast
    mixture: Mixture | None


class _Slot:
    """One frame on the GPU: the window's rows of it, as wide as the frame, and when its last copy is through."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels
        self.landed: Any = None


def bytes_needed(height: int, width: int, frame_width: int, nodes: int, splat: bool, copies: int = 0) -> int:
    """GPU memory for a loop whose window is (height, width): an estimate, rather too high than too low.

    copies: how many are mixed at most in a loop of several cycles; 0 for the plain loop.
    """
    canvases = 2 * height * frame_width * 4 * (2 + 4)
    per_pixel = _BYTES_PER_PIXEL + (_SPLAT_BYTES_PER_PIXEL if splat else 0)
    per_node = _BYTES_PER_NODE + (bytes_per_node(copies) if copies else 0)
    return height * width * per_pixel + nodes * per_node + canvases + _RESERVED_BYTES


def bytes_free() -> int:
    """GPU memory that can be had: the free, and what torch holds back for its own next use."""
    free, _ = torch.cuda.mem_get_info()
    return int(free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


class GpuLoop:
    """Makes a scene's frames; from any thread, one at a time."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.device = torch.device("cpu" if gpu.INTERPRETED else "cuda", None if gpu.INTERPRETED else 0)
        self._lock = threading.Lock()
        self._streams = [None, None] if gpu.INTERPRETED else [torch.cuda.Stream(self.device) for _ in range(2)]
        self._slots: dict[torch.dtype, list[_Slot]] = {}
        self._rows, self._left = scene.window[0], scene.window[1].start
        height, width = scene.mask.shape
        self._plan = gpu.Plan(height, width, 4, torch.float32, elements=128 * (height + 1) * (width + 1))
        tile = {"TILE_X": self._plan.tile_x, "TILE_Y": self._plan.tile_y}
        self._tile = {**tile, "WIDE": 4 * height * width >= plan.INT32_ELEMENTS}
        with self._on(0):
            self._plate, self._mask, self._luma, self._colour, self._velocity = (
                torch.from_numpy(array).to(self.device)
                for array in (scene.source, scene.mask, scene.luma, scene.colour, scene.velocity)
            )
            self._copy = torch.zeros_like(self._plate)
            self._grid, self._mixture, self._contrast = self._prepare()

    def _prepare(self) -> tuple[torch.Tensor, GpuMixture | None, GpuContrast]:
        """The frame's nodes, what makes them in a loop of several cycles, and what keeps contrast."""
        scene, shape = self.scene, self.scene.velocity.shape[:2]
        if scene.mixture is None:
            grid = torch.zeros((blend.NODE, *shape), device=self.device)
            return grid, None, GpuContrast(scene.contrast, scene.tone, shape, self.device)
        height, width = scene.mask.shape
        mixture = GpuMixture(scene.mixture, scene.step, (height, width), self._trace, self.device)
        contrast = GpuPlateContrast(scene.mixture.contrast, scene.tone, mixture.strength, scene.step, self.device)
        return mixture.grid, mixture, contrast

    def warm_up(self) -> None:
        """Render one frame and discard it: compiles the kernels and shows whether there is enough memory."""
        with self._lock, self._on(0):
            self._draw(self.scene.frames / 2, self._free_slot(torch.float16).pixels)
            if self._streams[0] is not None:
                self._streams[0].synchronize()

    def canvas(self, pixels: np.ndarray) -> np.ndarray:
        """A copy of the pixels in pinned memory, where there is enough of that."""
        if self._streams[0] is None:
            return pixels.copy()
        try:
            out = torch.empty(pixels.shape, dtype=torch.from_numpy(pixels[:0]).dtype, pin_memory=True).numpy()
        except RuntimeError:  # the system gives no more of it; copies are slower from elsewhere, and as right
            return pixels.copy()
        out[...] = pixels
        return out

    def begin(self, time: float, out: np.ndarray) -> Callable[[], None]:
        """Begin to write the moving pixels of a moment of the loop into `out`; returns what waits for them.

        out: (H, W, 4), float32 or float16, with the still in it.

        Raises EngineError where the GPU fails; so does waiting.
        """
        target = torch.from_numpy(out[self._rows])
        with self._lock, self._on(0), translate_errors():
            slot = self._free_slot(target.dtype)
            self._draw(time, slot.pixels)
            return self._send(slot, target)

    def _on(self, stream: int) -> AbstractContextManager[Any]:
        chosen = self._streams[stream]
        if chosen is None:
            return nullcontext()
        both = ExitStack()
        both.enter_context(torch.cuda.device(self.device))
        both.enter_context(torch.cuda.stream(chosen))
        return both

    def _free_slot(self, dtype: torch.dtype) -> _Slot:
        """The slot that was used longest ago; the stream that computes waits until its frame has left."""
        if dtype not in self._slots:
            # Rounded by who makes canvases: what is still has to be the same to the bit, NaN and all.
            rows = as_stored(self.scene.still[self._rows], np.float16 if dtype == torch.float16 else np.float32)
            self._slots[dtype] = [_Slot(torch.tensor(rows, device=self.device)) for _ in range(2)]
            if self._streams[1] is not None:  # nobody else gets the memory before the last frame has left it
                for slot in self._slots[dtype]:
                    slot.pixels.record_stream(self._streams[1])
        slots = self._slots[dtype]
        slots.reverse()
        if slots[0].landed is not None:
            slots[0].landed.wait(self._streams[0])
        return slots[0]

    def _send(self, slot: _Slot, target: torch.Tensor) -> Callable[[], None]:
        if self._streams[1] is None:
            target.copy_(slot.pixels)
            return lambda: None
        self._streams[1].wait_stream(self._streams[0])
        # One that sleeps while it waits: the writers' threads have better uses for the cores.
        slot.landed = landed = torch.cuda.Event(blocking=True)
        with self._on(1):
            target.copy_(slot.pixels, non_blocking=True)
            landed.record(self._streams[1])

        def wait() -> None:
            with translate_errors():
                landed.synchronize()

        return wait

    def _draw(self, time: float, canvas: torch.Tensor) -> None:
        """Launch all that makes one frame."""
        height, width = self.scene.mask.shape
        copies = self._blend(time) if self._mixture is None else self._mix(self._mixture, time)
        change = self._contrast.change(self._grid, copies) if copies else None
        given = (self._mask, self._mask) if change is None else change
        patches = (1, 1) if change is None else self._contrast.patches
        blend_kernels.composite[(self._plan.tiles,)](
            self._plate, self._copy, self._contrast.tones[0], *given, self._mask, self._colour, canvas, height, width,
            canvas.shape[1], self._left, *patches, HAS_CHANGE=change is not None, PATCH=PATCH,
            MIN=blend.MIN_RATIO, MAX=blend.MAX_RATIO, HALF=HALF_MAX, **self._tile,
        )  # fmt: skip

    def _blend(self, time: float) -> int:
        """Blend the two copies of a frame; returns their number."""
        alpha = 1.0 - time / self.scene.frames
        self._make_nodes(time, alpha)
        blend_kernels.blend[(self._plan.tiles,)](
            self._plate, self._grid, self._mask, self._luma, self._copy, *self._contrast.tones,
            *self.scene.mask.shape, *self._grid.shape[1:], self.scene.step, *self._periods(),
            MAX=float(blend.MAX_FETCHES), **self._tile,
        )  # fmt: skip
        if self.scene.splat:
            self._splat(time, alpha)
        return 2

    def _mix(self, mixture: GpuMixture, time: float) -> int:
        """Mix the copies of a frame of several cycles; returns their number, 0 where the frame is the plate itself."""
        spans = mixture.weigh(time)
        if self.scene.splat:
            self._splat_copies(mixture, spans)
        mixture.make_nodes(spans)
        mixing_kernels.mix[(self._plan.tiles,)](
            self._plate, mixture.grid, self._mask, self._luma, self._colour, self._copy, self._contrast.tones[0],
            len(spans), float(mixture.white), *self.scene.mask.shape, *mixture.grid.shape[1:],
            self.scene.step, *self._periods(), FETCHED=self.scene.splat, SHIFTED=mixture.is_shifted,
            SHIFT=SHIFT, COPY=COPY, MIN=blend.MIN_RATIO, MAX=float(blend.MAX_FETCHES), **self._tile,
        )  # fmt: skip
        return len(spans) if time % self.scene.frames else 0

    def _periods(self) -> tuple[int, int]:
        height, width = self.scene.mask.shape
        return max(2 * (height - 1), 1), max(2 * (width - 1), 1)

    def _trace(self, steps: float) -> torch.Tensor:
        """The displacement (rows, columns, 2) after so many frames, in cells of the grid."""
        return gpu.integrate(self._velocity, steps)

    def _make_nodes(self, time: float, alpha: float) -> None:
        past, future = self._trace(-time), self._trace(self.scene.frames - time)
        (height, width), (rows, columns) = self.scene.mask.shape, past.shape[:2]
        plan, min_weight = gpu.Plan(rows, columns, 1, torch.float32), blend.MIN_WEIGHT
        tile = {"TILE_X": plan.tile_x, "TILE_Y": plan.tile_y, "WIDE": plan.wide}
        blend_kernels.nodes[(plan.tiles,)](
            past, future, self._grid, rows, columns, self.scene.step, alpha, MIN_WEIGHT=min_weight,
            MIN_SQUEEZE=blend.MIN_SQUEEZE, **tile,
        )  # fmt: skip
        smooth = smoothed(self._grid[4:5], blend.smoothing(self.scene.step, height, width))
        blend_kernels.blend_weights[(plan.tiles,)](
            smooth, self._grid, rows, columns, self.scene.step, height, width,
            max(4.0, blend.BORDER_RAMP * max(height, width)), MIN_WEIGHT=min_weight, **tile,
        )  # fmt: skip

    def _splat(self, time: float, alpha: float) -> None:
        """Put the symmetric splat in the place of the blend, with its holes filled."""
        height, width = self.scene.mask.shape
        shifts = [self._expanded(self._trace(t), self.scene.step) for t in (time, time - self.scene.frames)]
        bins, pieces = gpu.bin_splats(self._plan, shifts)
        weights, tone = torch.empty_like(self._mask), self._contrast.tones[0]
        blend_kernels.gather_both[(self._plan.tiles,)](
            self._plate, *shifts, pieces, bins.offsets, bins.entries, self._mask, self._luma, self._copy, weights,
            tone, alpha, height, width, STRETCHED=bins.noted > 0, NONE=bins.none, SORTED=bins.is_sorted,
            **{**self._tile, "WIDE": self._plan.wide},
        )  # fmt: skip
        moving = self._mask > 0
        if ((weights <= 0) & moving).any():
            self._copy.copy_(fill_tensor(self._copy, weights))
            light = (self._copy * self._luma).sum(-1).clamp_(min=0)
            tone.copy_(torch.where(moving, light.sqrt_(), tone))

    def _splat_copies(self, mixture: GpuMixture, spans: list[float]) -> None:
        """Put into `_copy` the splats of all copies, by their weights in time, with holes filled."""
        sums, weights = torch.zeros_like(self._copy), torch.zeros_like(self._mask)
        for span, weight in zip(spans, mixture.weights, strict=False):
            if weight.any():
                shift = self._expanded(self._trace(span), self.scene.step)
                own, amount = gpu.splat(self._plate, shift, self._expanded(weight[..., None], 1)[..., 0])
                sums += own
                weights += amount
        holes = weights <= 0
        torch.div(sums, torch.where(holes, 1, weights)[..., None], out=self._copy)
        if (holes & (self._mask > 0)).any():
            self._copy.copy_(fill_tensor(self._copy, weights))

    def _expanded(self, grid: torch.Tensor, factor: int) -> torch.Tensor:
        """A grid (rows, columns, C) interpolated to every pixel (H, W, C), times `factor`."""
        (height, width), (rows, columns, channels) = self.scene.mask.shape, grid.shape
        out = torch.empty((height, width, channels), device=self.device)
        blend_kernels.expand[(self._plan.tiles,)](
            grid, out, height, width, rows, columns, self.scene.step, factor, CHANNELS=channels, **self._tile
        )
        return out
