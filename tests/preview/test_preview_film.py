# SPDX-License-Identifier: Apache-2.0
"""Tests of films, and of previews of frames on disk."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from _preview_files import read_picture

from loopcore.errors import EngineError, PlateError, SequenceError
from loopcore.preview import film, preview_sequence, write_film

# Films


def decode(path: Path) -> tuple[dict[str, object], list[np.ndarray], list[Fraction]]:
    """Return the stream's properties, its frames as stacked (Y, Cb, Cr) planes, and their times."""
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


def test_all_cycles_of_a_film_are_equal_and_evenly_timed(tmp_path: Path) -> None:
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


def test_film_index_precedes_the_data(tmp_path: Path) -> None:
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


def test_film_iterates_a_generator_once(tmp_path: Path) -> None:
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
def test_film_name_with_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    for cycles in (0, 1001, 10**400):
        with pytest.raises(SequenceError, match="cycles: give 1 to 1000"):
            write_film(good, path, cycles=cycles)
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


# From frames on disk


def write_frames(folder: Path, count: int, size: tuple[int, int] = (48, 64), gain: float = 0.0) -> list[Path]:
    """Write grey EXR frames of value 0.2 plus ``gain`` per frame, with one bright and one NaN pixel."""
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


def test_preview_shrinks_in_linear_light_without_spreading_nan(tmp_path: Path) -> None:
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
    with pytest.raises(SequenceError, match="listed twice"):
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


def test_film_too_large_for_its_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="film of 2x100000 pixels is too large: the longest side is 16384"):
        write_film([np.zeros((100_000, 2, 3), np.uint8)], tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
