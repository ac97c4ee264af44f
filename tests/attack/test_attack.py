# SPDX-License-Identifier: Apache-2.0
"""Tests that generated hostile inputs end in an answer: no crash, no traceback, no file outside the output folder."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import _cases
import _runner
import _scenes
import _seeds
import pytest
from _workers import Client

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits by /proc, FIFOs, devices")
SEED, EACH, IN_WORKER = 20260, 2, 140


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _seeds.make_seeds(tmp_path_factory.mktemp("attack") / "seeds")


@pytest.mark.parametrize("kind", list(_cases.KINDS))
def test_a_command_withstands(kind: str, seeds: Path, tmp_path: Path) -> None:
    for number in range(EACH):
        case = _cases.make_case(SEED, number, kind, seeds, tmp_path / str(number))
        outcome, problems = _runner.run_case(case)
        assert not problems, (case.label, case.command(), problems, outcome)


def test_the_worker_withstands_damaged_files(seeds: Path, tmp_path: Path) -> None:
    client = Client(_scenes.command("worker"))
    try:
        for number in range(IN_WORKER):
            kind = _cases.FILE_KINDS[number % len(_cases.FILE_KINDS)]
            case = _cases.make_case(SEED + 1, number, kind, seeds, tmp_path / str(number))
            problems = _runner.run_in_worker(client, case)
            assert not problems, (case.label, case.command(), problems, client.errors)
    finally:
        client.end()


def test_the_worker_withstands_damaged_lines() -> None:
    client = Client(_scenes.command("worker"))
    rng = random.Random(SEED)
    try:
        for _ in range(100):
            for _ in range(8):  # few enough that the answers fit into the pipe, which is read afterwards
                client.send(_cases.worker_line(rng))
            wanted = client.request("hello")
            while (message := client.receive()).get("id") != wanted or "result" not in message:
                assert message.get("error", {}).get("code") != -32603, message
        assert _runner.resident(client.process.pid) < _runner.BYTES
    finally:
        client.end()
    assert b"Traceback" not in client.errors
