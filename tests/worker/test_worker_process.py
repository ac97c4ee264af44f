# SPDX-License-Identifier: Apache-2.0
"""Tests of how the watchdog detects a closed pipe, by the system's own method."""

from __future__ import annotations

import os
import threading
import time

import pytest

from loopcore.worker.process import _wait_for_hang_up

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no guard on Windows")


def test_wait_for_hang_up_ignores_data() -> None:
    quiet, keep = os.pipe()
    reader, writer = os.pipe()
    os.write(writer, b"a request")
    assert _wait_for_hang_up([reader, quiet], 0.05) == []
    timer = threading.Timer(0.2, os.close, (writer,))
    began = time.monotonic()
    timer.start()
    assert _wait_for_hang_up([reader, quiet]) == [reader]
    assert time.monotonic() - began > 0.1
    timer.join()
    assert os.read(reader, 100) == b"a request"  # left to the worker
    assert _wait_for_hang_up([reader], 5) == [reader]
    for end in (quiet, keep, reader):
        os.close(end)
