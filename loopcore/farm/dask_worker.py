# SPDX-License-Identifier: Apache-2.0
"""What the workers of a Dask cluster do."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loopcore.errors import EngineError, SequenceError
from loopcore.parallel import thread_count

if TYPE_CHECKING:
    from loopcore.baking.recipe import Recipe
    from loopcore.files.pattern import FramePattern
    from loopcore.motion.field import MotionField
    from loopcore.plate import Plate


@dataclass(frozen=True)
class Scene:
    """What is sent to all workers.

    Attributes:
        plate: the still.
        motion: its motion.
        recipe: of the frames; it has the settings of the loop.
        pattern: of the frames' files, an absolute path.
        peers: number of workers on each host, which share its processors.
    """

    plate: Plate
    motion: MotionField
    recipe: Recipe
    pattern: FramePattern
    peers: dict[str, int]


def probe(path: str, text: str) -> str:
    """Returns why this worker cannot read a file and write beside it; "" if it can.

    Args:
        path: of a file that another machine wrote.
        text: its content.
    """
    file = Path(path)
    try:
        if file.read_text("utf-8") != text:
            return "it is another folder there"
        beside = file.with_name(f"{file.name}{os.urandom(4).hex()}")
        beside.touch()
        beside.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return ""


class _Renderer:
    """The loop of a scene. Frames are computed one after another, and written by the threads that asked for them."""

    def __init__(self, scene: Scene) -> None:
        from loopcore.baking.plan import Plan
        from loopcore.loop import Loop

        recipe, pattern = scene.recipe, scene.pattern
        cycles, steady = recipe.looks()
        self.loop = Loop(
            scene.plate, scene.motion, frames=recipe.frames, method=recipe.method, contrast=recipe.contrast,
            cycles=cycles, steady=steady, device=recipe.backend,
        )  # fmt: skip
        self.plan = Plan.of(
            self.loop, pattern.folder, pattern.prefix[:-1], first=recipe.first, fps=recipe.fps, format=recipe.format,
            depth=recipe.depth, compression=recipe.compression,
        )  # fmt: skip
        if self.plan.recipe != recipe:
            raise EngineError("this worker would make other frames: install the same Loopcore on all machines")
        self._lock, self._free = threading.Lock(), list[np.ndarray]()

    def write(self, number: int) -> None:
        """Computes and writes one frame."""
        from loopcore.baking.writers import save_frame

        with self._lock:
            canvas = self._free.pop() if self._free else self.plan.canvas()
            self.loop.begin(self.plan.recipe.time(number), canvas)()
            parts = None if self.loop.plate.layers is None else self.plan.carried(canvas, number)
        try:
            save_frame(self.plan, number, canvas, parts)
        finally:
            self._free.append(canvas)


_lock = threading.Lock()
_renderer: tuple[str, _Renderer] | None = None
_threads_given = "LOOPCORE_THREADS" in os.environ


def write_frame_of(scene: Scene, number: int) -> int:
    """Computes and writes one frame, and returns its number.

    Args:
        scene: what to make.
        number: of the frame.

    Raises:
        SequenceError: this worker does not see the folder, or cannot write the frame.
        EngineError: its Loopcore makes other frames.
    """
    global _renderer
    folder = scene.pattern.folder
    if not folder.is_dir():
        raise SequenceError(f"worker {_address()} does not see the folder '{folder}': write to one that all share")
    with _lock:
        if not _threads_given:
            _share_processors(scene)
        key = f"{scene.recipe.digest()} {scene.pattern}"
        if _renderer is None or _renderer[0] != key:
            _renderer = key, _Renderer(scene)
        renderer = _renderer[1]
    renderer.write(number)
    return number


def _share_processors(scene: Scene) -> None:
    """Gives this worker its part of the host's processors."""
    from distributed import get_worker
    from distributed.comm import get_address_host

    os.environ.pop("LOOPCORE_THREADS", None)
    peers = scene.peers.get(get_address_host(get_worker().address), 1)
    os.environ["LOOPCORE_THREADS"] = str(max(1, thread_count() // peers))


def _address() -> str:
    from distributed import get_worker

    return str(get_worker().address)
