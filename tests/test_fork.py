# SPDX-License-Identifier: Apache-2.0
"""Forked children, which inherit the parent's locks and pools but none of its threads."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

import _scenes
import pytest
from _bakes import N
from _textures import RGB, motion, plate

from loopcore.exr import read_exr, reading, write_exr
from loopcore.files import atomic
from loopcore.files.atomic import write_atomically
from loopcore.loop.loop import METHODS, Loop
from loopcore.motion.predict import predict_motion
from loopcore.plate import read_plate

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


def in_a_child(work: Callable[[], bytes], seconds: float = 30) -> bytes:
    """Return what a forked child computes; fail if it takes too long."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=lambda: sender.send_bytes(work()), daemon=True)
    child.start()
    sender.close()
    try:
        assert receiver.poll(seconds), f"the child said nothing for {seconds} seconds"
        return receiver.recv_bytes()
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("method", METHODS)
def test_a_forked_child_renders_the_same_bytes(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPCORE_THREADS", "2")
    still, field = plate(61, 83, RGB), motion(61, 83)
    inherited = Loop(still, field, frames=N, method=method, device="cpu")
    wanted = inherited.frame(2).tobytes()
    assert in_a_child(lambda: inherited.frame(2).tobytes()) == wanted
    assert in_a_child(lambda: Loop(still, field, frames=N, method=method, device="cpu").frame(2).tobytes()) == wanted


@pytest.mark.parametrize("lock", ["atomic._busy_lock", "reading._guard_lock"])
def test_a_lock_held_by_a_thread_does_not_block_a_forked_child(lock: str, tmp_path: Path) -> None:
    module = {"atomic": atomic, "reading": reading}[lock.split(".")[0]]
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with getattr(module, lock.split(".")[1]):
            held.set()
            release.wait(60)

    def write_and_read() -> bytes:
        target = tmp_path / "a.exr"
        write_atomically(target, lambda temporary: write_exr(temporary, {"Y": plate(8, 9, RGB).pixels[..., 0]}))
        return read_exr(target)[0].channels["Y"].tobytes()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        written = in_a_child(write_and_read)
    finally:
        release.set()
        thread.join()
    assert written == write_and_read()


def test_a_forked_child_predicts_the_same_bytes(tmp_path: Path) -> None:
    picture = read_plate(_scenes.png(tmp_path / "p.png"))
    wanted = predict_motion(picture).velocity.tobytes()
    assert in_a_child(lambda: predict_motion(picture).velocity.tobytes(), 60) == wanted
