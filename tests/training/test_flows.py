# SPDX-License-Identifier: Apache-2.0
"""Estimators of flow on known motion, the agreement of two, and what becomes of clips on which they disagree."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _films import film_of, write_flo
from scipy.ndimage import gaussian_filter

from loopcore.cli.main import main
from loopcore.errors import EngineError, MotionError
from loopcore.training import dataset
from loopcore.training.clips import Clip, ClipSettings, read_windows
from loopcore.training.config import DataSettings, FieldConfig, checked, read_config
from loopcore.training.dataset import prepare_dataset
from loopcore.training.estimators import Dis, check_estimator, make_estimator
from loopcore.training.flows import alike, confirmed, measure_flows
from loopcore.training.mean_flow import MeanFlow, agreement
from loopcore.training.video import Shot

pytest.importorskip("cv2")
STEP = np.array([3.0, -2.0], np.float32)  # px per frame of what the frames show


class Turned:
    """An estimator that is wrong in a part of the picture: DIS with the opposite sign right of a column."""

    name, weights = "turned", ""

    def __init__(self, column: int) -> None:
        self._dis, self._column = Dis(), column

    def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        flow = self._dis.calc(a, b).copy()
        flow[:, self._column :] *= -1
        return flow


def texture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(5).normal(size=(height, width, 3))
    blurred = gaussian_filter(noise, (2.0, 2.0, 0))
    return (128 + 40 * blurred / blurred.std()).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def moving_shot() -> Shot:
    """Four frames of a texture that moves by ``STEP``."""
    whole, (dx, dy) = texture(220, 260), STEP.astype(int)
    frames = [whole[30 - t * dy : 180 - t * dy, 30 - t * dx : 220 - t * dx] for t in range(4)]
    return Shot(np.stack(frames), (0, 1, 2, 3))


@pytest.fixture(scope="module")
def brook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "brook_01.mp4"
    film_of(path, "channel", 2, (120, 160), 12, speed=2.0)
    return path


def first(path: Path, settings: ClipSettings) -> Clip:
    return next(read_windows(path, replace(settings, long_side=160)))


@pytest.mark.parametrize(("name", "shown"), [("dis", "DIS"), ("farneback", "Farneback")])
def test_known_shift_is_measured_in_colour_and_grey(name: str, shown: str, moving_shot: Shot) -> None:
    estimator = make_estimator(name)
    a, b = moving_shot.frames[:2]
    flow = estimator.calc(a, b)
    assert flow.shape == (150, 190, 2) and flow.dtype == np.float32
    assert np.abs(flow[16:-16, 16:-16] - STEP).max(axis=-1).mean() < 0.1
    grey_flow = estimator.calc(a[..., 1].copy(), b[..., 1].copy())
    assert np.abs(grey_flow[16:-16, 16:-16] - STEP).max(axis=-1).mean() < 0.1
    flows = measure_flows(moving_shot, estimator)
    assert flows.source == shown and flows.values.shape == (3, 150, 190, 2)
    assert np.array_equal(flows.values[0], flow)
    assert flows.known[:, 16:-16, 16:-16].mean() > 0.99
    assert np.abs(estimator.calc(a, a)).mean() < 0.01


def test_two_flows_are_alike_within_a_share_of_their_speed() -> None:
    flow = np.zeros((1, 5, 2), np.float32)
    other = flow.copy()
    flow[0, :, 0] = [0.0, 0.0, 20.0, 20.0, 2.0]
    other[0, :, 0] = [0.7, 0.8, 22.8, 23.2, -2.0]  # 0.49 < 0.5; 0.64; 7.84 < 9.70; 10.24 > 9.88; 16
    assert alike(flow, other).tolist() == [[True, False, True, False, False]]
    assert np.array_equal(alike(flow, other), alike(other, flow))


def test_second_estimator_removes_what_it_contradicts(moving_shot: Shot) -> None:
    flows = measure_flows(moving_shot, make_estimator("dis"))
    calls: list[int] = []
    both = confirmed(flows, measure_flows(moving_shot, Turned(100), lambda: calls.append(1)))
    assert both.source == "DIS and turned" and len(calls) == 3
    assert both.values is flows.values
    assert not both.known[:, 16:-16, 100:-16].any()
    # left of the column it is DIS itself, except where it is traced back across the column
    assert np.array_equal(both.known[:, :, :90], flows.known[:, :, :90])
    assert flows.known[:, 16:-16, 100:-16].mean() > 0.99  # the first ones are left alone


def test_agreement_of_means_is_relative_and_counts_what_moves_by_either() -> None:
    def mean(*flow: tuple[float, float]) -> MeanFlow:
        velocity = np.array([flow], np.float32)
        return MeanFlow(velocity, np.hypot(*velocity.T).T > 0.05, 1.0)

    one = mean((0.2, 0), (0.2, 0), (0, 5), (1, 0), (0, 0), (0.5, 0))
    #          40 degrees   opposite  speeds 1:2  speeds 1:2.5  still by one  alike
    other = mean((0.153, 0.129), (-0.2, 0), (0, 10), (2.5, 0), (0.3, 0), (0.5, 0.1))
    assert agreement(one, other) == agreement(other, one) == 0.5
    assert agreement(mean((0, 0)), mean((0, 0))) == 1.0


def test_clip_is_refused_when_estimators_disagree_on_most_of_what_moves(brook: Path) -> None:
    alone = first(brook, ClipSettings())
    confirmed = first(brook, ClipSettings(second_flow=make_estimator("farneback")))
    assert confirmed.steady and confirmed.source == "DIS and Farneback"
    assert np.hypot(*np.moveaxis(confirmed.velocity - alone.velocity, -1, 0))[confirmed.mask].mean() < 0.2
    swapped = first(brook, ClipSettings(flow=make_estimator("farneback"), second_flow=make_estimator("dis")))
    assert swapped.steady and swapped.source == "Farneback and DIS"
    contradicted = first(brook, ClipSettings(second_flow=Turned(0)))
    assert contradicted.rejection == "DIS and turned agree on 0% of what moves, 50% is needed"
    # the columns that hold a third of what moves, or two thirds of it
    moving = np.cumsum(alone.mask.sum(axis=0)) / alone.mask.sum()
    assert "of what moves" in first(brook, ClipSettings(second_flow=Turned(int((moving < 0.33).sum())))).rejection
    assert first(brook, ClipSettings(second_flow=Turned(int((moving < 0.67).sum())))).steady


def test_flow_files_are_confirmed_too(brook: Path, tmp_path: Path) -> None:
    path = tmp_path / "brook_01.mp4"
    path.write_bytes(brook.read_bytes())
    (tmp_path / "brook_01_flow").mkdir()
    velocity = first(brook, ClipSettings()).velocity
    for i in range(11):
        write_flo(tmp_path / "brook_01_flow" / f"{i:03}.flo", velocity)
    assert first(path, ClipSettings(second_flow=Dis())).source == "brook_01_flow and DIS"
    assert "brook_01_flow and turned agree on" in first(path, ClipSettings(second_flow=Turned(0))).rejection


def test_failing_estimator_ends_the_preparation(brook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Dis):
        def calc(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
            raise EngineError("out of memory")

    monkeypatch.setattr(dataset, "make_estimator", lambda name, weights: Broken())
    settings = DataSettings(clips=brook.parent, long_side=64, side=32, flow_side=160, least_frames=2, synthetic=0)
    with pytest.raises(EngineError, match="out of memory"):
        prepare_dataset(settings, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_prepared_clips_depend_on_their_estimators(brook: Path, tmp_path: Path) -> None:
    settings = DataSettings(clips=brook.parent, long_side=64, side=32, flow_side=160, held_out=0.0, synthetic=0)
    cache = tmp_path / "cache"

    def sources(settings: DataSettings) -> list[str]:
        prepare_dataset(settings, cache)
        return sorted(json.loads(file.read_text("utf-8"))["windows"][0]["source"] for file in cache.glob("*.json"))

    assert sources(replace(settings, least_frames=2)) == ["DIS"]
    assert sources(replace(settings, least_frames=2)) == ["DIS"]
    second = replace(settings, least_frames=2, second_flow="farneback")
    assert sources(second) == ["DIS", "DIS and Farneback"]
    assert sources(replace(second, flow="farneback", second_flow="")) == ["DIS", "DIS and Farneback", "Farneback"]
    assert sources(second) == ["DIS", "DIS and Farneback", "Farneback"]


def test_key_of_a_prepared_clip_changes_with_its_weights(brook: Path, tmp_path: Path) -> None:
    from loopcore.training.dataset import _clip_key

    weights = tmp_path / "raft.pth"
    weights.write_bytes(b"1")
    settings = DataSettings(flow="torchvision:raft_small", flow_weights=weights)
    keys = [_clip_key(brook, settings), _clip_key(brook, replace(settings, flow="torchvision:raft_large"))]
    keys.append(_clip_key(brook, replace(settings, flow_weights="fetch")))
    keys.append(_clip_key(brook, replace(DataSettings(), second_flow=settings.flow, second_flow_weights=weights)))
    os.utime(weights, ns=(1, 1))
    keys.append(_clip_key(brook, settings))
    assert len(set(keys)) == 5


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("lucas", None, "no estimator 'lucas': choose dis, farneback"),
        ("dis:fast", None, "no estimator 'dis:fast'"),
        ("ptlflow:", None, "no estimator 'ptlflow:'"),
        ("torchvision:resnet18", None, "no estimator 'torchvision:resnet18'"),
        ("ptlflow:pwcnet", None, "'ptlflow:pwcnet' needs weights: a file .*, or 'fetch'"),
        ("torchvision:raft_small", "none.pth", "no file of weights 'none.pth'"),
        ("dis", "fetch", "'dis' has no weights"),
    ],
)
def test_invalid_estimators_are_refused_before_a_library_is_imported(
    name: str, weights: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("ptlflow", "torchvision"):
        monkeypatch.setitem(sys.modules, library, None)
    for function in (check_estimator, make_estimator):
        with pytest.raises(MotionError, match=message):
            function(name, weights)


@pytest.mark.parametrize("library", ["ptlflow", "torchvision"])
def test_missing_library_is_named(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "path", [tmp_path.as_posix()])
    (tmp_path / "raft.pth").touch()
    with pytest.raises(EngineError, match=rf"{library} is not installed: pip install loopcore\[flow\]"):
        make_estimator(f"{library}:raft_small", tmp_path / "raft.pth")
    (tmp_path / f"{library}.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n", "utf-8")
    with pytest.raises(
        EngineError, match=rf"{library} is installed but cannot be imported \(operator .* built for torch"
    ):
        make_estimator(f"{library}:raft_small", tmp_path / "raft.pth")


def test_settings_name_estimators_and_weights(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    (tmp_path / "raft.pth").touch()
    path.write_text('[data]\nflow = "farneback"\nsecond_flow = "ptlflow:raft"\nsecond_flow_weights = "raft.pth"\n')
    config = read_config(path)
    assert isinstance(config, FieldConfig) and config.data.flow == "farneback"
    assert config.data.second_flow_weights == tmp_path / "raft.pth"
    path.write_text('[data]\nflow = "torchvision:raft_small"\nflow_weights = "fetch"\n')
    config = read_config(path)
    assert isinstance(config, FieldConfig) and config.data.flow_weights == "fetch"
    for wrong, message in (
        (DataSettings(flow="ptlflow:raft"), "data.flow: the estimator 'ptlflow:raft' needs weights"),
        (DataSettings(second_flow="raft"), "data.second_flow: there is no estimator 'raft'"),
        (DataSettings(second_flow="dis"), "data.second_flow is 'dis', the same as data.flow"),
        (DataSettings(second_flow_weights="fetch"), "second_flow_weights is given without data.second_flow"),
    ):
        with pytest.raises(MotionError, match=message):
            checked(FieldConfig(wrong))


def test_options_override_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    (tmp_path / "run.toml").write_text('[data]\nclips = "films"\n', "utf-8")
    run = str(tmp_path / "run.toml")
    for options, message in (
        (["--flow", "raft"], "data.flow: there is no estimator 'raft'"),
        (["--second-flow", "ptlflow:raft"], "data.second_flow: the estimator 'ptlflow:raft' needs weights"),
        (["--flow-weights", "fetch"], "'dis' has no weights"),
        (["--second-flow-weights", "a.pth"], "without data.second_flow"),
    ):
        assert main(["train", run, "-o", out, *options]) == 2
        assert message in capsys.readouterr().err.replace("\n", " ")
    (tmp_path / "run.toml").write_text('pictures = "."\n', "utf-8")
    assert main(["train", run, "-o", out, "--second-flow", "dis"]) == 2
    assert "--second-flow has no meaning for training on pictures" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
