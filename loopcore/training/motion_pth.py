# SPDX-License-Identifier: Apache-2.0
"""``*_motion.pth``: the mean motion of a clip, as in the released Eulerian motion field dataset or from ``torch.save``.

The released files are an LZ4 frame around a pickled numpy array, (1, 2, H, W) float32, pixels per frame, x then y.
Pickles can run code, so the unpickler here builds only one array and calls nothing that the file names. Files of
``torch.save`` are read by torch's restricted loader.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from loopcore.errors import MotionError, PackageError
from loopcore.files.regular import read_regular

_LZ4 = b"\x04\x22\x4d\x18"
MAX_BYTES = 1 << 29  # an 8K field of float64 is just below
_FASTEST = 1e6  # pixels per frame
_TYPES = ("f2", "f4", "f8")


def read_motion_pth(path: str | Path) -> np.ndarray:
    """Reads a mean motion, (H, W, 2) float32, pixels per frame.

    Args:
        path: of the file.

    Raises:
        MotionError: unreadable, anything but one array of numbers, or values that are not finite.
        PackageError: LZ4 is absent.

    Convention: (vx, vy), x right, y down, where content goes.
    """
    path = Path(path)
    try:
        return _checked(_array(read_regular(path, MAX_BYTES)))
    except OSError as error:
        raise MotionError(f"motion file {path} cannot be read: {error.strerror or error}") from None
    except MotionError as error:
        raise MotionError(f"motion file {path}: {error}") from None


def _array(data: bytes) -> np.ndarray:
    if data.startswith(_LZ4):
        data = _decompressed(data)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        try:
            return _from_pickle(data)
        except _LegacyTorchFile:
            pass
    return _from_torch(data)


def _decompressed(data: bytes) -> bytes:
    try:
        import lz4.frame
    except ImportError:
        raise PackageError("motion files (.pth) are compressed with LZ4: pip install loopcore[training]") from None
    unpacker = lz4.frame.LZ4FrameDecompressor()
    try:
        plain: bytes = unpacker.decompress(data, MAX_BYTES)
    except RuntimeError:
        raise MotionError("its LZ4 data is damaged") from None
    if not unpacker.eof:
        raise MotionError(f"its LZ4 data is truncated, or decompresses to more than {MAX_BYTES} bytes")
    return plain


class _LegacyTorchFile(Exception):
    """The data is in torch's older file format."""


# Replacements for the names in a pickled array: they store their arguments and do nothing else.


class _Dtype:
    def __init__(self, kind: object = None, *_: object) -> None:
        self.kind, self.order = kind, "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]


class _Array:
    state: tuple[Any, ...] = ()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple):
            self.state = state


class _Named:
    """Replaces numpy.ndarray, which is only named as the class of the array."""


def _rebuild(*_: object) -> _Array:
    return _Array()


def _from_buffer(content: object = None, kind: object = None, shape: object = None, order: object = "C",
                 *_: object) -> _Array:  # fmt: skip
    """Replaces the function that builds an array in protocol 5."""
    array = _Array()
    array.state = (1, shape, kind, order == "F", bytes(content) if isinstance(content, bytearray) else content)
    return array


def _encode(text: object, encoding: object = None) -> bytes:
    """Returns bytes, which old protocols store as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise MotionError("it is not a pickled array")
    return text.encode("latin-1")


_REPLACEMENTS = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _rebuild for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _Named,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _REPLACEMENTS:
            raise MotionError(f"it names {module}.{name}, which an array does not need: it is not read")
        return _REPLACEMENTS[module, name]


def _from_pickle(data: bytes) -> np.ndarray:
    try:
        found = _Reader(io.BytesIO(data)).load()
    except MotionError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise MotionError(f"it is damaged or not a motion file ({type(error).__name__})") from None
    if isinstance(found, int):  # torch's older files begin with a magic number
        raise _LegacyTorchFile
    if not isinstance(found, _Array) or len(found.state) != 5:
        raise MotionError(f"it contains a {type(found).__name__.strip('_').lower()}, not one array")
    _, shape, kind, fortran, content = found.state
    if not isinstance(kind, _Dtype) or kind.kind not in _TYPES or not isinstance(content, bytes):
        raise MotionError("its array is not of floating-point numbers")
    if not isinstance(shape, tuple) or not all(isinstance(side, int) and side > 0 for side in shape):
        raise MotionError(f"its array has the shape {shape!r}")
    try:
        values = np.frombuffer(content, np.dtype(f"{kind.order}{kind.kind}"))
        return values.reshape(shape, order="F" if fortran else "C")
    except ValueError:
        raise MotionError(f"its array is declared as {shape}, but has {len(content)} bytes") from None


def _from_torch(data: bytes) -> np.ndarray:
    import torch

    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on a bad or refused file
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise MotionError(f"it is damaged or not a tensor ({reason})") from None
    if not isinstance(found, torch.Tensor) or not found.is_floating_point() or found.layout != torch.strided:
        raise MotionError(f"it contains a {type(found).__name__}, not one tensor of floating-point numbers")
    if found.numel() * found.element_size() > MAX_BYTES:  # an expanded tensor is larger than its file
        raise MotionError(f"its tensor has more than {MAX_BYTES} bytes")
    return found.detach().float().numpy()


def _checked(values: np.ndarray) -> np.ndarray:
    if values.ndim == 4 and len(values) == 1:
        values = values[0]
    if values.ndim != 3 or values.shape[0] != 2:
        raise MotionError(f"motion must have the shape (1, 2, height, width), not {values.shape}")
    if not values.size:
        raise MotionError(f"its array has the shape {values.shape}, without a pixel")
    if not (np.abs(values) <= _FASTEST).all():
        raise MotionError(f"it contains NaN, Inf or more than {_FASTEST:g} pixels per frame")
    return np.ascontiguousarray(values.transpose(1, 2, 0), np.float32)
