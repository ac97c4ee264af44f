# SPDX-License-Identifier: Apache-2.0
"""Classes that networks see in clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from _films import supervision_of

from loopcore.motion.networks import CLASSES, FluidNet
from loopcore.training.footage import Supervision
from loopcore.training.teachers import teach

SIZE = (64, 98)


def teacher(seed: int, scores: tuple[float, ...]) -> FluidNet:
    """A network with random weights that is biased by these scores."""
    torch.manual_seed(seed)
    network = FluidNet(lite=0).eval().requires_grad_(False)
    network.decoder.scores.bias.copy_(torch.tensor(scores))
    return network


@pytest.fixture(scope="module")
def teachers() -> tuple[FluidNet, FluidNet]:
    return teacher(1, (0, 2, 0, 0, 0)), teacher(2, (1, 0, 0, 0, -1))


@pytest.fixture(scope="module")
def frozen() -> Supervision:
    clip = supervision_of("channel", 3, SIZE)
    return replace(clip, frames=clip.frames[:1])


def test_teachers_average_logarithms_of_their_probabilities(
    frozen: Supervision, teachers: tuple[FluidNet, FluidNet]
) -> None:
    seen = []
    one, other, both = (
        teach([frozen], some, lambda done, total: seen.append((done, total)))[0].classes
        for some in (teachers[:1], teachers[1:], teachers)
    )
    assert both.shape == (len(CLASSES), 16, 24) and both.dtype == np.float32 and seen == [(1, 1)] * 3
    assert both.sum(axis=0) == pytest.approx(1, abs=1e-5)
    mean = np.sqrt(one * other)
    assert both == pytest.approx(mean / mean.sum(axis=0), abs=1e-4)
    assert (one.argmax(axis=0) == 1).mean() > 0.9


def test_classes_are_those_of_the_first_frame(frozen: Supervision, teachers: tuple[FluidNet, FluidNet]) -> None:
    moved = replace(frozen, frames=np.stack([255 - frozen.frames[0], frozen.frames[0]]))
    still, other = (teach([clip], teachers[:1])[0].classes for clip in (frozen, moved))
    assert not np.allclose(still, other, atol=1e-3)
    backwards = replace(moved, frames=moved.frames[::-1])
    assert np.array_equal(teach([backwards], teachers[:1])[0].classes, still)


def test_one_teacher_cannot_rule_a_class_out_alone(frozen: Supervision, teachers: tuple[FluidNet, FluidNet]) -> None:
    stubborn = teacher(3, (60, 0, 0, 0, 0))
    one, both = (teach([frozen], some)[0] for some in (teachers[:1], (stubborn, teachers[0])))
    limited = np.full((5, 1, 1), 1e-3)
    limited[0] = 1
    mean = np.sqrt(one.classes * limited)
    assert both.classes == pytest.approx(mean / mean.sum(axis=0), abs=1e-4) and both.supervision is frozen
