# SPDX-License-Identifier: Apache-2.0
"""Motion files of the released dataset: read without running code."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
import torch

from loopcore.errors import MotionError
from loopcore.training import motion_pth
from loopcore.training.motion_pth import read_motion_pth

FIELD = np.random.default_rng(7).normal(size=(1, 2, 6, 9)).astype(np.float32)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_released_layout(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "00001_00000_motion.pth"
    path.write_bytes(lz4.frame.compress(pickle.dumps(FIELD, protocol)))
    motion = read_motion_pth(path)
    assert motion.shape == (6, 9, 2) and motion.dtype == np.float32
    assert np.array_equal(motion, FIELD[0].transpose(1, 2, 0))
    path.write_bytes(lz4.frame.compress(pickle.dumps(np.asfortranarray(FIELD).astype(">f8"), protocol)))
    assert np.array_equal(read_motion_pth(path), motion)


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "a_motion.pth"
    torch.save(torch.from_numpy(FIELD), path, _use_new_zipfile_serialization=zipped)
    assert np.array_equal(read_motion_pth(path), FIELD[0].transpose(1, 2, 0))
    path.write_bytes(lz4.frame.compress(path.read_bytes()))
    assert np.array_equal(read_motion_pth(path), FIELD[0].transpose(1, 2, 0))


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    path = tmp_path / "a_motion.pth"
    evil = Evil(proof)
    pickle.loads(pickle.dumps(evil))
    assert proof.is_dir()  # an ordinary unpickler runs it
    proof.rmdir()
    contents = [pickle.dumps(value, protocol) for value in (evil, [evil], (FIELD, evil)) for protocol in (0, 2, 4)]
    for zipped in (True, False):
        packed = io.BytesIO()
        torch.save({"motion": evil}, packed, _use_new_zipfile_serialization=zipped)
        contents.append(packed.getvalue())
    for content in contents:
        for data in (content, lz4.frame.compress(content)):
            path.write_bytes(data)
            with pytest.raises(MotionError, match="a_motion.pth"):
                read_motion_pth(path)
            assert not proof.exists()


def test_unneeded_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a_motion.pth"
    for value in (np.save, os.path.join, np.random.default_rng, Path("x")):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(MotionError, match="not read"):
            read_motion_pth(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((3, 4)), r"not \(3, 4\)"),
        (np.full((1, 2, 3, 4), np.nan), "NaN"),
        (np.zeros((1, 2, 3, 4), np.int32), "floating-point"),
        (np.array([{}], object), "floating-point"),
        ([1.0, 2.0], "not one array"),
        ({"motion": 1}, "not one array"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, value: object, message: str) -> None:
    path = tmp_path / "a_motion.pth"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(MotionError, match=message):
        read_motion_pth(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a_motion.pth"
    with pytest.raises(MotionError, match="cannot be read"):
        read_motion_pth(path)
    whole = lz4.frame.compress(pickle.dumps(FIELD))
    for cut in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(MotionError):
            read_motion_pth(path)
    random = np.random.default_rng(3)
    for _ in range(200):
        spoiled = bytearray(whole)
        spoiled[random.integers(len(spoiled))] ^= 1 << int(random.integers(8))
        path.write_bytes(spoiled)
        try:
            assert read_motion_pth(path).shape[2] == 2
        except MotionError:
            pass


def test_large_decompressed_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion_pth, "MAX_BYTES", 10_000)
    path = tmp_path / "a_motion.pth"
    path.write_bytes(lz4.frame.compress(bytes(20_000)))
    with pytest.raises(MotionError, match="more than 10000 bytes"):
        read_motion_pth(path)


@pytest.mark.parametrize(
    "field",
    [
        torch.zeros(1, 2, 0, 5),
        torch.full((1, 2, 4, 5), 1e300, dtype=torch.float64),
        torch.zeros(1, 1, 1, 1).expand(1, 2, 40_000, 40_000),
    ],
)
def test_odd_tensors_are_refused(tmp_path: Path, field: torch.Tensor) -> None:
    torch.save(field, tmp_path / "a_motion.pth")
    with pytest.raises(MotionError, match="motion file .*a_motion.pth: it"):
        read_motion_pth(tmp_path / "a_motion.pth")
