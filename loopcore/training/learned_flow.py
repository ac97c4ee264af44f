# SPDX-License-Identifier: Apache-2.0
"""Optical flow by networks of torchvision and ptlflow, on the processor.

torchvision's RAFT (Teed and Deng, ECCV 2020): https://docs.pytorch.org/vision/stable/models/raft.html. ptlflow
(Morimitsu 2021), a collection of published networks, among them PWC-Net, FlowNet2 and RAFT:
https://ptlflow.readthedocs.io. Both belong to the extra ``flow``.

Weights are read as tensors only; no code of a file is run. Nothing is downloaded unless the caller asks for it.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loopcore.errors import EngineError, MotionError, PackageError
from loopcore.files.regular import WEIGHTS, check_regular

_STRIDE, _LEAST = 8, 128  # torchvision's RAFT: its sides are multiples of 8; its coarsest correlations need 128 pixels


@dataclass(frozen=True)
class LearnedFlow:
    """An estimator that is a network; see :class:`~loopcore.training.estimators.Estimator`.

    Attributes:
        name: ``torchvision:MODEL`` or ``ptlflow:MODEL``.
        network: in evaluation mode.
        weights: identifies them: the address they are from, or the file with its size and time; "" if random.
    """

    name: str
    network: torch.nn.Module
    weights: str = ""

    def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Measures the flow from ``a`` to ``b``, both (h, w, 3) uint8 sRGB or (h, w) uint8 grey.

        Returns:
            (h, w, 2) float32, pixels.

        Raises:
            EngineError: the network fails, estimates more than one flow from two frames, or values that are not finite.
        """
        run = _run_torchvision if self.name.startswith("torchvision:") else _run_ptlflow
        try:
            with torch.no_grad():
                flow = run(self.network, _rgb(a), _rgb(b))
        except Exception as error:  # code of many authors
            raise EngineError(f"{self.name} cannot measure the flow between two frames: {_line(error)}") from error
        if flow.shape != (2, *a.shape[:2]):
            raise EngineError(
                f"{self.name} does not estimate one flow from two frames of {a.shape[1]}x{a.shape[0]} pixels: its "
                f"result has the shape {tuple(flow.shape)}"
            )
        if not flow.isfinite().all():
            raise EngineError(f"{self.name} estimates flow that is not finite: are these its weights?")
        return np.ascontiguousarray(flow.permute(1, 2, 0).float().numpy())


def load_learned(name: str, weights: Path | None) -> LearnedFlow:
    """Makes a network and reads its weights.

    Args:
        name: ``torchvision:MODEL`` or ``ptlflow:MODEL``.
        weights: a file (.safetensors, or as written by ``torch.save``); None downloads what the library publishes.

    Raises:
        MotionError: an unknown model; weights that cannot be read or downloaded, or belong to another network.
        EngineError: the library is absent or cannot be imported.
    """
    estimator = untrained(name, online=weights is None)
    if weights is None:
        url = _published(name, estimator.network)
        _restore(estimator, _download(name, url), url)
        return replace(estimator, weights=url)
    _restore(estimator, _read(weights), str(weights))
    stat = weights.stat()
    return replace(estimator, weights=f"{weights.name} {stat.st_size} {stat.st_mtime_ns}")


def untrained(name: str, online: bool = False) -> LearnedFlow:
    """Makes a network with random weights, which measures nothing.

    Args:
        name: ``torchvision:MODEL`` or ``ptlflow:MODEL``.
        online: whether the model may download parts of itself.

    Raises:
        MotionError: an unknown model, or one that cannot be made.
        EngineError: the library is absent or cannot be imported.
    """
    library, _, model = name.partition(":")
    if library == "torchvision":
        return LearnedFlow(name, getattr(_library("torchvision.models.optical_flow"), model)(weights=None).eval())
    ptlflow = _library("ptlflow")
    known = ptlflow.get_model_names()
    if model not in known:
        near = difflib.get_close_matches(model, known, 4, 0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(known)}"
        raise MotionError(f"ptlflow {ptlflow.__version__} has no model {model!r}: {hint}")
    try:
        with contextlib.nullcontext() if online else _offline(), _quiet():
            network = ptlflow.get_model(model)
    except Exception as error:  # code of many authors
        raise MotionError(f"the model of {name} cannot be made: {_line(error)}") from error
    return LearnedFlow(name, network.eval())


def _run_torchvision(network: Any, a: np.ndarray, b: np.ndarray) -> Tensor:
    """Returns RAFT's last flow, (2, h, w); its input is in -1..1, extended at its right and lower borders."""
    pair = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2).float() / 127.5 - 1
    height, width = pair.shape[-2:]
    right, below = (max(_LEAST, -(-side // _STRIDE) * _STRIDE) - side for side in (width, height))
    pair = torch.nn.functional.pad(pair, (0, right, 0, below), mode="replicate")
    flow: Tensor = network(pair[:1], pair[1:])[-1][0, :, :height, :width]
    return flow


def _run_ptlflow(network: Any, a: np.ndarray, b: np.ndarray) -> Tensor:
    """Returns the flow (2, h, w), or of another shape if there are several; ptlflow reads BGR and pads by itself."""
    adapter = _library("ptlflow.utils.io_adapter").IOAdapter(network.output_stride, a.shape[:2])
    outputs = network(adapter.prepare_inputs([a[..., ::-1], b[..., ::-1]]))
    flows: Tensor = adapter.unscale(outputs)["flows"]
    return flows[0, 0] if flows.shape[:2] == (1, 1) else flows


def _rgb(frame: np.ndarray) -> np.ndarray:
    return np.repeat(frame[..., None], 3, axis=2) if frame.ndim == 2 else frame


def _library(module: str) -> Any:
    """Imports a module of an optional library.

    Raises:
        EngineError: absent, or it does not work with the installed torch.
    """
    library = module.partition(".")[0]
    try:
        with _quiet():  # some models print that faster kernels are missing
            return importlib.import_module(module)
    except Exception as error:  # torchvision's are RuntimeErrors
        if isinstance(error, ImportError) and error.name == library:
            raise PackageError(f"{library} is not installed: pip install loopcore[flow]") from None
        raise EngineError(
            f"{library} is installed but cannot be imported ({_line(error)}): reinstall loopcore[flow], with the "
            f"torchvision that was built for torch {torch.__version__}, from the same index"
        ) from error


def _published(name: str, network: torch.nn.Module) -> str:
    """Returns the address of a model's published checkpoint, that of FlyingThings3D where there are several."""
    library, _, model = name.partition(":")
    if library == "torchvision":
        return str(_library("torchvision.models").get_model_weights(model).DEFAULT.url)
    checkpoints: dict[str, str] = getattr(network, "pretrained_checkpoints", None) or {}
    if not checkpoints:
        raise MotionError(f"ptlflow publishes no checkpoint of {model!r}: give a file of weights")
    return checkpoints.get("things") or next(iter(checkpoints.values()))


def _download(name: str, url: str) -> Any:
    """Returns the content of a checkpoint, downloaded once into torch's own cache, its hash checked."""
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # of the network, the disk, the hash or the file
        raise MotionError(
            f"the weights of {name} cannot be downloaded from {url} ({_line(error)}): download them by other means "
            "and give the file"
        ) from None


def _read(path: Path) -> Any:
    try:
        check_regular(path, WEIGHTS)
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MotionError(f"weights {path} cannot be read: {error.strerror or error}") from None
    except Exception:  # torch and safetensors raise many kinds; torch's message advises to run the file's code
        raise MotionError(f"weights {path} are not a file of tensors, or contain other objects") from None


def _restore(estimator: LearnedFlow, found: Any, source: str) -> None:
    """Gives a network its weights; the content is a state dict, or a checkpoint with one in ``state_dict``."""
    network, content = estimator.network, found if isinstance(found, dict) else {}
    state = content.get("state_dict", content)
    state = {str(key).removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}
    wanted = network.state_dict()
    fitting = sum(key in state and state[key].shape == value.shape for key, value in wanted.items())
    if fitting < len(wanted) or len(state) > len(wanted):
        raise MotionError(
            f"weights {source} are not those of {estimator.name}: {fitting} of its {len(wanted)} tensors are among "
            f"their {len(state)}"
        )
    network.load_state_dict(state)
    notes = content.get("hyper_parameters") or {}  # ptlflow's: some models need them, for example a mean colour
    if "train_size" in notes:
        network.train_size = notes["train_size"]
    for key, value in (notes.get("extra_params") or {}).items():
        network.add_extra_param(key, value)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Makes all look-ups of hosts fail: the constructors of some models download a part of their weights."""

    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror("a part of it would be downloaded; weights 'fetch' allow that")

    before = socket.getaddrinfo
    setattr(socket, "getaddrinfo", refuse)  # noqa: B010 (the types differ)
    try:
        yield
    finally:
        socket.getaddrinfo = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drops what is printed, and warnings."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _line(error: Exception) -> str:
    """Returns the first line of an error's message, or its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
