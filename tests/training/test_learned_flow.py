# SPDX-License-Identifier: Apache-2.0
"""Flow by networks of ptlflow and torchvision, with random weights: their input, output, files and errors.

Random weights measure no flow. What holds for any weights is tested, and RAFT with a constant update, whose flow is
known.
"""

from __future__ import annotations

import importlib.util
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from loopcore.errors import EngineError, MotionError
from loopcore.training.estimators import make_estimator
from loopcore.training.learned_flow import LearnedFlow, untrained

NAMES = (
    "torchvision:raft_small", "torchvision:raft_large", "ptlflow:raft", "ptlflow:raft_small", "ptlflow:pwcnet",
    pytest.param("ptlflow:flownet2", marks=pytest.mark.slow),
)  # fmt: skip
SMALL = ("torchvision:raft_small", "ptlflow:raft_small")
SIZE = (131, 150)  # no multiple of what the networks need


def network(name: str) -> LearnedFlow:
    """Makes a network with random weights; skips the test without its library."""
    library = name.partition(":")[0]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    torch.manual_seed(3)
    return untrained(name)


def frames() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    return random.integers(0, 256, (*SIZE, 3), np.uint8), random.integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_any_size_and_colour_gives_one_reproducible_flow(name: str) -> None:
    estimator = network(name)
    a, b = frames()
    flow = estimator.calc(a, b)
    assert estimator.name == name and flow.shape == (*SIZE, 2) and flow.dtype == np.float32
    assert np.isfinite(flow).all() and flow.flags.c_contiguous and flow.std() > 0
    assert np.array_equal(flow, estimator.calc(a.copy(), b.copy()))
    grey = a[..., 0]
    assert np.array_equal(estimator.calc(grey, grey), estimator.calc(*[np.stack([grey] * 3, axis=-1)] * 2))


@pytest.mark.parametrize(("name", "updates"), [("torchvision:raft_small", 12), ("torchvision:raft_large", 12),
                                               ("ptlflow:raft", 32), ("ptlflow:raft_small", 32)])  # fmt: skip
def test_constant_updates_of_raft_add_up_to_a_known_flow(name: str, updates: int) -> None:
    """RAFT starts from no motion and adds each update, in units of 8 pixels, so the flow is 8 * updates * bias."""
    estimator = network(name)
    head = estimator.network.update_block.flow_head.conv2
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    assert np.abs(estimator.calc(*frames())).max() == 0
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.05, -0.02]))
    flow = estimator.calc(*frames())
    inner = flow[16:-16, 16:-16]  # convex upsampling mixes in zeros beyond the border
    assert np.abs(inner - 8 * updates * np.float32([0.05, -0.02])).max() < 1e-3


def test_channels_and_range_of_the_networks_input() -> None:
    a, b = frames()
    for name in SMALL:
        estimator = network(name)
        seen: list[tuple] = []
        estimator.network.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs))
        estimator.calc(a, b)
        if name.startswith("ptlflow"):
            images = seen[0][0]["images"][0].permute(0, 2, 3, 1).numpy()
            assert np.allclose(images, np.stack([a, b])[..., ::-1] / 255.0, atol=1e-6)  # BGR, 0..1
        else:
            images = torch.cat(seen[0]).permute(0, 2, 3, 1).numpy()
            assert images.shape[1:3] == (136, 152)
            assert np.allclose(images[:, : SIZE[0], : SIZE[1]], np.stack([a, b]) / 127.5 - 1, atol=1e-6)  # RGB, -1..1


@pytest.mark.parametrize("name", SMALL)
def test_weights_from_files(name: str, tmp_path: Path) -> None:
    estimator = network(name)
    state = estimator.network.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "a.safetensors")
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "b.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "c.ckpt")
    expected = estimator.calc(*frames())
    torch.manual_seed(99)
    assert not np.array_equal(untrained(name).calc(*frames()), expected)
    for file in sorted(tmp_path.iterdir()):
        assert np.array_equal(make_estimator(name, file).calc(*frames()), expected)


def test_notes_of_ptlflow_checkpoints_reach_the_model(tmp_path: Path) -> None:
    state = network("ptlflow:raft_small").network.state_dict()
    notes = {"train_size": [64, 96], "extra_params": {"mean": [0.1, 0.2]}}
    torch.save({"state_dict": state, "hyper_parameters": notes}, tmp_path / "a.ckpt")
    loaded = make_estimator("ptlflow:raft_small", tmp_path / "a.ckpt")
    assert isinstance(loaded, LearnedFlow)
    assert loaded.network.train_size == [64, 96] and loaded.network.extra_params == {"mean": [0.1, 0.2]}


class Runs:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", SMALL)
def test_wrong_weights_are_refused_and_never_run(name: str, tmp_path: Path) -> None:
    state = network(name).network.state_dict()
    trap = tmp_path / "trap"
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps({"state_dict": Runs(trap)}))
    torch.save({"state_dict": state, "more": Runs(trap)}, tmp_path / "object.ckpt")
    (tmp_path / "text.safetensors").write_bytes(b"not weights" * 9)
    (tmp_path / "text.pth").write_bytes(b"not weights" * 9)
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(MotionError, match=r"are not a file of tensors, or contain other objects$"):
            make_estimator(name, file)
    assert not trap.exists()
    first = next(iter(state))
    for number, wrong in enumerate((
        {}, [1, 2], {"a": torch.zeros(3)}, {**state, "more": torch.zeros(3)}, {**state, first: torch.zeros(3)},
        {key: value for key, value in state.items() if key != first},
    )):  # fmt: skip
        torch.save(wrong, tmp_path / f"wrong{number}.pth")
        with pytest.raises(MotionError, match=rf"are not those of {name}: \d+ of its {len(state)} tensors"):
            make_estimator(name, tmp_path / f"wrong{number}.pth")


@pytest.mark.parametrize("name", SMALL)
def test_failed_download_is_one_sentence(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network(name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror("Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    with pytest.raises(
        MotionError, match=f"the weights of {name} cannot be downloaded from https://.*name res"
    ) as told:
        make_estimator(name, "fetch")
    assert "\n" not in str(told.value)


def test_unknown_and_unsuitable_models(tmp_path: Path) -> None:
    network("ptlflow:raft_small")
    (tmp_path / "a.pth").touch()
    with pytest.raises(MotionError, match="has no model 'pwc-net': did you mean .*pwcnet"):
        make_estimator("ptlflow:pwc-net", tmp_path / "a.pth")
    with pytest.raises(MotionError, match="memfof cannot be made: .*would be downloaded"):  # by its constructor
        make_estimator("ptlflow:memfof", tmp_path / "a.pth")
    a, _ = frames()
    with pytest.raises(EngineError, match="streamflow cannot measure the flow between two frames"):  # it needs four
        untrained("ptlflow:streamflow").calc(a, a)


def test_result_that_is_not_finite_is_an_error() -> None:
    estimator = network("ptlflow:raft_small")
    with torch.no_grad():
        estimator.network.update_block.flow_head.conv2.bias.fill_(float("nan"))
    with pytest.raises(EngineError, match="not finite: are these its weights"):
        estimator.calc(*frames())
