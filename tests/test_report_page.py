# SPDX-License-Identifier: Apache-2.0
"""Tests of the report's page: what it shows of good and bad loops, hostile names, what it may overwrite."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import _pages
import _scenes
import numpy as np
import pytest

from loopcore.baking.bake import bake
from loopcore.baking.recipe import read_recipe
from loopcore.cli.main import main
from loopcore.loop import Loop
from loopcore.motion import MotionField, read_hints
from loopcore.motion.predict import predict_motion
from loopcore.plate import read_plate
from loopcore.quality import check
from loopcore.quality.charts import chart, ticks
from loopcore.quality.page import read_verdict
from loopcore.quality.pictures import make_film
from loopcore.quality.report import Curve

N = 12


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop of a plate in a folder, all of whose names are hostile."""
    home = tmp_path_factory.mktemp("home") / _pages.HOSTILE
    home.mkdir()
    plate = read_plate(_scenes.png(home / f"{_pages.HOSTILE}.png"))
    motion = predict_motion(plate, read_hints(_scenes.hints(home / "h.json")))
    bake(Loop(plate, motion, frames=N), home / "loop", f"{_pages.HOSTILE}_loop", fps="24000/1001",
         notes={"speed": 1.0, "layer": None})  # fmt: skip
    return home / "loop"


@pytest.fixture
def loop(good: Path, tmp_path: Path) -> Path:
    """A copy of the good loop, to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "loop"))


def frame(folder: Path, number: int) -> Path:
    return folder / f"{_pages.HOSTILE}_loop.{number}.exr"


def size(jpeg: bytes) -> tuple[int, int]:
    from PIL import Image

    return Image.open(io.BytesIO(jpeg)).size


def film_frames(mp4: bytes) -> list[tuple[int, int]]:
    import av

    with av.open(io.BytesIO(mp4)) as film:
        return [(picture.width, picture.height) for picture in film.decode(video=0)]


def test_a_good_loop_of_hostile_names(good: Path, tmp_path: Path) -> None:
    page_path = tmp_path / "report.html"
    done = _scenes.run("check", good, "--json", "--html", page_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    page = _pages.read(page_path)
    assert report["passed"] and page.meta("loopcore-verdict") == "passed"
    assert [e.text for e in page.all("h1")] == [f"{_pages.HOSTILE}_loop"] == [e.text for e in page.all("title")][:1]
    (facts,) = page.all("p", "facts")
    assert facts.text == f"Passes all checks {N} frames, 1001 to 1012, 23.976 fps, 0.5 s"
    (video,) = page.all("video")
    assert {"loop", "autoplay", "muted", "controls"} <= set(video.attributes)
    assert film_frames(_pages.data(video.attributes["src"], "video/mp4")) == [(160, 90)] * N
    assert size(_pages.data(video.attributes["poster"], "image/jpeg")) == (160, 90)
    rows = page.all("div", "checks")[0].text
    assert all(row["name"] in rows for row in report["rows"]) and not page.all("td", "fail")
    assert [e.text for e in page.all("h3")][:4] == ["Seam", "Contrast", "Wander", "Torn detail"]
    assert len(page.all("svg")) == 4 and not page.all("rect", "beyond") and len(page.all("polyline")) == 4
    pictures = [size(_pages.data(e.attributes["src"], "image/jpeg")) for e in page.all("img")]
    assert len(pictures) >= 3 and set(pictures) == {(160, 90)}
    recipe = page.all("div", "recipe")[0].text
    assert str(good.parent / f"{_pages.HOSTILE}.png") in recipe and read_recipe(good)[0].digest() in recipe
    assert read_verdict(page_path, good) is True


def test_what_fails_is_shown_where_it_fails(loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stain(planes: dict[str, np.ndarray]) -> None:
        planes["G"][3, 150] += np.float16(0.5)
        for values in planes.values():
            values[20:70, 50:110] *= np.float16(0.2)

    _scenes.rewrite(frame(loop, 1012), stain)
    assert main(["check", str(loop), "--html", str(tmp_path / "r.html")]) == 1
    assert f"Saved: '{tmp_path / 'r.html'}'" in capsys.readouterr().out
    page = _pages.read(tmp_path / "r.html")
    assert page.meta("loopcore-verdict") == "failed" and read_verdict(tmp_path / "r.html", loop) is False
    failed = [e.text for e in page.all("tr", "failed")]
    assert any("Static" in text.capitalize() for text in failed) and any("bake again" in text for text in failed)
    beyond = [e.text for e in page.all("rect", "beyond")]
    assert len(beyond) >= 2 and all(text.startswith("frame 1012: ") for text in beyond)
    spots = {spot.title.split()[0]: spot for spot in check(loop).spots}
    assert (spots["changed"].row, spots["changed"].column) == (3, 150)
    for name in ("looks:", "seam:"):
        assert spots[name].number == 1012
        assert 20 <= spots[name].row < 70 and 50 <= spots[name].column < 110
    titles = "; ".join(e.text for e in page.all("h3")[4:])
    assert titles.startswith("Changed outside the mask; looks: wandered furthest") and "seam" in titles


def test_the_worst_place_of_a_large_plate_is_cut_out(tmp_path: Path) -> None:
    plate = read_plate(_scenes.png(tmp_path / "p.png", width=640, height=400))
    mask = np.zeros((400, 640), np.float32)
    mask[100:300, 200:400] = 1
    bake(Loop(plate, MotionField(np.ones((400, 640, 2), np.float32), mask, mask), frames=2), tmp_path / "loop", "p")

    def nudge(planes: dict[str, np.ndarray]) -> None:
        planes["R"][390, 630] += np.float16(0.5)

    _scenes.rewrite(tmp_path / "loop" / "p.1002.exr", nudge)
    assert main(["check", str(tmp_path / "loop"), "--html", str(tmp_path / "r.html")]) == 1
    page = _pages.read(tmp_path / "r.html")
    assert page.all("h3")[-1 - len(page.all("rect", "part")) + 1].text.startswith("Changed outside the mask")
    part = page.all("rect", "part")[0].attributes
    assert (part["x"], part["y"], part["width"], part["height"]) == ("160", "80", "480", "320")
    plates = [e for e in page.all("img") if e.attributes["alt"] == "Plate"]
    assert size(_pages.data(plates[0].attributes["src"], "image/jpeg")) == (480, 320)


def test_missing_and_damaged_frames_are_reported_without_a_film(loop: Path, tmp_path: Path) -> None:
    frame(loop, 1005).unlink()
    assert main(["check", str(loop), "--html", str(tmp_path / "r.html")]) == 1
    page = _pages.read(tmp_path / "r.html")
    assert not page.all("video") and not page.all("svg") and len(page.all("img")) == 1
    assert [e.text for e in page.all("p", "missing")] == [f"No film: 1 of {N} frames are missing."]
    frame(loop, 1005).write_bytes(b"no frame")
    assert main(["check", str(loop), "--html", str(tmp_path / "r.html")]) == 1
    page = _pages.read(tmp_path / "r.html")
    assert not page.all("video") and frame(loop, 1005).name in page.all("p", "missing")[0].text


def test_inputs_and_other_kinds_of_file_are_refused(
    loop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plate = tmp_path / "plate.html"
    shutil.copy(Path(read_recipe(loop)[1]["plate_path"]), plate)
    os.link(frame(loop, 1003), tmp_path / "frame.html")
    before = {path: path.read_bytes() for path in (plate, tmp_path / "frame.html", loop / "recipe.json")}
    for target, more in ((plate, ["--plate", plate]), (tmp_path / "frame.html", []), (loop / "recipe.json", [])):
        assert main(["check", str(loop), "--html", str(target), *map(str, more)]) == 2
        message = capsys.readouterr().err
        assert "would be overwritten" in message or "name it .html" in message
    assert main(["check", str(loop), "--html", str(tmp_path / "none" / "r.html")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_a_verdict_is_that_of_the_recipe(good: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    assert read_verdict(page, good) is None
    page.write_text('<meta name="loopcore-recipe" content="00">\n<meta name="loopcore-verdict" content="passed">')
    assert read_verdict(page, good) is None
    page.write_bytes(os.urandom(64))
    assert read_verdict(page, good) is None


def test_a_film_is_made_narrower_until_it_is_small_enough(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = _scenes.frames(good)
    whole = make_film(frames, "24")
    assert whole.width == 160 and not whole.missing
    steps: list[Any] = []
    # The plate is as narrow as a film gets.
    none = make_film(frames, "24", lambda *step: steps.append(step), largest=len(whole.mp4) - 1)
    assert none.missing and not none.mp4 and size(none.poster) == (160, 90) and steps[-1] == (N, N)
    monkeypatch.setattr("loopcore.quality.pictures._NARROWEST", 32)
    small = make_film(frames, "24", largest=len(whole.mp4) // 2)
    assert 0 < len(small.mp4) <= len(whole.mp4) // 2 and 32 <= small.width < 160
    assert film_frames(small.mp4) == [(small.width + small.width % 2, small.height + small.height % 2)] * N


def test_charts() -> None:
    curve = Curve("<b>", '"&', ((1, 0.5), (2, float("nan")), (3, float("inf")), (4, 0.9)), high=0.7)
    page = _pages.Page()
    page.feed(chart(curve))
    (svg,) = page.all("svg")
    assert svg.attributes["aria-label"] == '<b> "&, frames 1 to 4' and "nan" not in chart(curve)
    assert [e.text for e in page.all("rect")] == ["frame 4: 0.9"] and len(page.all("circle")) == 1
    assert "Nothing" in chart(Curve("", "", ((1, float("nan")),)))
    assert ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1] and ticks(-0.3, 0.31, 4) == [-0.2, 0, 0.2]
    many = Curve("Seam", "", tuple((n, 1.0 if n < 999 else 2.0) for n in range(1000)), 0.8, 1.25, judged=(999,))
    page = _pages.Page()
    page.feed(chart(many))
    assert not page.all("circle") and [e.text for e in page.all("rect")] == ["frame 999: 2"]


def test_animate_writes_a_report_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plate, hints = _scenes.png(tmp_path / "p.png"), _scenes.hints(tmp_path / "h.json")
    out = tmp_path / "out"
    arguments = ["animate", str(plate), "--hints", str(hints), "-o", str(out), "--frames", str(N), "--report"]
    assert main([*arguments, "--range", "1001-1006"]) == 0
    assert "No report yet: 6 of the loop's 12 frames are missing" in capsys.readouterr().out
    assert not (out / "p_loop_report.html").exists()
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "The loop passes" in printed and f"Saved: '{out / 'p_loop_report.html'}'" in printed
    first = (out / "p_loop_report.html").stat().st_mtime_ns
    assert _pages.read(out / "p_loop_report.html").meta("loopcore-verdict") == "passed"
    assert main(arguments) == 0 and (out / "p_loop_report.html").stat().st_mtime_ns == first
    (out / "p_loop.1003.exr").unlink()
    shutil.copy(out / "p_loop.1012.exr", out / "p_loop.1013.exr")
    assert main(arguments) == 1
    assert "The loop does not pass" in capsys.readouterr().out
    assert _pages.read(out / "p_loop_report.html").meta("loopcore-verdict") == "failed"
    assert main(arguments) == 1, "a verdict that is known is reported again"


def test_animate_does_not_write_its_report_over_the_plate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    plate = _scenes.png(tmp_path / "out" / "p.png").rename(tmp_path / "out" / "p_loop_report.html")
    before = plate.read_bytes()
    assert main(["animate", str(plate), "-o", str(tmp_path / "out"), "--name", "p_loop", "--report"]) == 2
    assert "would be overwritten" in capsys.readouterr().err and plate.read_bytes() == before
