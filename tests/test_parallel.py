# SPDX-License-Identifier: Apache-2.0
"""Bands of rows in threads: each row once for any number of threads, and errors reach the caller."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from loopcore.parallel import parallel_rows, thread_count


def bands_of(rows: int, min_rows: int | None = None) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    options = {} if min_rows is None else {"min_rows": min_rows}
    parallel_rows(rows, lambda first, last: found.append((first, last)), **options)
    return sorted(found)


@pytest.mark.parametrize("threads", ["1", "2", "3", "7", "64"])
@pytest.mark.parametrize("min_rows", [1, 2, 16, 64])
def test_every_row_is_processed_once(threads: str, min_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPCORE_THREADS", threads)
    for rows in (1, 2, 15, 16, 31, 32, 33, 127, 1080):
        bands = bands_of(rows, min_rows)
        assert [row for first, last in bands for row in range(first, last)] == list(range(rows))
        assert len(bands) == 1 or all(last - first >= min_rows for first, last in bands)
        assert len(bands) <= 4 * int(threads)
        if threads == "1":
            assert len(bands) == 1


def test_the_number_of_threads_is_read_on_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted in (3, 1, 5):
        monkeypatch.setenv("LOOPCORE_THREADS", str(wanted))
        assert thread_count() == wanted
    monkeypatch.delenv("LOOPCORE_THREADS")
    own = thread_count()
    assert 1 <= own <= (os.cpu_count() or 1)
    for nonsense in ("", "0", "-2", "many", "1.5"):
        monkeypatch.setenv("LOOPCORE_THREADS", nonsense)
        assert thread_count() == own


def test_bands_run_in_parallel_on_the_given_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPCORE_THREADS", "3")
    meeting = threading.Barrier(3, timeout=30)
    names = set()

    def work(first: int, last: int) -> None:
        meeting.wait()
        names.add(threading.current_thread().name)

    parallel_rows(12, work, min_rows=1)
    assert len(names) == 3


def test_one_thread_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPCORE_THREADS", "1")
    seen = []
    parallel_rows(500, lambda first, last: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]


@pytest.mark.parametrize("threads", ["1", "4"])
def test_an_error_in_a_band_reaches_the_caller(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPCORE_THREADS", threads)

    def work(first: int, last: int) -> None:
        if first <= 200 < last:
            raise ZeroDivisionError(f"rows {first} to {last}")

    with pytest.raises(ZeroDivisionError, match="rows"):
        parallel_rows(256, work)
    assert bands_of(64)[0][0] == 0  # and the pool still works


def test_many_callers_at_once_each_get_their_own_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPCORE_THREADS", "2")

    def call(number: int) -> np.ndarray:
        out = np.zeros(333, np.int64)

        def work(first: int, last: int) -> None:
            out[first:last] += number * np.arange(first, last)

        parallel_rows(333, work, min_rows=1)
        return out

    with ThreadPoolExecutor(8) as pool:
        for number, out in enumerate(pool.map(call, range(60))):
            assert np.array_equal(out, number * np.arange(333))


def sum_in_parallel() -> int:
    out = np.zeros(333, np.int64)

    def work(first: int, last: int) -> None:
        out[first:last] = np.arange(first, last)

    parallel_rows(333, work, min_rows=1)
    return int(out.sum())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPCORE_THREADS", "2")
    wanted = sum_in_parallel()
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=lambda: os._exit(0 if sum_in_parallel() == wanted else 3))
    child.start()
    child.join(20)
    try:
        assert child.exitcode == 0
    finally:
        child.kill()
    assert sum_in_parallel() == wanted
