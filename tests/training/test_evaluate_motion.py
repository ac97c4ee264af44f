# SPDX-License-Identifier: Apache-2.0
"""Evaluation of motion on clips: scores of the prediction and the baselines, and reports."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopcore.cli import main
from loopcore.errors import MotionError, PackageError
from loopcore.motion.networks import save_weights
from loopcore.training.evaluate_motion import ClipEvaluation, evaluate_motion, similarity
from loopcore.training.manifest import lists_pictures
from loopcore.training.report import as_json, read_baseline, table
from loopcore.training.train_fluid import new_network

METHODS = ["predicted", "truth", "none", "streaks", "sideways", "down", "best one"]


def texture(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).random((height, width, 3))
    smooth = gaussian_filter(noise, (2, 2, 0))
    return (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes a clip that drifts by 2 px per frame in its lower half, a still one, and an unreadable one."""
    home = tmp_path_factory.mktemp("clips")
    ground, water = texture(1), texture(2)
    for name in ("drift", "rest"):
        (home / name).mkdir()
        for t in range(6):
            picture = ground.copy()
            if name == "drift":
                picture[120:] = np.roll(water, 2 * t, axis=1)[120:]
            else:
                picture = (picture * (1 - 0.01 * t)).astype(np.uint8)  # darkens without motion
            Image.fromarray(picture).save(home / name / f"{t:03}.png")
    (home / "torn.mp4").write_bytes(b"torn" * 99)
    return home


@pytest.fixture(scope="module")
def evaluated(clips: Path) -> dict[str, tuple[ClipEvaluation, list[list[np.ndarray]]]]:
    pytest.importorskip("cv2")
    steps: list[tuple[int, int]] = []
    found = {m.name: (m, sheet) for m, sheet in evaluate_motion(clips, on_progress=lambda *step: steps.append(step))}
    assert [done for done, _ in steps] == sorted(done for done, _ in steps) and steps[-1][0] == steps[-1][1]
    return found


@pytest.fixture(scope="module")
def measured(evaluated: dict[str, tuple[ClipEvaluation, list[list[np.ndarray]]]]) -> dict[str, ClipEvaluation]:
    return {name: found for name, (found, _) in evaluated.items()}


@pytest.fixture(scope="module")
def listed(clips: Path) -> Path:
    """The same clips as a manifest lists them, two of them in val."""
    home = clips.parent / "listed"
    shutil.copytree(clips, home)
    rows = ["drift,river,drift,val", "rest,sea,static,val", "drift,sky,static,train", "torn.mp4,fall,static,test"]
    (home / "manifest.csv").write_text("\n".join(["clip,kind,camera,split", *rows]) + "\n", "utf-8")
    return home


def test_each_method_is_scored(measured: dict[str, ClipEvaluation]) -> None:
    drift = measured["drift"]
    rows = {row.method: row for row in drift.rows}
    assert list(rows) == METHODS
    assert rows["truth"].overlap == 1 and rows["truth"].scaled_error == 0 and rows["truth"].direction == (0, 0)
    assert rows["truth"].speed_correlation == pytest.approx(1) and rows["truth"].sense == pytest.approx(1)
    assert rows["sideways"].axis[0] < 3 and rows["sideways"].direction[0] < 3 and rows["sideways"].right
    assert rows["sideways"].scale == pytest.approx(4, rel=0.05)  # 2 px per frame of 320 px, at 640
    assert rows["down"].axis[0] > 85
    assert rows["none"].overlap == 0 and rows["none"].axis == (45, 45) and rows["none"].scaled_error == 1
    assert rows["truth"].psnr > rows["none"].psnr and rows["truth"].ssim > rows["none"].ssim
    assert rows["best one"].scaled_error <= rows["sideways"].scaled_error + 1e-6
    assert all(np.isfinite(rows[name].psnr) for name in ("predicted", "truth", "none"))


def test_unknown_pixels_are_those_neither_moving_nor_still(measured: dict[str, ClipEvaluation]) -> None:
    drift = measured["drift"]
    assert 0.4 < drift.moving_share < 0.6 and 0.3 < drift.still_share < 0.6
    whole = {row.method: row for row in drift.rows}["sideways"]
    assert whole.overlap == pytest.approx(drift.moving_share / (drift.moving_share + drift.still_share), abs=1e-6)


def test_pictures_of_a_clip(evaluated: dict[str, tuple[ClipEvaluation, list[list[np.ndarray]]]]) -> None:
    found, (pictures,) = evaluated["drift"]
    assert [picture.shape for picture in pictures] == [(480, 640, 3)] * 5
    unknown = (pictures[1] == 128).all(axis=-1)
    assert unknown.mean() == pytest.approx(1 - found.moving_share - found.still_share, abs=1e-6)
    assert not evaluated["torn"][1]


def test_excluded_clips_have_a_remark(measured: dict[str, ClipEvaluation]) -> None:
    assert measured["rest"].remark == "nothing moves" and not measured["rest"].rows
    assert "torn.mp4 cannot be read" in measured["torn"].remark and measured["torn"].frames == 0
    lines = table(list(measured.values()))
    assert any(line.startswith("* rest: nothing moves; left out") for line in lines)
    assert any(line.startswith("* torn: clip") for line in lines)
    assert sum(line.startswith("mean of 1 steady") for line in lines) == 7
    assert not any("steady or not" in line for line in lines)


def test_vertical_motion_and_kinds_have_separate_means(measured: dict[str, ClipEvaluation]) -> None:
    drift = replace(measured["drift"], kind="river")
    assert not any(measured[name].upright for name in ("drift", "rest", "torn"))
    turned = replace(drift, name="falls", kind="fall", upright=True)
    lines = table([drift, turned])
    for name in ("2 steady", "1 up or down", "1 river", "1 fall"):
        assert sum(line.startswith(f"mean of {name} ") for line in lines) == 7
        assert sum(line.startswith(f"median of {name} ") for line in lines) == 7
    facts = as_json([drift, turned])
    assert [clip["upright"] for clip in facts["clips"]] == [False, True]
    truth = facts["mean_of_upright"]["truth"]
    assert truth.items() >= facts["clips"][1]["methods"]["truth"].items()
    assert facts["mean_by_kind"]["river"]["truth"] == truth and list(facts["mean_by_kind"]) == ["fall", "river"]
    assert truth["right_way"]["clips"] == truth["clips"] == 1 and truth["right_way"]["low"] == pytest.approx(
        0.2065, abs=1e-4
    )
    assert not as_json([drift])["mean_of_upright"]


def test_unsteady_clips_count_only_in_groups_that_say_so(measured: dict[str, ClipEvaluation]) -> None:
    drift = replace(measured["drift"], kind="sea")
    other = replace(drift, name="fire", kind="fire", remark="one field explains 10% of the motion")
    facts = as_json([drift, other])
    assert list(facts["mean_by_kind"]) == ["sea", "fire, any", "sea, any"]
    assert facts["mean_of_steady"]["down"]["clips"] == 1 and facts["mean_steady_or_not"]["down"]["clips"] == 2
    assert sum(line.startswith("mean of 1 fire, any ") for line in table([drift, other])) == 7


def test_json_has_the_same_numbers(measured: dict[str, ClipEvaluation]) -> None:
    facts = json.loads(json.dumps(as_json(list(measured.values())), allow_nan=False))
    drift, rest, torn = facts["clips"]
    assert drift["methods"]["truth"]["scaled_error"] == 0 and drift["truth_from"] == "DIS"
    assert drift["methods"]["down"]["psnr"] is None
    assert 0.4 < drift["moving_share"] < 0.6 and drift["steadiness"] > 0.8
    assert not rest["steady"] and not torn["methods"]
    assert facts["mean_of_steady"]["truth"].items() >= drift["methods"]["truth"].items()


def test_reports_and_pictures_from_the_command_line(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    out = tmp_path / "report"
    assert main(["evaluate", str(clips), "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert "mean of 1 steady" in text and "Progress: 100%" in text and "PSNR" in text
    assert (out / "report.txt").read_text("utf-8") in text
    facts = json.loads((out / "report.json").read_text("utf-8"))
    assert facts["clips"][0]["clip"] == "drift"
    assert facts["clips"][0]["something_flows"] == (out / "calibration.png").is_file() == bool(facts["calibration"])
    assert Image.open(out / "drift.png").size == (5 * 640 + 16, 480)
    assert main(["evaluate", str(tmp_path / "none")]) == 2
    assert main(["evaluate", str(clips), "--weights", str(clips / "torn.mp4")]) == 2
    assert "weights" in capsys.readouterr().err
    save_weights(new_network(1), tmp_path / "classes.safetensors", {})  # would count as a prediction of no motion
    assert main(["evaluate", str(clips), "--weights", str(tmp_path / "classes.safetensors")]) == 2
    assert "network without motion" in capsys.readouterr().err


def test_clips_of_a_manifest(listed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    assert main(["evaluate", str(listed), "-o", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "mean of 1 river" in text and "rest: nothing moves" in text and "torn" not in text and "PSNR" not in text
    before = tmp_path / "report.json"
    facts = json.loads(before.read_text("utf-8"))
    assert [(clip["clip"], clip["kind"]) for clip in facts["clips"]] == [("drift", "river"), ("rest", "sea")]
    facts["clips"][0]["methods"]["predicted"] |= {"overlap": 0.125, "axis": [33, 44]}
    before.write_text(json.dumps(facts), "utf-8")
    command = ["evaluate", str(listed), "--split", "all", "--kinds", "river,fall", "--json", "--baseline", str(before)]
    assert main(command) == 0
    facts = json.loads(capsys.readouterr().out)
    drift, torn = facts["clips"]
    assert list(drift["methods"]) == [METHODS[0], "before", *METHODS[1:]] and not torn["methods"]
    assert drift["methods"]["before"]["overlap"] == 0.125 and drift["methods"]["before"]["psnr"] is None
    assert facts["mean_by_kind"]["river"]["before"]["axis"] == [33, 44]


@pytest.mark.parametrize("text", ["", "[]", '{"clips": 1}', '{"clips": [{"clip": "a", "methods": {"none": {}}}]}',
                                  '{"clips": [{"clip": "a", "methods": {"predicted": {"overlap": 1}}}]}'])  # fmt: skip
def test_baselines_that_are_no_reports(text: str, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text, "utf-8")
    with pytest.raises(MotionError, match="is not a report.json"):
        read_baseline(tmp_path / "report.json")
    assert main(["evaluate", str(clips), "--baseline", str(tmp_path / "absent.json")]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kinds", "snow"], "no clips of kind snow"),
        (["--split", "valid"], "unknown split 'valid'"),
        (["--frames", "9"], "--frames has no meaning for clips, only for loops"),
        (["--variant", "a="], "--variant has no meaning for clips"),
    ],
)
def test_options_that_make_no_sense(
    listed: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(listed), *options]) == 2
    assert message in capsys.readouterr().err


def test_manifests_of_pictures_and_of_clips(listed: Path, clips: Path, tmp_path: Path) -> None:
    assert not lists_pictures(listed) and not lists_pictures(clips)
    (tmp_path / "manifest.csv").write_text("image,label,set,split\na.png,b.png,c,test\n", "utf-8")
    assert lists_pictures(tmp_path)
    assert main(["evaluate", str(tmp_path), "--kinds", "sea"]) == 2
    assert main(["evaluate", str(clips), "--split", "val"]) == 2  # no manifest


def test_a_real_clip(corpus: Path, tmp_path: Path) -> None:
    """A fall from the footage to train on: the prediction flows, and its confidence is compared with its error."""
    pytest.importorskip("cv2")
    clip = corpus / "footage" / "clips" / "train" / "wf_079.mp4"
    if not clip.is_file():
        pytest.skip(f"no footage at {clip}")
    shutil.copy(clip, tmp_path)
    (tmp_path / "manifest.csv").write_text("clip,kind,split\nwf_079.mp4,fall,train\n", "utf-8")
    assert main(["evaluate", str(tmp_path), "--split", "train", "-o", str(tmp_path / "report")]) == 0
    facts = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    (found,) = facts["clips"]
    assert found["steady"] and found["frames"] == 45 and found["something_flows"]
    ours = found["methods"]["predicted"]
    assert 0 < ours["overlap"] < 1 and 0 < ours["axis"][0] < 45 and -1 <= ours["speed_correlation"] <= 1
    assert facts["calibration"]["clips"] == 1 and len(facts["calibration"]["bins"]) > 1
    assert Image.open(tmp_path / "report" / "calibration.png").size == (640, 420)
    assert "rank correlation" in (tmp_path / "report" / "report.txt").read_text("utf-8")


def test_an_absent_package_ends_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip").mkdir()
    for number in range(3):
        Image.fromarray(np.roll(texture(1, 24, 32), number, axis=1)).save(tmp_path / "clip" / f"{number}.png")
    (tmp_path / "clip_motion.pth").write_bytes(b"\x04\x22\x4d\x18")  # LZ4's magic number
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(PackageError, match="LZ4"):
        list(evaluate_motion(tmp_path))


def test_similarity_is_one_for_equal_pictures_and_less_for_noise() -> None:
    picture = texture(3)[..., 0].astype(np.float64)
    assert similarity(picture, picture) == pytest.approx(1)
    noisy = picture + np.random.default_rng(1).normal(0, 20, picture.shape)
    assert similarity(picture, noisy) < 0.8
