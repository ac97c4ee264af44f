# SPDX-License-Identifier: Apache-2.0
"""Estimators of optical flow between two frames, chosen by name.

- ``dis``: OpenCV's DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016);
- ``farneback``: OpenCV's polynomial expansion (Farneback, "Two-Frame Motion Estimation Based on Polynomial
  Expansion", SCIA 2003);
- ``torchvision:MODEL`` and ``ptlflow:MODEL``: networks of these libraries (``learned_flow.py``).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from loopcore.errors import MotionError, PackageError

FETCH = "fetch"  # in place of a file of weights: download the checkpoint that the library publishes
TORCHVISION_MODELS = ("raft_small", "raft_large")
_CHOICES = "choose dis, farneback, torchvision:raft_small, torchvision:raft_large or ptlflow:MODEL"


class Estimator(Protocol):
    """Measures the flow between two frames."""

    @property
    def name(self) -> str:
        """As shown in reports."""
        ...

    @property
    def weights(self) -> str:
        """Identifies its weights; "" if it has none."""
        ...

    def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Measures the flow from ``a`` to ``b``.

        Args:
            a: (h, w, 3) uint8 sRGB, or (h, w) uint8 grey.
            b: of the same shape.

        Returns:
            (h, w, 2) float32.

        Convention: (vx, vy) in pixels, x right, y down; what is at p in ``a`` is at p + v in ``b``.
        """
        ...


class Dis:
    """OpenCV's DIS with its medium preset.

    Raises:
        PackageError: OpenCV is absent.
    """

    name, weights = "DIS", ""

    def __init__(self) -> None:
        cv2 = opencv()
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Measures the flow; see :class:`Estimator`."""
        flow: np.ndarray = self._dis.calc(grey(a), grey(b), None)
        return flow


class Farneback:
    """OpenCV's polynomial expansion: five scales, windows of 15 pixels with Gaussian weights.

    Raises:
        PackageError: OpenCV is absent.
    """

    name, weights = "Farneback", ""

    def __init__(self) -> None:
        self._cv2 = opencv()

    def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Measures the flow; see :class:`Estimator`."""
        gaussian = self._cv2.OPTFLOW_FARNEBACK_GAUSSIAN
        flow: np.ndarray = self._cv2.calcOpticalFlowFarneback(grey(a), grey(b), None, 0.5, 5, 15, 5, 7, 1.5, gaussian)
        return flow


def make_estimator(name: str, weights: Path | str | None = None) -> Estimator:
    """Makes an estimator.

    Args:
        name: ``dis``, ``farneback``, ``torchvision:MODEL`` or ``ptlflow:MODEL``.
        weights: of a network: a file, or ``FETCH`` to download those that its library publishes.

    Raises:
        MotionError: an unknown name; weights that are missing, unreadable or of another network.
        PackageError: OpenCV is absent.
        EngineError: the network's library is absent or cannot be imported.
    """
    check_estimator(name, weights)
    if weights is None:
        return Dis() if name == "dis" else Farneback()
    from loopcore.training.learned_flow import load_learned

    return load_learned(name, None if weights == FETCH else Path(weights))


def check_estimator(name: str, weights: Path | str | None) -> None:
    """Validates the arguments of :func:`make_estimator` without importing a library.

    Raises:
        MotionError: an unknown name, or weights that are missing or not needed.
    """
    library, separator, model = name.partition(":")
    if not separator and name in ("dis", "farneback"):
        if weights is not None:
            raise MotionError(f"the estimator {name!r} has no weights, but {str(weights)!r} is given")
        return
    if not (library == "ptlflow" and model) and not (library == "torchvision" and model in TORCHVISION_MODELS):
        raise MotionError(f"there is no estimator {name!r}: {_CHOICES}")
    if weights is None:
        raise MotionError(
            f"the estimator {name!r} needs weights: a file (.safetensors, .ckpt, .pth), or {FETCH!r} to download those "
            f"that {library} publishes"
        )
    if weights != FETCH and not Path(weights).is_file():
        raise MotionError(f"there is no file of weights {str(weights)!r} for the estimator {name!r}")


def grey(frame: np.ndarray) -> np.ndarray:
    """Converts (h, w, 3) uint8 sRGB to (h, w) uint8 grey; returns grey frames unchanged."""
    if frame.ndim == 2:
        return frame
    cv2 = opencv()
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def opencv() -> Any:
    """Imports OpenCV.

    Raises:
        PlateError: it is not installed.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError:
        raise PackageError("the motion of clips is measured with OpenCV: pip install loopcore[training]") from None
