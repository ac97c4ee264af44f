# SPDX-License-Identifier: Apache-2.0
"""Frame ranges, file patterns and atomic writes."""

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopcore import sequence
from loopcore.errors import SequenceError
from loopcore.sequence import FramePattern, find_sequence, format_range, parse_range, remove_leftovers, write_atomically

posix_only = pytest.mark.skipif(os.name == "nt", reason="relies on a POSIX limit or signal")


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
def test_parse_range_reads_every_spelling(text: str, frames: list[int]) -> None:
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


def test_find_sequence_takes_the_one_sequence(tmp_path: Path) -> None:
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
def test_find_sequence_refuses_what_it_would_have_to_guess(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(SequenceError, match=message):
        find_sequence(tmp_path)


# Atomic writes


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_write_is_hidden_until_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.1001.exr"
    target.write_bytes(b"old")
    seen = []

    def write(temporary: Path) -> None:
        before = target.read_bytes()
        temporary.write_bytes(b"new")
        seen.append(temporary)
        assert target.read_bytes() == before
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(f".a.1001.exr.tmp-{os.getpid()}-")
        assert FramePattern.from_text("a.####.exr", tmp_path).find() == {1001: target}

    write_atomically(target, write)
    assert target.read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.1001.exr"]
    write_atomically(str(target), write)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("error", [RuntimeError("codec"), KeyboardInterrupt(), SequenceError("inner")])
def test_failed_write_keeps_the_old_file_and_no_temporary(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.exr"
    target.write_bytes(b"old")

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise error

    with pytest.raises(type(error)) as caught:
        write_atomically(target, write)
    assert caught.value is error
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.exr"]


def test_what_a_write_says_of_the_temporary_is_said_of_the_file(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        raise SequenceError(f"cannot write '{temporary}': no room")

    with pytest.raises(SequenceError, match=re.escape(f"cannot write '{tmp_path / 'a.exr'}': no room")):
        write_atomically(tmp_path / "a.exr", write)


def write_a(temporary: Path) -> None:
    temporary.write_bytes(b"a")


@pytest.mark.parametrize("place", ["missing/a.exr", "file/a.exr", "folder", "n" * 300])
def test_impossible_places_are_sequence_errors_with_the_reason(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    before = names_in(tmp_path)
    with pytest.raises(SequenceError, match="cannot write") as caught:
        write_atomically(tmp_path / place, write_a)
    assert os.strerror(caught.value.__cause__.errno) in str(caught.value)
    assert names_in(tmp_path) == before


def test_long_names_still_fit(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 120 + ".exr")
    write_atomically(target, write_a)
    assert names_in(tmp_path) == [target.name]


def test_folder_vanishing_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"a")
        temporary.rename(tmp_path / "stolen")
        folder.rmdir()

    with pytest.raises(SequenceError, match="No such file"):
        write_atomically(folder / "a.exr", write)


def test_error_about_another_file_names_it(tmp_path: Path) -> None:
    source = tmp_path / "source.exr"
    with pytest.raises(SequenceError, match="source.exr"):
        write_atomically(tmp_path / "a.exr", lambda temporary: temporary.write_bytes(source.read_bytes()) and None)


@posix_only
def test_file_size_limit_as_a_full_disk(tmp_path: Path) -> None:
    script = f"""
        import resource, pathlib
        from loopcore.sequence import write_atomically
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        write_atomically({str(tmp_path / "a.exr")!r}, lambda temporary: temporary.write_bytes(bytes(50_000)) and None)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "SequenceError: cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert names_in(tmp_path) == []


@posix_only
def test_full_device(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")

    def write(temporary: Path) -> None:
        Path("/dev/full").write_bytes(b"a")

    with pytest.raises(SequenceError, match="No space left on device"):
        write_atomically(tmp_path / "a.exr", write)


def test_windows_waits_for_a_viewer_to_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = os.replace, []

    def held_twice(source: Path, target: Path) -> None:
        tries.append(source)
        if len(tries) < 3:
            raise PermissionError(13, "Access is denied", str(source), 5, str(target))
        real(source, target)

    monkeypatch.setattr(sequence.os, "replace", held_twice)
    monkeypatch.setattr(sequence, "_PATIENCE_S", (0.0, 0.0, 0.0))
    write_atomically(tmp_path / "a.exr", write_a)
    assert len(tries) == 3
    assert (tmp_path / "a.exr").read_bytes() == b"a"


def test_windows_gives_up_with_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def held(source: Path, target: Path) -> None:
        raise PermissionError(13, "Access is denied", str(source), 5, str(target))

    monkeypatch.setattr(sequence.os, "replace", held)
    monkeypatch.setattr(sequence, "_PATIENCE_S", (0.0,))
    with pytest.raises(SequenceError, match="closed in other programs"):
        write_atomically(tmp_path / "a.exr", write_a)
    assert names_in(tmp_path) == []


def test_many_threads_write_one_name(tmp_path: Path) -> None:
    target = tmp_path / "a.exr"
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def write(content: bytes) -> None:
        write_atomically(target, lambda temporary: temporary.write_bytes(content) and None)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert names_in(tmp_path) == ["a.exr"]


# Leftovers


@posix_only
def test_killed_writer_leaves_a_leftover_that_goes(tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from loopcore.sequence import write_atomically
        def write(temporary):
            temporary.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write_atomically({str(tmp_path / "a.1001.exr")!r}, write)
    """
    (tmp_path / "a.1002.exr").write_bytes(b"whole")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == -9
    left = [name for name in names_in(tmp_path) if name.startswith(".a.1001.exr.tmp-")]
    assert len(left) == 1
    assert remove_leftovers(tmp_path) == [tmp_path / left[0]]
    assert names_in(tmp_path) == ["a.1002.exr"]


def leftover(folder: Path, pid: int, host: str | None = None) -> Path:
    path = folder / f".a.1001.exr.tmp-{pid}-{sequence._host_tag() if host is None else host}01234567"
    path.write_bytes(b"half")
    return path


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_the_dead_go_and_of_the_living_stay(tmp_path: Path) -> None:
    alive = leftover(tmp_path, os.getppid())
    dead = leftover(tmp_path, ended_process())
    absurd = leftover(tmp_path, 10**18)
    recycled = leftover(tmp_path, os.getpid())
    assert sorted(remove_leftovers(tmp_path)) == sorted([dead, absurd, recycled])
    assert names_in(tmp_path) == [alive.name]


def test_own_write_in_progress_stays(tmp_path: Path) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(b"a")
        assert remove_leftovers(tmp_path) == []
        assert temporary.exists()

    write_atomically(tmp_path / "a.exr", write)
    assert names_in(tmp_path) == ["a.exr"]


def test_leftovers_of_another_machine_go_only_when_old(tmp_path: Path) -> None:
    other = f"{int(sequence._host_tag(), 16) ^ 1:04x}"
    foreign = leftover(tmp_path, ended_process(), other)
    assert remove_leftovers(tmp_path) == []
    day_ago = foreign.stat().st_mtime - 25 * 3600
    os.utime(foreign, (day_ago, day_ago))
    assert remove_leftovers(tmp_path) == [foreign]


def test_leftovers_of_other_naming_stay(tmp_path: Path) -> None:
    pid = ended_process()
    names = [
        f"a.exr.tmp-{pid}-0123456789ab",
        f".a.exr.tmp-{pid}",
        f".a.exr.tmp-{pid}-xyz",
        f".a.exr.tmp-{pid}-0123456789ab.swp",
        ".a.exr.tmp-0-0123456789ab",
        ".hidden",
        "a.1001.exr",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / f".b.exr.tmp-{pid}-{sequence._host_tag()}01234567").mkdir()
    assert remove_leftovers(tmp_path) == []
    assert len(names_in(tmp_path)) == len(names) + 1


def test_leftovers_of_a_missing_folder_are_none(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "gone") == []
    (tmp_path / "file").touch()
    with pytest.raises(SequenceError, match="cannot list"):
        remove_leftovers(tmp_path / "file")
