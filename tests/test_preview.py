# SPDX-License-Identifier: Apache-2.0
"""Pictures of motion, contact sheets and films."""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from loopcore.errors import EngineError, MotionError, PlateError, SequenceError
from loopcore.preview import (
    arrow_picture,
    contact_sheet,
    film,
    flow_picture,
    frame_rate,
    preview_sequence,
    write_film,
    write_picture,
)
from loopcore.preview.flow import colour_wheel


def read_flo(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    width, height = np.frombuffer(raw, "<i4", 2, 4)
    return np.frombuffer(raw, "<f4", width * height * 2, 12).reshape(height, width, 2)


def read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


# Flow pictures


@pytest.mark.parametrize("name", ["frame_0001", "frame_0003", "wheel257"])
def test_flow_picture_matches_the_reference_renderings(corpus: Path, name: str) -> None:
    picture = flow_picture(read_flo(corpus / "flow" / f"{name}.flo")).astype(int)
    references = sorted((corpus / "flow").glob(f"{name}.flow_vis.png")) + sorted(
        (corpus / "flow").glob(f"{name}.flo.png")
    )
    assert references
    for reference in references:
        assert np.abs(picture - read_picture(reference)).max() <= 1


def test_colour_wheel_has_the_published_corners() -> None:
    wheel = np.rint(colour_wheel() * 255)
    assert wheel.shape == (55, 3)
    for index, colour in [(0, (255, 0, 0)), (15, (255, 255, 0)), (21, (0, 255, 0)), (25, (0, 255, 255))]:
        assert tuple(wheel[index]) == colour
    assert tuple(wheel[36]) == (0, 0, 255)
    assert tuple(wheel[49]) == (255, 0, 255)


def test_flow_picture_directions_and_strength() -> None:
    ways = np.array([[[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0], [0.5, 0], [2, 0]]], np.float32)
    right, down, left, up, still, half, fast = flow_picture(ways, max_speed=1.0)[0].astype(int)
    assert tuple(right) == (255, 0, 0)
    assert down[0] == 255 and down[1] > 200 and down[2] == 0
    assert left[0] == 0 and left[1] > 180 and left[2] == 255
    assert up[1] == 0 and up[2] == 255
    assert tuple(still) == (255, 255, 255)
    assert tuple(half) == (255, 127, 127)
    assert tuple(fast) == (191, 0, 0)


def test_flow_picture_shows_unknown_black_and_ignores_it_in_the_scale() -> None:
    velocity = np.zeros((300, 5, 2), np.float64)
    velocity[0, :, 0] = [1, np.nan, np.inf, 2e9, -1e10]
    velocity[299, 0] = (3, 4)
    picture = flow_picture(velocity)
    assert picture[0, 1:].max() == 0
    assert np.array_equal(picture[0, 0], flow_picture(np.array([[[1.0, 0.0]]]), max_speed=5.0)[0, 0])


@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 1, 2), (257, 3, 2), (0, 4, 2)])
def test_flow_picture_of_a_still_field_is_white(shape: tuple[int, int, int]) -> None:
    picture = flow_picture(np.zeros(shape, np.float32))
    assert picture.shape == (*shape[:2], 3)
    assert picture.size == 0 or picture.min() == 255


def test_flow_picture_refuses_nonsense() -> None:
    with pytest.raises(MotionError, match=r"\(4, 4, 3\)"):
        flow_picture(np.zeros((4, 4, 3)))
    for speed in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(MotionError, match="max_speed"):
            flow_picture(np.zeros((4, 4, 2)), max_speed=speed)


# Arrows


@dataclass
class Motion:
    """As much of a motion field as the picture looks at."""

    velocity: np.ndarray
    mask: np.ndarray

    @property
    def effective(self) -> np.ndarray:
        return self.velocity * self.mask[..., None]


def uniform_motion(height: int, width: int, velocity: tuple[float, float]) -> Motion:
    mask = np.zeros((height, width), np.float32)
    mask[height // 4 : -height // 4, width // 4 : -width // 4] = 1
    return Motion(np.broadcast_to(np.array(velocity, np.float32), (height, width, 2)), mask)


def test_arrows_stay_near_the_mask_and_show_its_edge() -> None:
    plate = np.full((240, 320, 3), 120, np.uint8)
    picture = arrow_picture(plate, uniform_motion(240, 320, (3.0, 0.0)))
    assert picture.shape == plate.shape
    dark = picture[0, 0]
    assert (dark < 70).all()
    assert (picture[:40] == dark).all() and (picture[:, :50] == dark).all()
    assert (picture[59:61, 100:200].min(axis=(0, 2)) > 120).all()
    colours = picture[80:160, 100:220].reshape(-1, 3).astype(int)
    assert (colours.max(axis=1) - colours.min(axis=1) > 100).mean() > 0.05


def test_arrows_point_where_the_content_goes() -> None:
    plate = np.zeros((121, 121, 3), np.uint8)
    motion = Motion(np.full((121, 121, 2), (2.0, 0.0), np.float32), np.ones((121, 121), np.float32))
    single = arrow_picture(plate, motion, spacing=121)
    lit = single.max(axis=2) > 100
    rows_per_column = lit.sum(axis=0)
    columns = np.flatnonzero(rows_per_column)
    # The head is broad, the tail thin: the broadest column lies to the right of the middle.
    assert np.argmax(rows_per_column) > columns.mean()
    motion.velocity = -motion.velocity
    rows_per_column = (arrow_picture(plate, motion, spacing=121).max(axis=2) > 100).sum(axis=0)
    assert np.argmax(rows_per_column) < np.flatnonzero(rows_per_column).mean()


def test_faster_arrows_are_longer() -> None:
    plate = np.zeros((300, 300, 3), np.uint8)
    velocity = np.zeros((300, 300, 2), np.float32)
    velocity[:, :, 1] = 1.0
    velocity[:, 150:, 1] = 4.0
    lit = arrow_picture(plate, Motion(velocity, np.ones((300, 300), np.float32)), spacing=60).max(axis=2) > 100
    assert lit[:, 150:].sum() > 2 * lit[:, :150].sum() > 0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (33, 47)])
def test_arrows_take_odd_sizes_and_fields_without_motion(height: int, width: int) -> None:
    plate = np.full((height, width, 3), 200, np.uint8)
    for value in (0.0, 1.0, float("nan")):
        motion = Motion(np.full((height, width, 2), value, np.float32), np.full((height, width), value, np.float32))
        assert arrow_picture(plate, motion).shape == plate.shape


def test_arrows_refuse_another_size_or_crowding() -> None:
    motion = uniform_motion(40, 60, (1.0, 1.0))
    with pytest.raises(MotionError, match="60x40"):
        arrow_picture(np.zeros((60, 40, 3), np.uint8), motion)
    with pytest.raises(MotionError, match="apart"):
        arrow_picture(np.zeros((40, 60, 3), np.uint8), motion, spacing=1)


# Contact sheets


def test_contact_sheet_places_every_frame_and_label() -> None:
    frames = [(str(1001 + index), np.full((90, 160, 3), 40 * index + 55, np.uint8)) for index in range(5)]
    sheet = contact_sheet(frames, columns=2, width=400)
    assert sheet.shape[1] == 400 and sheet.dtype == np.uint8
    levels = [level for level in (55, 95, 135, 175, 215) if (sheet == level).all(axis=2).sum() > 90 * 160]
    assert levels == [55, 95, 135, 175, 215]
    bare = contact_sheet([("", picture) for _, picture in frames], columns=2, width=400)
    assert (sheet != bare).any()


def test_contact_sheet_keeps_the_proportions_of_odd_ones() -> None:
    frames = [("a", np.full((90, 160, 3), 255, np.uint8)), ("b", np.full((160, 90, 3), 200, np.uint8))]
    sheet = contact_sheet(frames, columns=2, width=800)
    rows, columns = np.nonzero((sheet == 200).all(axis=2))
    assert (np.ptp(rows) + 1) / (np.ptp(columns) + 1) == pytest.approx(160 / 90, rel=0.03)


@pytest.mark.parametrize(
    ("frames", "columns", "width"),
    [
        ([], 4, 800),
        ([("a", np.zeros((4, 4), np.uint8))], 4, 800),
        ([("a", np.zeros((4, 4, 3), np.float32))], 4, 800),
        ([("a", np.zeros((4, 4, 3), np.uint8))] * 30, 30, 300),
        ([("a", np.zeros((4, 4, 3), np.uint8))], 0, 300),
    ],
)
def test_contact_sheet_refuses_nonsense(frames: list[tuple[str, np.ndarray]], columns: int, width: int) -> None:
    with pytest.raises(SequenceError):
        contact_sheet(frames, columns, width)


def test_write_picture_round_trips(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (31, 17, 3), np.uint8)
    write_picture(picture[:, ::-1], tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), picture[:, ::-1])
    write_picture(np.full((16, 16, 3), 77, np.uint8), tmp_path / "a.JPG")
    assert np.abs(read_picture(tmp_path / "a.JPG").astype(int) - 77).max() <= 1
    with pytest.raises(SequenceError, match=r"name it .png"):
        write_picture(picture, tmp_path / "a.exr")
    with pytest.raises(SequenceError, match="cannot write"):
        write_picture(picture, tmp_path / "gone" / "a.png")


# Films


def decode(path: Path) -> tuple[dict[str, object], list[np.ndarray], list[Fraction]]:
    """Return what the stream says of itself, its frames as (Y, Cb, Cr) planes stacked, and their times."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        said = {
            "codec": context.name,
            "size": (context.width, context.height),
            "rate": stream.average_rate,
            "frames": stream.frames,
            "pixels": context.pix_fmt,
            "colour": (context.color_primaries, context.color_trc, context.colorspace, context.color_range),
        }
        planes, times = [], []
        for frame in container.decode(stream):
            assert frame.pts is not None and frame.time_base is not None
            planes.append(frame.to_ndarray())
            times.append(frame.pts * frame.time_base)
    return said, planes, times


def moving_frames(count: int = 10, height: int = 96, width: int = 128) -> list[np.ndarray]:
    base = np.add.outer(np.arange(height) * 2, np.arange(width)) % 256
    return [
        np.stack([np.roll(base, 5 * i, 1), np.roll(base, 3 * i, 0), base], 2).astype(np.uint8) for i in range(count)
    ]


def test_film_plays_every_cycle_alike_and_in_time(tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    path = tmp_path / "loop.mp4"
    rate = Fraction(24000, 1001)
    encoder = write_film(moving_frames(10), path, 23.976, cycles=3, on_progress=lambda *at: reported.append(at))
    said, planes, times = decode(path)
    assert encoder == "libx264"
    assert said["codec"] == "h264" and said["pixels"] == "yuv420p" and said["colour"] == (1, 1, 1, 1)
    assert said["rate"] == rate and said["frames"] == 30 and said["size"] == (128, 96)
    assert times == [index / rate for index in range(30)]
    for index in range(10):
        assert np.array_equal(planes[index], planes[index + 10])
        assert np.array_equal(planes[index], planes[index + 20])
        assert not np.array_equal(planes[index], planes[(index + 1) % 10])
    assert reported == [(done, 10) for done in range(1, 11)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["loop.mp4"]


def test_film_starts_fast(tmp_path: Path) -> None:
    write_film(moving_frames(3), tmp_path / "a.mp4", 24)
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_film_keeps_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    monkeypatch.setattr(film, "_find_encoder", lambda: encoder)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40), (16, 16, 16), (255, 255, 255), (90, 140, 180)]
    for colour in colours:
        assert write_film([np.full((64, 64, 3), colour, np.uint8)] * 2, tmp_path / "a.mp4", 24, cycles=1) == encoder
        planes = decode(tmp_path / "a.mp4")[1][0].astype(float)
        luma, blue, red = planes[:64].mean(), planes[64:80].mean(), planes[80:].mean()
        # ITU-R BT.709, item 3: back from Y'CbCr in the limited range.
        y, cb, cr = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
        r, b = y + 1.5748 * cr, y + 1.8556 * cb
        g = (y - 0.2126 * r - 0.0722 * b) / 0.7152
        assert np.array([r, g, b]) * 255 == pytest.approx(colour, abs=3.0)


def test_film_looks_like_its_frames(tmp_path: Path) -> None:
    frames = moving_frames(6, 96, 128)
    write_film(frames, tmp_path / "a.mp4", 24, cycles=1)
    luma = frames[3] @ np.array([0.2126, 0.7152, 0.0722]) * (219 / 255) + 16
    decoded = decode(tmp_path / "a.mp4")[1][3][:96]
    assert 10 * np.log10(219**2 / np.mean((decoded - luma) ** 2)) > 38


@pytest.mark.parametrize(("height", "width"), [(31, 47), (1, 1), (2, 301)])
def test_film_pads_odd_sizes(tmp_path: Path, height: int, width: int) -> None:
    write_film([np.full((height, width, 3), 128, np.uint8)] * 3, tmp_path / "a.mp4", 24)
    said, planes, _ = decode(tmp_path / "a.mp4")
    assert said["size"] == (width + width % 2, height + height % 2)
    assert len(planes) == 9


def test_film_takes_a_generator_once_and_one_at_a_time(tmp_path: Path) -> None:
    import weakref

    kept: list[weakref.ref[np.ndarray]] = []

    def frames():  # type: ignore[no-untyped-def]
        for index in range(40):
            frame = np.full((32, 32, 3), index, np.uint8)
            kept.append(weakref.ref(frame))
            yield frame
            del frame
            assert sum(ref() is not None for ref in kept) <= 3

    done: list[tuple[int, int]] = []
    write_film(frames(), tmp_path / "a.mp4", 24, cycles=3, count=40, on_progress=lambda *at: done.append(at))
    assert len(kept) == 40 and done[-1] == (40, 40)
    assert decode(tmp_path / "a.mp4")[0]["frames"] == 120


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no colon in names")
def test_film_name_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_film(moving_frames(1), "http:loop %04d é.mp4", 24)
    assert decode(tmp_path / "http:loop %04d é.mp4")[0]["frames"] == 3


def test_film_of_one_frame(tmp_path: Path) -> None:
    write_film(iter(moving_frames(1)), tmp_path / "a.mp4", Fraction(25), cycles=2)
    assert decode(tmp_path / "a.mp4")[2] == [0, Fraction(1, 25)]


def test_film_refuses_bad_input_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    good = moving_frames(2)
    with pytest.raises(SequenceError, match="at least one frame"):
        write_film([], path)
    with pytest.raises(SequenceError, match="frame 3 of the film is 100x50, those before are 128x96"):
        write_film([*good, np.zeros((50, 100, 3), np.uint8)], path)
    with pytest.raises(SequenceError, match="frame 1 of the film: .*float64"):
        write_film([good[0] / 255], path)
    with pytest.raises(SequenceError, match="cycles"):
        write_film(good, path, cycles=0)
    with pytest.raises(SequenceError, match="cannot write"):
        write_film(good, tmp_path / "gone" / "a.mp4")
    with pytest.raises(KeyboardInterrupt):
        write_film(
            (frame if index else (_ for _ in ()).throw(KeyboardInterrupt()) for index, frame in enumerate(good)), path
        )
    assert list(tmp_path.iterdir()) == []


def test_no_encoder_is_an_engine_error() -> None:
    assert film._find_encoder(["no such encoder", "mpeg4"]) == "mpeg4"
    with pytest.raises(EngineError, match="no such encoder"):
        film._find_encoder(["no such encoder"])


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (24, Fraction(24)),
        (25.0, Fraction(25)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("24000/1001", Fraction(24000, 1001)),
        (Fraction(60000, 1001), Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (1 / 3, Fraction(1, 3)),
    ],
)
def test_frame_rate(fps: Fraction | float | str, rate: Fraction) -> None:
    assert frame_rate(fps) == rate


@pytest.mark.parametrize("fps", [0, -24, float("nan"), float("inf"), "fast", "24/0", 1e9, 1e-9, None])
def test_frame_rate_refuses(fps: float) -> None:
    with pytest.raises(SequenceError, match="frame rate"):
        frame_rate(fps)


# From frames on disk


def write_frames(folder: Path, count: int, size: tuple[int, int] = (48, 64), gain: float = 0.0) -> list[Path]:
    """Write grey EXR frames, 0.2 bright and ``gain`` more with each, with one bright and one NaN pixel."""
    from loopcore.exr import write_exr

    paths = []
    for index in range(count):
        pixels = np.full((*size, 3), 0.2 + gain * index, np.float16)
        pixels[0, 0] = 50.0
        pixels[0, 9] = np.nan
        paths.append(folder / f"loop.{1001 + index}.exr")
        write_exr(paths[-1], {"RGB": pixels})
    return paths


def test_preview_film_of_a_folder(tmp_path: Path) -> None:
    write_frames(tmp_path, 6, gain=0.05)
    assert preview_sequence(tmp_path, tmp_path / "loop.mp4", fps=24, cycles=2) == "libx264"
    said, planes, _ = decode(tmp_path / "loop.mp4")
    assert said["frames"] == 12 and said["size"] == (64, 48)
    levels = [float(np.median(frame[:48])) for frame in planes[:6]]
    # One exposure for all: brighter frames stay brighter, by the sRGB curve.
    assert levels == sorted(levels) and levels[5] - levels[0] > 40


def test_preview_accepts_patterns_and_paths_and_shrinks(tmp_path: Path) -> None:
    paths = write_frames(tmp_path, 3, size=(40, 100))
    done: list[tuple[int, int]] = []
    preview_sequence(
        tmp_path / "loop.####.exr", tmp_path / "a.mp4", max_width=50, on_progress=lambda *at: done.append(at)
    )
    assert decode(tmp_path / "a.mp4")[0]["size"] == (50, 20)
    assert done == [(1, 3), (2, 3), (3, 3)]
    preview_sequence(paths[::-1], tmp_path / "b.mp4", cycles=1)
    assert decode(tmp_path / "b.mp4")[0]["frames"] == 3


def test_preview_shrinks_in_linear_light_and_keeps_nan_to_itself(tmp_path: Path) -> None:
    from loopcore.exr import write_exr

    pixels = np.zeros((64, 64, 3), np.float16)
    pixels[::2] = 1.0
    pixels[0, 0] = np.nan
    write_exr(tmp_path / "a.0001.exr", {"RGB": pixels})
    preview_sequence(tmp_path, tmp_path / "a.mp4", max_width=32, cycles=1)
    luma = decode(tmp_path / "a.mp4")[1][0][8:24, :32]
    # Half the light is sRGB 188, which is 177 in the limited range; half the code value would be 126.
    assert np.median(luma) == pytest.approx(16 + 188 * 219 / 255, abs=4)


def test_preview_makes_pixels_square(tmp_path: Path) -> None:
    from loopcore.exr import write_exr

    write_exr(tmp_path / "a.0001.exr", {"RGB": np.zeros((40, 50, 3), np.float16)}, pixel_aspect=2.0)
    preview_sequence(tmp_path, tmp_path / "a.mp4", cycles=1)
    assert decode(tmp_path / "a.mp4")[0]["size"] == (100, 40)


def test_preview_contact_sheet(tmp_path: Path) -> None:
    write_frames(tmp_path, 30)
    assert preview_sequence(tmp_path, tmp_path / "sheet.png", max_width=600) == "PNG"
    sheet = read_picture(tmp_path / "sheet.png")
    assert sheet.shape[1] == 600
    frame_level = int(np.rint(255 * (1.055 * 0.2 ** (1 / 2.4) - 0.055)))
    assert (np.abs(sheet.astype(int) - frame_level).max(axis=2) <= 2).mean() > 0.5


def test_preview_names_what_is_missing_or_wrong(tmp_path: Path) -> None:
    paths = write_frames(tmp_path, 4)
    out = tmp_path / "a.mp4"
    with pytest.raises(SequenceError, match="named twice"):
        preview_sequence([paths[0], paths[1], paths[0]], out)
    with pytest.raises(SequenceError, match="gone.exr' is missing"):
        preview_sequence([paths[0], tmp_path / "gone.exr"], out)
    with pytest.raises(SequenceError, match="no frames"):
        preview_sequence([], out)
    with pytest.raises(SequenceError, match=r"name it .mp4"):
        preview_sequence(tmp_path, tmp_path / "a.gif")
    with pytest.raises(SequenceError, match="cannot list|no frame"):
        preview_sequence(tmp_path / "gone", out)
    paths[1].unlink()
    with pytest.raises(SequenceError, match="lacks frames 1002"):
        preview_sequence(tmp_path, out)
    write_frames(tmp_path, 2, size=(96, 128))
    with pytest.raises(SequenceError, match="1003.exr' is 64x48, the first one is 128x96"):
        preview_sequence(tmp_path, out)
    write_frames(tmp_path, 4)
    paths[2].write_bytes(paths[2].read_bytes()[:-200])
    with pytest.raises(PlateError, match="1003"):
        preview_sequence(tmp_path, out)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))
