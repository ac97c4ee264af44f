# SPDX-License-Identifier: Apache-2.0
"""The paths of what moves, traced on a grid over a window round it: what the loop and its flow maps are made of."""

import math

import numpy as np

from loopcore.motion.field import MotionField

# Paths are traced from no more nodes than this: a finer grid shows no finer motion.
MAX_NODES = 600_000
# What is fetched lies this near to what moves: the filters' reach, and room for the coarser bands of contrast.
MARGIN = 64


class Paths:
    """Where the content of each moving pixel was, and will be, at other times of a loop of N frames.

    window: rows and columns (two slices) of the frame outside of which nothing moves. mask: (H, W) float32, the
    motion's in the window. velocity: (rows, columns, 2) float32, in cells of `step` pixels a frame; node (i, j) lies at
    the window's pixel (step j, step i). drifting: (H, W) or None, the motion's in the window.

    Convention: as MotionField: x right, y down, pointing where content goes.
    """

    def __init__(self, motion: MotionField, frames: int) -> None:
        from loopcore.loop import blend

        self.frames = frames
        # Nothing outside the mask's bounding box moves, or is fetched.
        self.window = _window(motion.mask)
        self.mask = np.ascontiguousarray(motion.mask[self.window], np.float32)
        height, width = self.mask.shape
        self.step = max(1, math.ceil(math.sqrt(height * width / MAX_NODES)))
        effective = motion.velocity[self.window] * self.mask[..., None]
        self.velocity = blend.to_grid(effective, self.step) / np.float32(self.step)
        self.drifting = None if motion.drifting is None else motion.drifting[self.window]

    def nodes(self, t: float) -> np.ndarray:
        """Of frame t: the grid's nodes (rows, columns, NODE), as `blend` has them."""
        from loopcore.loop import blend

        past, future = self.trace(-t), self.trace(self.frames - t)
        height, width = self.mask.shape
        return blend.nodes(past, future, self.step, height, width, 1.0 - t / self.frames)

    def trace(self, span: float) -> np.ndarray:
        """(rows, columns, 2) at the nodes, in cells: where content is after `span` frames, relative to where it is."""
        from loopcore.transport import cpu

        return cpu.integrate(self.velocity, span)

    def displacement(self, span: float) -> np.ndarray:
        """(H, W, 2) of the window: where each pixel's content is after `span` frames, relative to where it is now."""
        from loopcore.loop import blend

        grid = self.trace(span) * np.float32(self.step)
        height, width = self.mask.shape
        return blend.expand(grid, self.step, height, width)


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """The mask's bounding box and a margin: rows and columns; one pixel when nothing moves."""
    slices = []
    for axis in (1, 0):
        moving = np.flatnonzero((mask > 0).any(axis=axis))
        size = mask.shape[1 - axis]
        if moving.size:
            slices.append(slice(max(int(moving[0]) - MARGIN, 0), min(int(moving[-1]) + 1 + MARGIN, size)))
        else:
            slices.append(slice(0, 1))
    return slices[0], slices[1]
