# SPDX-License-Identifier: Apache-2.0
"""Writes an H.264 film of several cycles of a loop, so that the seam can be seen.

One cycle is encoded, and its packets are written again with later times. This is exact, because the cycle begins with
a key frame and refers to no frame before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.baking.frame_rate import frame_rate
from loopcore.errors import EngineError, SequenceError
from loopcore.files.atomic import write_atomically
from loopcore.preview.sheet import check_picture

Progress = Callable[[int, int], None]

# Encoders by preference with their settings. Key frames usually get more bits than others. Here the difference is
# small: a sharper first frame of each cycle would look like a seam that is not in the frames.
_ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "16", "preset": "medium", "x264-params": "ipratio=1.1:pbratio=1.1:open-gop=0"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(2 * 118)},
}
# ITU-R BT.709 primaries, transfer and matrix, in the numbers of ITU-T H.273; range 1 is 16..235.
_BT709, _LIMITED = 1, 1
MAX_CYCLES = 1000
_LARGEST_SIDE = 16384  # of H.264 in x264


def write_film(
    frames: Iterable[np.ndarray],
    path: str | Path,
    fps: Fraction | float | str = 24,
    cycles: int = 3,
    on_progress: Progress | None = None,
    count: int | None = None,
) -> str:
    """Writes frames as an mp4.

    Args:
        frames: (H, W, 3) uint8 sRGB pictures of one size, iterated once. Odd sizes are padded to even by repeating
            the last row or column.
        path: the file.
        fps: frames per second; see `frame_rate`.
        cycles: how many times the frames are repeated, 1 to 1000.
        on_progress: called with (done, total) after each frame.
        count: the total; None takes the length of `frames`, or the number so far where it has none.

    Returns:
        The encoder's name.

    Raises:
        SequenceError: no frames, frames that differ in size, an invalid rate or number of cycles, or a path that
            cannot be written.
        EngineError: the av package has no encoder for films, or encoding fails.
    """
    rate = frame_rate(fps)
    if not 1 <= cycles <= MAX_CYCLES:
        raise SequenceError(f"a film cannot have {cycles} cycles: give 1 to {MAX_CYCLES}")
    encoder = _find_encoder()
    if count is None and isinstance(frames, Sized):
        count = len(frames)
    checked = _checked(frames, count, on_progress)
    write_atomically(path, lambda temporary: _encode(checked, temporary, rate, cycles, encoder))
    return encoder


def _find_encoder(wanted: Iterable[str] = tuple(_ENCODERS)) -> str:
    import av

    for name in wanted:
        if name in av.codecs_available:
            try:
                av.Codec(name, "w")
            except ValueError:
                continue
            return name
    raise EngineError(
        f"this build of the av package has no encoder for films ({', '.join(wanted)}): pip install --upgrade av"
    )


def _checked(frames: Iterable[np.ndarray], count: int | None, on_progress: Progress | None) -> Iterator[np.ndarray]:
    """Yields the frames after checking them; reports each when the next is requested, when it has been encoded."""
    size = None
    for index, frame in enumerate(frames):
        check_picture(frame, f"frame {index + 1} of the film")
        if size is None:
            size = frame.shape
            if max(size) > _LARGEST_SIDE:
                raise SequenceError(
                    f"a film of {size[1]}x{size[0]} pixels is too large: the longest side is {_LARGEST_SIDE}. Make a "
                    "contact sheet (.png) instead, or a narrower preview"
                )
        elif frame.shape != size:
            was, now = f"{size[1]}x{size[0]}", f"{frame.shape[1]}x{frame.shape[0]}"
            raise SequenceError(f"frame {index + 1} of the film is {now}, those before are {was}")
        yield frame
        if on_progress is not None:
            on_progress(index + 1, index + 1 if count is None else count)
    if size is None:
        raise SequenceError("a film needs at least one frame")


def _encode(frames: Iterator[np.ndarray], path: Path, rate: Fraction, cycles: int, encoder: str) -> None:
    import av

    try:
        # Absolute, because a colon in a relative name would be parsed as a protocol.
        with av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = None
            packets: list[Any] = []
            number = 0
            for number, pixels in enumerate(frames, 1):
                padded = _padded(pixels)
                if stream is None:
                    stream = _open_stream(container, encoder, rate, padded)
                packets += stream.encode(_video_frame(padded, number - 1, rate))
            assert stream is not None
            packets += stream.encode(None)
            _write_cycles(container, stream, packets, number, cycles)
    except av.FFmpegError as error:
        if isinstance(error, OSError) and error.errno in _disk_errors():
            raise
        raise EngineError(f"{encoder} cannot encode the film: {error}") from error


def _open_stream(container: Any, encoder: str, rate: Fraction, pixels: np.ndarray) -> Any:
    stream = container.add_stream(encoder, rate=rate, options=dict(_ENCODERS[encoder]))
    stream.height, stream.width = pixels.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.color_primaries = context.color_trc = context.colorspace = _BT709
    context.color_range = _LIMITED
    return stream


def _video_frame(pixels: np.ndarray, index: int, rate: Fraction) -> Any:
    from av import VideoFrame
    from av.video.reformatter import ColorRange, Colorspace

    rgb = VideoFrame.from_ndarray(pixels, format="rgb24")
    frame = rgb.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation="BICUBIC",
    )
    frame.pts, frame.time_base = index, 1 / rate
    return frame


def _padded(pixels: np.ndarray) -> np.ndarray:
    """Returns the picture with even sides, which 4:2:0 chroma needs."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_cycles(container: Any, stream: Any, packets: list[Any], count: int, cycles: int) -> None:
    from av import Packet

    base = packets[0].time_base
    length = round(count / (stream.codec_context.rate * base))
    times = [(packet.pts, packet.dts, packet.duration, packet.is_keyframe) for packet in packets]
    contents = [bytes(packet) for packet in packets]
    for cycle in range(cycles):
        for content, (pts, dts, duration, is_key) in zip(contents, times, strict=True):
            packet = Packet(content)
            packet.stream, packet.time_base = stream, base
            packet.pts, packet.dts, packet.duration = pts + cycle * length, dts + cycle * length, duration
            packet.is_keyframe = is_key
            container.mux(packet)


def _disk_errors() -> set[int]:
    import errno

    return {errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EIO, errno.EFBIG, errno.ENOTDIR}
