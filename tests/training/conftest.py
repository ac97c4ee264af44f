# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the training tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from loopcore.training.pictures import UNKNOWN


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs torch on one thread, for reproducible sums and for tests in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes six pictures of bright bands (water) over dark ground, two in each split."""
    home = tmp_path_factory.mktemp("labelled")
    random = np.random.default_rng(5)
    lines = ["image,label,set,split,licence"]
    for i in range(6):
        labels = np.zeros((96, 128), np.uint8)
        labels[20 + 5 * i : 60 + 5 * i] = 1
        labels[:, :3] = UNKNOWN
        picture = np.where(labels[..., None] == 1, (90, 160, 230), (60, 50, 20)) + random.integers(0, 20, (96, 128, 3))
        Image.fromarray(picture.astype(np.uint8)).save(home / f"{i}.png")
        Image.fromarray(labels).save(home / f"l{i}.png")
        lines.append(f"{i}.png,l{i}.png,bands,{('train', 'val', 'test')[i // 2]},own")
    (home / "manifest.csv").write_text("\n".join(lines), "utf-8")
    return home
