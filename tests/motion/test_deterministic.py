# SPDX-License-Identifier: Apache-2.0
"""Parallel inference: results in order, one thread each, and exceptions that propagate."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from loopcore.motion.deterministic import ResizeMode, resize_planes, run_parallel


def test_each_task_has_one_thread_and_no_gradients_and_results_are_in_order() -> None:
    before = torch.get_num_threads()
    weight = torch.ones(3, requires_grad=True)

    def task(number: int) -> torch.Tensor:
        product = weight * number
        assert not product.requires_grad
        return torch.tensor([number, torch.get_num_threads(), float(product.sum())])

    answers = run_parallel([lambda n=n: task(n) for n in range(7)])  # type: ignore[misc]
    assert [answer.tolist() for answer in answers] == [[n, 1, 3 * n] for n in range(7)]
    assert run_parallel([lambda: task(4)])[0].tolist() == [4, 1, 12]
    assert torch.get_num_threads() == before


def test_an_exception_propagates_and_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()

    def fail() -> torch.Tensor:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_parallel([lambda: torch.zeros(1), fail])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("mode", ["bilinear", "antialias", "area"])
@pytest.mark.parametrize("size", [(7, 5), (40, 61), (13, 90), (1, 1)])
def test_planes_are_resized_as_torch_does(mode: ResizeMode, size: tuple[int, int]) -> None:
    planes = np.random.default_rng(3).random((2, 20, 31), np.float32)
    options = {"bilinear": {}, "antialias": {"antialias": True}, "area": {}}[mode]
    source = torch.from_numpy(planes)[None]
    expected = F.interpolate(source, size, mode="area" if mode == "area" else "bilinear", **options)[0]
    found = resize_planes(planes, *size, mode)
    assert found.shape == (2, *size) and found.dtype == np.float32
    assert found == pytest.approx(expected.numpy(), abs=1e-6)
    turned = resize_planes(planes.transpose(0, 2, 1), *size, mode)  # in any order in memory
    assert turned == pytest.approx(resize_planes(planes.transpose(0, 2, 1).copy(), *size, mode))
