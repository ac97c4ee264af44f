# SPDX-License-Identifier: Apache-2.0
"""Evaluation of motion on clips: scores of the prediction and the baselines, and reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loopcore.cli import main
from loopcore.training.evaluate_motion import ClipEvaluation, evaluate_motion, similarity
from loopcore.training.report import as_json, means, table


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
def measured(clips: Path) -> dict[str, ClipEvaluation]:
    pytest.importorskip("cv2")
    steps: list[tuple[int, int]] = []
    found = {m.name: m for m in evaluate_motion(clips, on_progress=lambda *step: steps.append(step))}
    assert [done for done, _ in steps] == sorted(done for done, _ in steps) and steps[-1][0] == steps[-1][1]
    return found


def test_each_method_is_scored(measured: dict[str, ClipEvaluation]) -> None:
    drift = measured["drift"]
    rows = {row.method: row for row in drift.rows}
    assert list(rows) == ["predicted", "truth", "none", "streaks", "sideways", "down", "best one"]
    assert rows["truth"].overlap == 1 and rows["truth"].scaled_error == 0 and rows["truth"].direction == (0, 0)
    assert rows["sideways"].axis[0] < 3 and rows["sideways"].direction[0] < 3
    assert rows["down"].axis[0] > 85
    assert rows["none"].overlap == 0 and rows["none"].axis == (45, 45) and rows["none"].scaled_error == 1
    assert rows["truth"].psnr > rows["none"].psnr and rows["truth"].ssim > rows["none"].ssim
    assert rows["best one"].scaled_error <= rows["sideways"].scaled_error + 1e-6
    assert all(np.isfinite(rows[name].psnr) for name in ("predicted", "truth", "none"))


def test_excluded_clips_have_a_remark(measured: dict[str, ClipEvaluation]) -> None:
    assert measured["rest"].remark == "nothing moves" and not measured["rest"].rows
    assert "torn.mp4 cannot be read" in measured["torn"].remark and measured["torn"].clip is None
    lines = table(list(measured.values()))
    assert any(line.startswith("* rest: nothing moves; left out") for line in lines)
    assert any(line.startswith("* torn: clip") for line in lines)
    assert sum(line.startswith("mean of 1 steady") for line in lines) == 7
    assert means([measured["drift"]])[1] == measured["drift"].rows[1]


def test_vertical_motion_has_separate_means(measured: dict[str, ClipEvaluation]) -> None:
    drift = measured["drift"]
    assert drift.clip is not None
    assert not any(measured[name].upright for name in ("drift", "rest", "torn"))
    turned = replace(drift, name="falls", clip=replace(drift.clip, velocity=drift.clip.velocity[..., ::-1]))
    assert turned.upright
    lines = table([drift, turned])
    assert sum(line.startswith("mean of 2 steady") for line in lines) == 7
    assert sum(line.startswith("mean of 1 up or down") for line in lines) == 7
    facts = as_json([drift, turned])
    assert [clip["upright"] for clip in facts["clips"]] == [False, True]
    assert facts["mean_of_upright"]["truth"] == facts["clips"][1]["methods"]["truth"]
    assert not as_json([drift])["mean_of_upright"]


def test_json_has_the_same_numbers(measured: dict[str, ClipEvaluation]) -> None:
    facts = json.loads(json.dumps(as_json(list(measured.values())), allow_nan=False))
    drift, rest, torn = facts["clips"]
    assert drift["methods"]["truth"]["scaled_error"] == 0 and drift["truth_from"] == "DIS"
    assert drift["methods"]["down"]["psnr"] is None
    assert 0.4 < drift["moving_share"] < 0.6 and drift["steadiness"] > 0.8
    assert not rest["steady"] and not torn["methods"]
    assert facts["mean_of_steady"]["truth"] == drift["methods"]["truth"]


def test_reports_and_pictures_from_the_command_line(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    out = tmp_path / "report"
    assert main(["evaluate", str(clips), "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert "mean of 1 steady" in text and "Progress: 100%" in text
    assert (out / "report.txt").read_text("utf-8") in text
    assert json.loads((out / "report.json").read_text("utf-8"))["clips"][0]["clip"] == "drift"
    assert Image.open(out / "drift.png").size == (3 * 640 + 8, 480)
    assert main(["evaluate", str(tmp_path / "none")]) == 2
    assert main(["evaluate", str(clips), "--weights", str(clips / "torn.mp4")]) == 2
    assert "weights" in capsys.readouterr().err


def test_similarity_is_one_for_equal_pictures_and_less_for_noise() -> None:
    picture = texture(3)[..., 0].astype(np.float64)
    assert similarity(picture, picture) == pytest.approx(1)
    noisy = picture + np.random.default_rng(1).normal(0, 20, picture.shape)
    assert similarity(picture, noisy) < 0.8
