# SPDX-License-Identifier: Apache-2.0
"""Frame ranges and file patterns."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcore.errors import SequenceError
from loopcore.files.pattern import FramePattern, find_sequence
from loopcore.files.ranges import format_range, parse_range

# Frame ranges


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1001", [1001]),
        ("1001-1004", [1001, 1002, 1003, 1004]),
        ("1-10x3", [1, 4, 7, 10]),
        ("1-10X3", [1, 4, 7, 10]),
        ("1-10:3", [1, 4, 7, 10]),
        ("1-9x3", [1, 4, 7]),
        ("-5-5x5", [-5, 0, 5]),
        ("-10--7", [-10, -9, -8, -7]),
        ("-3", [-3]),
        ("7-7", [7]),
        ("007-009", [7, 8, 9]),
        ("1-3,10,2-4", [1, 2, 3, 4, 10]),
        ("10,1,10", [1, 10]),
        ("  1 - 3 x 2 , 8 ", [1, 3, 8]),
        ("1-2x100", [1]),
    ],
)
def test_parse_range_parses_every_syntax(text: str, frames: list[int]) -> None:
    assert parse_range(text) == tuple(frames)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "''"),
        ("1,,3", "''"),
        ("1,", "''"),
        ("1-10,abc", "'abc'"),
        ("1..10", "'1..10'"),
        ("1-10x", "'1-10x'"),
        ("1x2", "'1x2'"),
        ("1-2-3", "'1-2-3'"),
        ("--5", "'--5'"),
        ("1 2", "'1 2'"),
        ("1.5", "'1.5'"),
        ("٣-٥", "'٣-٥'"),
        ("5,10-1", "'10-1'"),
        ("1-10x0", "steps by 0"),
        ("1-10x-2", "steps by -2"),
        ("1-1000001", "more than 1000000"),
        ("1-600000,600001-1200000", "more than 1000000"),
        ("9" * 5000, "largest frame number"),
        ("1-1000000000", "'1000000000'"),
    ],
)
def test_parse_range_refuses_and_quotes_the_bad_piece(text: str, quoted: str) -> None:
    with pytest.raises(SequenceError) as caught:
        parse_range(text)
    assert quoted in str(caught.value)
    assert len(str(caught.value)) < 300


def test_parse_range_takes_exactly_the_size_limit() -> None:
    assert len(parse_range("1-1000000")) == 1_000_000


def test_parse_range_bounds_the_work_of_repeated_pieces() -> None:
    with pytest.raises(SequenceError, match="more than"):
        parse_range(",".join(["1-1000000"] * 10_000))


@given(st.sets(st.integers(-2000, 2000), min_size=1))
def test_format_range_round_trips_any_frames(frames: set[int]) -> None:
    assert parse_range(format_range(frames)) == tuple(sorted(frames))


@given(st.integers(-5000, 5000), st.integers(3, 60), st.integers(1, 50))
def test_format_range_writes_an_even_run_as_one_piece(first: int, count: int, step: int) -> None:
    frames = range(first, first + count * step, step)
    text = format_range(reversed(frames))
    assert "," not in text
    assert parse_range(text) == tuple(frames)


@given(st.lists(st.tuples(st.integers(-99, 99), st.integers(0, 99), st.integers(1, 9)), min_size=1, max_size=6))
def test_parse_range_is_the_union_of_its_pieces(spans: list[tuple[int, int, int]]) -> None:
    text = ", ".join(f"{first}-{first + length}x{step}" for first, length, step in spans)
    expected = {frame for first, length, step in spans for frame in range(first, first + length + 1, step)}
    assert parse_range(text) == tuple(sorted(expected))


@given(st.text(alphabet="0123456789-x:, aX#.", max_size=20))
def test_parse_range_either_reads_or_refuses(text: str) -> None:
    try:
        frames = parse_range(text)
    except SequenceError:
        return
    assert frames == tuple(sorted(set(frames)))
    assert parse_range(format_range(frames)) == frames


def test_format_range_of_nothing_and_of_pairs() -> None:
    assert format_range([]) == ""
    assert format_range([2, 1]) == "1,2"
    assert format_range([1, 2, 3, 5, 7, 9, 20]) == "1-3,5-9x2,20"


# File patterns


@pytest.mark.parametrize(
    ("text", "frame", "name"),
    [
        ("plate_loop.####.exr", 1001, "plate_loop.1001.exr"),
        ("plate_loop.####.exr", 7, "plate_loop.0007.exr"),
        ("plate_loop.####.exr", -7, "plate_loop.-007.exr"),
        ("plate_loop.####.exr", 123456, "plate_loop.123456.exr"),
        ("plate_loop.%04d.exr", 7, "plate_loop.0007.exr"),
        ("plate_loop.%04d.exr", -7, "plate_loop.-007.exr"),
        ("plate_loop.#.exr", 7, "plate_loop.7.exr"),
        ("plate_loop.%d.exr", -7, "plate_loop.-7.exr"),
        ("plate##", 3, "plate03"),
        ("plate_loop.exr", 12, "plate_loop.0012.exr"),
        ("plate_loop", 12, "plate_loop.0012"),
        ("plate.v002", 12, "plate.v002.0012"),
        ("shot_010.exr", 12, "shot_010.0012.exr"),
        ("plate_loop.1001.exr", 12, "plate_loop.0012.exr"),
        ("plate.00001.exr", 12, "plate.00012.exr"),
        ("Größe 水.####.exr", 12, "Größe 水.0012.exr"),
        ("100%.####.exr", 12, "100%.0012.exr"),
    ],
)
def test_pattern_names_frames(tmp_path: Path, text: str, frame: int, name: str) -> None:
    assert FramePattern.from_text(text, tmp_path).path(frame) == tmp_path / name
    assert FramePattern.from_text(tmp_path / text).path(frame) == tmp_path / name


@given(st.integers(-(10**9) + 1, 10**9 - 1), st.integers(1, 12))
def test_pattern_pads_as_printf_does(frame: int, digits: int) -> None:
    hashes = FramePattern.from_text("a." + "#" * digits + ".exr", ".")
    assert hashes.path(frame).name == f"a.%0{digits}d.exr" % frame
    assert hashes == FramePattern.from_text(f"a.%0{digits}d.exr", ".")


@pytest.mark.parametrize(
    "text",
    [
        "../a.####.exr",
        "sub/a.####.exr",
        "/tmp/a.####.exr",
        "..\\a.####.exr",
        "..",
        ".",
        "",
        "a\0.####.exr",
        "a/",
        "./a",
    ],
)
def test_pattern_never_leaves_its_folder(tmp_path: Path, text: str) -> None:
    with pytest.raises(SequenceError):
        FramePattern.from_text(text, tmp_path)


@pytest.mark.parametrize("text", ["a.####.##.exr", "a.%04d.####.exr", "s####/a.####.exr", "#" * 13, "a.%0999999999d"])
def test_pattern_refuses_more_than_one_number_or_absurd_padding(text: str) -> None:
    with pytest.raises(SequenceError):
        FramePattern.from_text(text)


@pytest.mark.parametrize("prefix", ["../a.", "a\\b.", "a\n."])
def test_pattern_made_from_parts_is_checked_too(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(SequenceError, match="may not hold"):
        FramePattern(tmp_path, prefix, ".exr")


def test_pattern_finds_only_names_written_its_way(tmp_path: Path) -> None:
    ours = ["a.1001.exr", "a.0999.exr", "a.-005.exr", "a.12345.exr"]
    others = ["a.999.exr", "a.01000.exr", "a.-000.exr", "a.x.exr", "a..exr", "b.1001.exr", "a.1001.exr.b", "a.1001.png"]
    for name in ours + others:
        (tmp_path / name).touch()
    (tmp_path / ".a.1002.exr.tmp-12-0123456789ab").touch()
    (tmp_path / "a.1003.exr").mkdir()
    found = FramePattern.from_text("a.####.exr", tmp_path).find()
    assert list(found) == [-5, 999, 1001, 12345]
    assert found[1001] == tmp_path / "a.1001.exr"


@given(st.sets(st.integers(-10_000_000, 10_000_000), max_size=12), st.integers(1, 6))
def test_pattern_finds_what_it_named(tmp_path_factory: pytest.TempPathFactory, frames: set[int], padding: int) -> None:
    pattern = FramePattern(tmp_path_factory.mktemp("frames"), "a_", ".exr", padding)
    for frame in frames:
        pattern.path(frame).touch()
    assert pattern.find() == {frame: pattern.path(frame) for frame in sorted(frames)}


def test_find_all_names_the_gaps(tmp_path: Path) -> None:
    pattern = FramePattern(tmp_path, "a.", ".exr")
    with pytest.raises(SequenceError, match="no frame of a.####.exr"):
        pattern.find_all()
    for frame in (1, 2, 4, 9):
        pattern.path(frame).touch()
    with pytest.raises(SequenceError, match="lacks frames 3,5-8:"):
        pattern.find_all()
    for frame in (3, 5, 6, 7, 8):
        pattern.path(frame).touch()
    assert list(pattern.find_all()) == list(range(1, 10))
    pattern.path(999_999_999).touch()
    with pytest.raises(SequenceError, match="10-999999998"):
        pattern.find_all()


def test_find_in_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="cannot list folder"):
        FramePattern(tmp_path / "gone", "a.", ".exr").find()


def test_find_sequence_finds_the_only_sequence(tmp_path: Path) -> None:
    for name in ["a.1001.exr", "a.1002.exr", "a.10000.exr", "motion.exr", "ref_01.png", "loop.mp4", "notes.0001.txt"]:
        (tmp_path / name).touch()
    assert find_sequence(tmp_path) == FramePattern(tmp_path, "a.", ".exr", 4)


def test_find_sequence_reads_negative_frames_but_not_dashed_names(tmp_path: Path) -> None:
    for name in ["a.-001.exr", "a.0000.exr"]:
        (tmp_path / name).touch()
    assert list(find_sequence(tmp_path).find_all()) == [-1, 0]
    dashed = tmp_path / "dashed"
    dashed.mkdir()
    (dashed / "a-0001.png").touch()
    assert list(find_sequence(dashed).find()) == [1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no numbered frames"),
        (["motion.exr", "film.mp4"], "no numbered frames"),
        (["a.1.exr", "a.2.exr", "b.1.exr", "b.2.exr"], "holds 2 sequences"),
        (["a.0001.exr", "a.0002.exr", "a.0001.png", "a.0002.png"], "holds 2 sequences"),
        (["a.7.exr", "a.0007.exr"], "different widths"),
    ],
)
def test_find_sequence_refuses_ambiguous_folders(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(SequenceError, match=message):
        find_sequence(tmp_path)
