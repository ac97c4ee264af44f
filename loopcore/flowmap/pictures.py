# SPDX-License-Identifier: Apache-2.0
"""Vectors in the colours of a PNG, 8 or 16 bits, and Middlebury's .flo.

Convention (f is the motion of the content in pixels per frame, y DOWN; the picture is W x H):

- `rsmb` (RE:Vision's): red and green are ((d / D) + 1) / 2 * 65534, rounded, d = (fx, -fy) in pixels, D the plug-in's
  Max Displace; 32767 is no motion. 16 bits only: with 8 the error would be up to D / 254.
- `game`: red and green are c = (p / strength + 1) / 2. p is added to a texture coordinate: (-fx / W, fy / H) where V
  points up (OpenGL, Unity, Blender), (-fx / W, -fy / H) where it points down (DirectX, Unreal). The number of codes is
  even, so no code is exactly 0; no motion is 128 of 255 or 32768 of 65535.
- `kitti`: 16 bits, f * 64 + 32768, y DOWN; blue is 1 where the vector is known.
- `flo`: float32, y DOWN; components beyond 1e9 are unknown.

In files of Loopcore blue is the mask, and text chunks hold the values that a reader needs (see `FlowNumbers`).
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np

from loopcore.errors import MotionError
from loopcore.files.regular import PIXELS, read_regular
from loopcore.flowmap.layouts import with_mask
from loopcore.image import png_texts
from loopcore.motion.field import MotionField

FLO_MAGIC = b"PIEH"
GREENS = ("up", "down")
TEXT_PREFIX = "loopcore/"
_UNKNOWN = 1e9
_RSMB_TOP = 65534


def rsmb_codes(motion: MotionField, max_displace: float | None) -> tuple[np.ndarray, float]:
    """Encodes a motion field for RSMB.

    Args:
        motion: the motion field.
        max_displace: in pixels; None takes the smallest whole number that holds the motion.

    Returns:
        (H, W, 3) uint16, and the Max Displace used.

    Raises:
        MotionError: a Max Displace below the fastest vector, or not above 0.
    """
    shown = motion.effective * np.array([1, -1], np.float32)
    fastest = float(np.abs(shown).max())
    limit = float(max(np.ceil(fastest), 1.0)) if max_displace is None else float(max_displace)
    if not np.isfinite(limit) or limit <= 0:
        raise MotionError(f"max displace {max_displace} must be above 0 pixels")
    if fastest > limit:
        raise MotionError(f"the motion reaches {fastest:.2f} px: a max displace of {limit:g} would clip it")
    codes = np.empty((*motion.mask.shape, 3), np.uint16)
    codes[..., :2] = np.floor((shown.astype(np.float64) / limit + 1) / 2 * _RSMB_TOP + 0.5)
    codes[..., 2] = np.rint(motion.mask.astype(np.float64) * 65535)
    return codes, limit


def motion_of_rsmb(codes: np.ndarray, max_displace: float, from_loopcore: bool) -> MotionField:
    """Decodes RSMB's codes; the inverse of `rsmb_codes`.

    Args:
        codes: (H, W, 3) uint16.
        max_displace: in pixels.
        from_loopcore: whether blue is the mask; otherwise it is ignored.
    """
    shown = (codes[..., :2].astype(np.float64) / _RSMB_TOP * 2 - 1) * max_displace * (1, -1)
    return _with_blue(shown, codes, from_loopcore)


def game_codes(
    motion: MotionField, bits: int = 16, green: str = "up", strength: float | None = None
) -> tuple[np.ndarray, float]:
    """Encodes a motion field for game engines.

    Args:
        motion: the motion field.
        bits: 8 or 16.
        green: "up" or "down".
        strength: texture units per frame at full colour; None takes the smallest that holds the motion.

    Returns:
        (H, W, 3) uint8 or uint16, and the strength used.

    Raises:
        MotionError: an unknown setting, or a strength below the fastest vector.
    """
    if bits not in (8, 16):
        raise MotionError(f"a game engine's flow map has 8 or 16 bits, not {bits}")
    pull = motion.effective * _game_scale(motion.height, motion.width, green)
    fastest = float(np.abs(pull).max())
    # Without motion the strength is tiny, because the code for no motion is not exactly 0.
    limit = (fastest or 1e-6) if strength is None else float(strength)
    if not np.isfinite(limit) or limit <= 0:
        raise MotionError(f"strength {strength} must be above 0 texture units per frame")
    if fastest > limit:
        raise MotionError(
            f"the motion reaches {fastest:.6f} of the picture per frame: strength {limit:g} would clip it"
        )
    top = 2**bits - 1
    codes = np.empty((*motion.mask.shape, 3), np.uint8 if bits == 8 else np.uint16)
    codes[..., :2] = np.floor((pull / limit + 1) / 2 * top + 0.5)
    codes[..., 2] = np.rint(motion.mask.astype(np.float64) * top)
    return codes, limit


def motion_of_game(codes: np.ndarray, strength: float, green: str, from_loopcore: bool) -> MotionField:
    """Decodes a game map; the inverse of `game_codes`.

    Args:
        codes: (H, W, 3) uint8 or uint16.
        strength: texture units per frame at full colour.
        green: "up" or "down".
        from_loopcore: whether blue is the mask; otherwise it is ignored.

    Raises:
        MotionError: an unknown `green`.
    """
    top = np.iinfo(codes.dtype).max
    pull = (codes[..., :2].astype(np.float64) / top * 2 - 1) * strength
    return _with_blue(pull / _game_scale(codes.shape[0], codes.shape[1], green), codes, from_loopcore)


def _game_scale(height: int, width: int, green: str) -> np.ndarray:
    if green not in GREENS:
        raise MotionError(f"unknown green {green!r}: choose up (OpenGL, Unity) or down (DirectX, Unreal)")
    return np.array([-1 / width, (1 if green == "up" else -1) / height])


def _with_blue(shown: np.ndarray, codes: np.ndarray, from_loopcore: bool) -> MotionField:
    mask = codes[..., 2].astype(np.float32) / np.float32(np.iinfo(codes.dtype).max) if from_loopcore else None
    return with_mask(shown.astype(np.float32), mask, from_loopcore)


def motion_of_kitti(codes: np.ndarray) -> MotionField:
    """Decodes a KITTI flow map. Unknown vectors become 0 with mask and confidence 0.

    Args:
        codes: (H, W, 3) uint16.

    Raises:
        MotionError: 8-bit codes.
    """
    if codes.dtype != np.uint16:
        raise MotionError("it has 8 bits per channel, but a KITTI flow map has 16: use the original file")
    known = codes[..., 2] > 0
    return _partly_known((codes[..., :2].astype(np.float32) - 32768) / 64, known)


def read_flo(path: Path) -> MotionField:
    """Reads a Middlebury .flo. Unknown vectors become 0 with mask and confidence 0.

    Args:
        path: the file.

    Raises:
        MotionError: not a .flo, damaged, or with NaN.
    """
    data = read_regular(path, PIXELS)
    if data[:4] != FLO_MAGIC or len(data) < 12:
        raise MotionError("it does not begin as a Middlebury .flo does")
    width, height = struct.unpack_from("<ii", data, 4)
    if not (0 < width < 100_000 and 0 < height < 100_000) or len(data) < 12 + 8 * width * height:
        raise MotionError(f"its header says {width}x{height}, but it holds {len(data)} bytes: it is damaged")
    flow = np.frombuffer(data, "<f4", 2 * width * height, 12).reshape(height, width, 2).astype(np.float32)
    with np.errstate(invalid="ignore"):
        known = np.abs(flow).max(axis=2) <= _UNKNOWN
    if np.isnan(flow).any():
        raise MotionError("it holds NaN: export it again")
    return _partly_known(flow, known)


def _partly_known(flow: np.ndarray, known: np.ndarray) -> MotionField:
    confidence = known.astype(np.float32)
    return MotionField(np.where(known[..., None], flow, 0), confidence, confidence.copy())


def read_png(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Reads the codes of an RGB or RGBA PNG.

    Args:
        path: the file.

    Returns:
        (H, W, 3) uint8 or uint16, and Loopcore's text chunks without their prefix.

    Raises:
        MotionError: damaged, or neither RGB nor RGBA.
    """
    import av

    data = read_regular(path, PIXELS)
    texts = png_texts(data)
    texts = {key.removeprefix(TEXT_PREFIX): text for key, text in texts.items() if key.startswith(TEXT_PREFIX)}
    try:
        # Bytes, as FFmpeg takes a %d in a path for the number of a sequence, and text before a colon for a protocol.
        with av.open(io.BytesIO(data), format="png_pipe") as file:
            frame = next(file.decode(video=0))
    except (av.FFmpegError, StopIteration, IndexError, ValueError, OSError) as error:
        raise MotionError(f"it cannot be decoded ({error}): it is damaged") from error
    counts = {"rgb24": 3, "rgba": 4, "rgb48be": 3, "rgba64be": 4}
    if frame.format.name not in counts:
        raise MotionError(f"its pixels are {frame.format.name}: vectors need an RGB or RGBA picture")
    deep = frame.format.name.endswith("be")
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
    count = counts[frame.format.name]
    rows = np.ascontiguousarray(rows[:, : frame.width * count * (2 if deep else 1)])
    codes = rows.view(">u2").astype(np.uint16) if deep else rows
    return np.ascontiguousarray(codes.reshape(frame.height, frame.width, count)[..., :3]), texts
