# SPDX-License-Identifier: Apache-2.0
"""Loops against clips whose mean and deviation over time are known, and against a real one."""

from __future__ import annotations

import csv
import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from _films import write_flo
from PIL import Image

from loopcore.cli import main
from loopcore.color import linear_to_srgb, srgb_to_linear
from loopcore.errors import Cancelled, LoopcoreError, MotionError
from loopcore.loop import Loop
from loopcore.training.evaluate_loops import LoopEvaluation, LoopSettings, evaluate_loops
from loopcore.training.loop_report import as_csv, as_json, better, groups, table
from loopcore.training.loop_variants import Variant, check_variants, parse_variants

SIDE, SPOKES, PERIOD = 192, 12, 24  # pixels; waves around the ring, frames in which each takes the place of the next
AMPLITUDE, MIDDLE = 0.12, 0.5  # codes 0..1
INNER, OUTER, GREY = 24.0, 80.0, 8.0  # radii of the ring, and the width of the grey around it


def ring() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Offset from the centre (SIDE, SIDE, 2), phase of the waves, their amplitude, and which pixels are the ring."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(x, y)
    inside = (radius > INNER) & (radius < OUTER)
    amplitude = AMPLITUDE * np.sin(np.pi * (radius - INNER) / (OUTER - INNER)) ** 2 * inside
    return np.stack([x, y], axis=-1), SPOKES * np.arctan2(y, x), amplitude, inside


def write_ring(folder: Path, frames: int) -> None:
    """A ring of waves that turns on textured ground, grey where they fade out, and its velocity in closed form.

    At each pixel of the ring the code is MIDDLE + amplitude sin(phase - 2 pi t / PERIOD).
    """
    offset, phase, amplitude, inside = ring()
    ground = np.random.default_rng(1).random((SIDE // 4, SIDE // 4)).repeat(4, axis=0).repeat(4, axis=1)
    radius = np.hypot(offset[..., 0], offset[..., 1])
    ground[(radius > INNER - GREY) & (radius < OUTER + GREY)] = MIDDLE
    folder.mkdir(parents=True)
    for t in range(frames):
        wave = MIDDLE + amplitude * np.sin(phase - 2 * np.pi * t / PERIOD)
        codes = (255 * np.where(inside, wave, ground) + 0.5).astype(np.uint8)
        Image.fromarray(np.repeat(codes[..., None], 3, axis=-1)).save(folder / f"{t:03}.png")
    turn = 2 * np.pi / PERIOD / SPOKES  # radians a frame, from x to y
    velocity = turn * offset[..., ::-1] * (-1, 1) * inside[..., None]
    write_flo(folder.with_name(f"{folder.name}_motion.flo"), velocity)


def expected_loop(frames: int) -> np.ndarray:
    """8-bit codes (frames, pixels) of a loop of the ring without contrast keeping: in linear light, the blend of the
    waves carried t frames forward and N - t frames back; a rotation distorts neither."""
    _, phase, amplitude, inside = ring()
    t = np.arange(frames)[:, None]
    past, future = (
        srgb_to_linear(MIDDLE + amplitude[inside] * np.sin(phase[inside] - 2 * np.pi * time / PERIOD))
        for time in (t, t - frames)
    )
    return np.round(255 * linear_to_srgb((1 - t / frames) * past + t / frames * future)) / 255


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds of rings as a manifest lists them, one clip that is torn and one that is missing."""
    home = tmp_path_factory.mktemp("footage")
    write_ring(home / "val" / "ring", 2 * PERIOD)
    write_ring(home / "train" / "other", PERIOD)
    (home / "val" / "torn.mp4").write_bytes(b"torn" * 99)
    rows = ["val/ring,eddy,val", "val/torn.mp4,fall,val", "train/other,fall,train", "val/gone.mp4,sea,test"]
    (home / "manifest.csv").write_text("\n".join(["clip,kind,split", *rows]) + "\n", "utf-8")
    return home


# In 48 frames the waves come round to where they were; in 60 their crests meet their troughs.
# One cycle and no steadying, where loops have such options: what the formula is of.
PLAIN = {"contrast": 0} | {k: v for k, v in (("cycles", 1), ("steady", 0)) if k in inspect.signature(Loop).parameters}
SAME, OPPOSED = Variant("same", {"frames": 48, **PLAIN}), Variant("opposed", {"frames": 60, **PLAIN})


@pytest.fixture(scope="module")
def measured(home: Path) -> dict[str, LoopEvaluation]:
    pytest.importorskip("cv2")
    steps: list[tuple[int, int]] = []
    settings = LoopSettings((OPPOSED, SAME))
    found = {m.name: m for m, _ in evaluate_loops(home, settings, lambda *step: steps.append(step))}
    assert [done for done, _ in steps] == sorted(done for done, _ in steps) and steps[-1][0] == steps[-1][1]
    return found


def test_the_clip_is_measured_as_its_formula_says(measured: dict[str, LoopEvaluation]) -> None:
    ring_ = measured["ring"]
    assert ring_.counts and ring_.frames == 48 and ring_.size == (SIDE, SIDE) and ring_.truth_from == "ring_motion.flo"
    # not enlarged to 640, so that its mean speed in pixels is what the formula says: the turn times the mean radius
    area = (OUTER**2 - INNER**2) / 2
    assert ring_.speed == pytest.approx(2 * np.pi / PERIOD / SPOKES * (OUTER**3 - INNER**3) / 3 / area, rel=0.02)
    assert ring_.moving_share == pytest.approx(2 * np.pi * area / SIDE**2, rel=0.02)
    _, _, amplitude, inside = ring()
    assert ring_.deviation == pytest.approx(amplitude[inside].mean() / np.sqrt(2), rel=0.01)


def test_loops_are_measured_as_their_formula_says(measured: dict[str, LoopEvaluation]) -> None:
    rows = {row.variant: row for row in measured["ring"].rows}
    assert list(rows) == ["opposed", "same", "still"]
    _, phase, amplitude, inside = ring()
    for variant in (SAME, OPPOSED):
        deviation, row = expected_loop(variant.options["frames"]).std(axis=0).mean(), rows[variant.name]
        assert row.deviation == pytest.approx(deviation, rel=0.02)
        assert row.deviation_ratio == pytest.approx(deviation / amplitude[inside].mean() * np.sqrt(2), rel=0.02)
    error = ((expected_loop(60).mean(axis=0) - MIDDLE) ** 2).mean()
    assert rows["opposed"].mean_psnr == pytest.approx(10 * np.log10(1 / error), abs=1)
    assert rows["same"].mean_psnr > 60
    # the still's error at each pixel is the wave itself
    error = ((amplitude * np.sin(phase))[inside] ** 2).mean()
    assert rows["still"].mean_psnr == pytest.approx(10 * np.log10(1 / error), abs=0.1)
    assert rows["still"].deviation == rows["still"].wander == 0


def test_what_equals_the_clip_is_nearer_than_what_does_not(measured: dict[str, LoopEvaluation]) -> None:
    opposed, same, still = measured["ring"].rows
    assert same.frame_distance < 0.3 * opposed.frame_distance
    assert same.change_distance < 0.3 * opposed.change_distance < 0.3 * still.change_distance
    assert same.wander == pytest.approx(measured["ring"].wander, rel=0.1)
    assert better([measured["ring"]]) == {"same": dict.fromkeys(better([measured["ring"]])["same"], 1.0)}


def test_damaged_clips_are_left_out_with_a_line(measured: dict[str, LoopEvaluation]) -> None:
    assert list(measured) == ["ring", "torn"]
    assert not measured["torn"].rows and "torn.mp4 cannot be read" in measured["torn"].remark
    found = list(measured.values())
    assert any(line.startswith("* torn: clip") and line.endswith("left out of the means") for line in table(found))
    assert {kind: len(clips) for kind, clips in groups(found).items()} == {"eddy": 1, "all": 1}
    assert not groups([measured["torn"]]) and table([measured["torn"]])
    rows = list(csv.DictReader(as_csv(found).splitlines()))
    assert [(row["clip"], row["variant"]) for row in rows] == [
        ("ring", "opposed"), ("ring", "same"), ("ring", "still"), ("torn", "")
    ]  # fmt: skip
    assert float(rows[1]["deviation_ratio"]) == pytest.approx(measured["ring"].rows[1].deviation_ratio, rel=1e-4)


def test_json_says_the_same(measured: dict[str, LoopEvaluation]) -> None:
    facts = as_json(list(measured.values()), LoopSettings((OPPOSED, SAME)))
    facts = json.loads(json.dumps(facts, allow_nan=False))
    assert facts["settings"]["variants"]["same"] == SAME.options
    ring_, torn = facts["clips"]
    assert torn["variants"] == {} and torn["wander"] is None
    assert facts["means"]["eddy"] == facts["means"]["all"] == ring_["variants"]
    assert facts["better_than_first"]["all"]["same"]["deviation_ratio"] == 1


def test_reports_and_pictures_from_the_command_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    variants = ["--variant", "long=contrast:0,method:splat", "--variant", "today="]
    command = ["evaluate", "--loops", str(home), "--split", "train", "--kinds", "fall", "--width", "128", *variants]
    assert main([*command, "--frames", "12", "-o", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "Progress: 100%" in text and "better than long" in text and (tmp_path / "loops.txt").read_text() in text
    facts = json.loads((tmp_path / "loops.json").read_text("utf-8"))
    assert facts["settings"]["frames"] == 12 and facts["clips"][0]["size"] == [128, 128]
    assert (tmp_path / "loops.csv").read_text("utf-8").count("\n") == 4
    sheet = np.asarray(Image.open(tmp_path / "other.png"))
    assert sheet.shape == (4 * 132 - 4, 4 * 132 - 4, 3)
    first = [sheet[row * 132 : row * 132 + 128, 264:392] for row in range(4)]
    assert (np.abs(first[0].astype(int) - first[3]) == 0).all() and (sheet[396:524, 132:260] == 0).all()
    assert (
        np.abs(first[0].astype(int) - first[2]).max() <= 1 < np.abs(first[0].astype(int) - sheet[264:392, 396:]).max()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--variant", "a"], "not of the form NAME="),
        (["--variant", "a=frames"], "not of the form key:value"),
        (["--variant", "still="], "cannot be called"),
        (["--variant", "a=", "--variant", "a=contrast:0"], "two variants"),
        (["--variant", "a=colour:1"], "no option 'colour': it has frames, method, contrast"),
        (["--variant", "a=contrast:2"], "variant 'a': contrast 2 is out of range"),
        (["--variant", "a=contrast:much"], "variant 'a'"),
        (["--frames", "1"], "at least 2"),
        (["--width", "8"], "width 8 is out of range"),
        (["--kinds", "fall,snow"], "no clips of kind snow in the split 'val': it has eddy, fall"),
        (["--split", "valid"], "unknown split 'valid'"),
        (["--weights", "x"], "--weights has no meaning for loops"),
        (["--baseline", "x"], "--baseline has no meaning for loops"),
    ],
)
def test_settings_that_make_no_sense(
    home: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--loops", str(home), *options]) == 2
    assert message in capsys.readouterr().err


def test_splits_need_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ring(tmp_path / "ring", 12)
    assert main(["evaluate", "--loops", str(tmp_path), "--split", "val"]) == 2
    assert "has no manifest.csv" in capsys.readouterr().err


def test_values_of_variants() -> None:
    (variant,) = parse_variants(["a = frames:12, contrast:0.5,method:splat"])
    assert variant == Variant("a", {"frames": 12, "contrast": 0.5, "method": "splat"})
    check_variants([variant], 60)
    assert parse_variants([]) == (Variant("loop"),)
    with pytest.raises(MotionError, match="twice"):
        parse_variants(["a=frames:1,frames:2"])


def test_a_stop_leaves_whole_files(home: Path) -> None:
    """Progress is told often, and what it raises ends the work."""
    pytest.importorskip("cv2")
    for last in (1, 30):
        steps = 0

        def stop(done: int, total: int, last: int = last) -> None:
            nonlocal steps
            steps += 1
            if steps == last:
                raise Cancelled

        with pytest.raises(Cancelled):
            list(evaluate_loops(home, LoopSettings((SAME,)), stop))
        assert steps == last


def test_a_real_clip(corpus: Path, tmp_path: Path) -> None:
    """A fall: its loop moves about as much as it does, and in time looks more like it than its still does."""
    pytest.importorskip("cv2")
    clip = corpus / "footage" / "clips" / "val" / "wf_005.mp4"
    if not clip.is_file():
        pytest.skip(f"no footage at {clip}")
    shutil.copy(clip, tmp_path)
    found, sheet = next(evaluate_loops(tmp_path, LoopSettings(long_side=256, frames=24)))
    loop, still = found.rows
    assert found.name == "wf_005" and found.kind == "" and found.counts and found.size == (256, 144)
    assert 0.9 < found.steadiness < 1 and 0.2 < found.moving_share < 0.8
    assert 0.4 < loop.deviation_ratio < 2 and 10 < loop.mean_psnr < 50
    assert 0 < loop.change_distance < still.change_distance
    assert 0.001 < found.wander < 0.2 and 0.001 < loop.wander < 0.3
    assert [len(row) for row in sheet] == [4, 4, 4]


def test_a_folder_that_is_missing(home: Path) -> None:
    with pytest.raises(LoopcoreError, match="is not a folder of clips"):
        list(evaluate_loops(home / "nowhere", LoopSettings()))
