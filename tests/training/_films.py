# SPDX-License-Identifier: Apache-2.0
"""Clips of synthetic scenes as files, motion files beside them, and what they teach."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from loopcore.training.footage import Supervision
from loopcore.training.synthetic import Scene, make_scene


def write_film(path: Path, frames: Iterable[np.ndarray], rate: int = 24) -> Path:
    """Writes a nearly lossless H.264 mp4, or another format by its suffix."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if path.suffix == ".mp4" else "mpeg4", rate=rate)
        for pixels in frames:
            if not stream.width or stream.pix_fmt != "yuv420p" or not stream.codec_context.is_open:
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "8"} if path.suffix == ".mp4" else {}
                stream.bit_rate = 0 if path.suffix == ".mp4" else 8_000_000
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def film_of(path: Path, kind: str, seed: int, size: tuple[int, int], frames: int, speed: float = 1.5) -> Scene:
    """Writes the first frames of a scene as a film; returns the scene."""
    scene = make_scene(kind, seed, *size, speed=speed)
    write_film(path, (scene.frame(t) for t in range(frames)))
    return scene


def write_flo(path: Path, flow: np.ndarray) -> None:
    """A Middlebury file of motion (h, w, 2), pixels."""
    height, width = flow.shape[:2]
    path.write_bytes(b"PIEH" + np.array([width, height], "<i4").tobytes() + flow.astype("<f4").tobytes())


def write_pictures(folder: Path, frames: Iterable[np.ndarray]) -> Path:
    """Writes a clip as a folder of numbered PNG files."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number, pixels in enumerate(frames):
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def supervision_of(kind: str, seed: int, size: tuple[int, int], scene: str = "", name: str = "") -> Supervision:
    """Returns what a made-up scene teaches, with its true motion in place of a measured one."""
    made = make_scene(kind, seed, *size, speed=1.5)
    fluid = made.mask > 0.5
    velocity = made.velocity * fluid[..., None]
    name = name or f"{kind} {seed}"
    return Supervision(
        name, kind, scene or name, made.frames(3, 2), velocity, fluid.astype(np.float32), fluid, made.mask < 0.1
    )
