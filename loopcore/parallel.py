# SPDX-License-Identifier: Apache-2.0
"""Run a kernel on bands of rows in several threads.

Kernels release the GIL, and each output pixel is computed in one band, with arithmetic that does not depend on where
the band begins: results are bit-identical for any number of threads. Python threads, because Numba's own threading
layer must not be entered from two Python threads at once.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from loopcore.errors import EngineError

_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_lock = threading.Lock()
_limit: int | None = None


@contextmanager
def limited_threads(count: int | None) -> Iterator[None]:
    """Compute with so many threads within a `with` block, whatever LOOPCORE_THREADS says; None changes nothing.

    Raises:
        EngineError: less than one.
    """
    global _limit
    if count is not None and count < 1:
        raise EngineError(f"{count} threads cannot compute: give at least 1")
    before, _limit = _limit, count or _limit
    try:
        yield
    finally:
        _limit = before


def thread_count() -> int:
    """Return the number of threads to compute with: LOOPCORE_THREADS if set, else the cores this process may use."""
    if _limit is not None:
        return _limit
    wanted = os.environ.get("LOOPCORE_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parallel_rows(rows: int, work: Callable[[int, int], object], *, min_rows: int = 16) -> None:
    """Call work(first, last) on bands of at least `min_rows` rows that cover range(rows); wait for all.

    Raises:
        Exception: whatever `work` raises.
    """
    threads = thread_count()
    bands = max(1, min(rows // min_rows, threads * 4)) if threads > 1 else 1
    if bands == 1:
        work(0, rows)
        return
    edges = [rows * i // bands for i in range(bands + 1)]
    for done in [_executor(threads).submit(work, a, b) for a, b in zip(edges, edges[1:], strict=False)]:
        done.result()


def _executor(threads: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size != threads:
            _pool = ThreadPoolExecutor(threads, thread_name_prefix="loopcore")
            _pool_size = threads
        return _pool


def _forget_pool() -> None:
    """Reset the pool and the lock in a forked child, which inherits neither the threads nor the owner of the lock."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
