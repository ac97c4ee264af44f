# SPDX-License-Identifier: Apache-2.0
"""How a worker's guard hears that the other end of a pipe has closed; by whatever the system has for it."""

from __future__ import annotations

import os
import threading
import time

import pytest

from loopcore.worker.process import _wait_for_hang_up

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no guard on Windows")


def test_a_closed_pipe_is_told_and_data_is_not() -> None:
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
