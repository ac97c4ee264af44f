# SPDX-License-Identifier: Apache-2.0
"""Losses of the fluid network's motion: laws of the density, and which pixels and pictures count."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from loopcore.motion.networks import MotionOutput
from loopcore.training.motion_losses import angle_loss, motion_losses

SIZE = (6, 8)


def around(count: int) -> tuple[Tensor, Tensor]:
    """Angles around the circle, and their cosines and sines (1, 2, 1, count)."""
    angles = (torch.arange(count) + 0.5) * (2 * math.pi / count)
    return angles, torch.stack([angles.cos(), angles.sin()])[None, :, None]


def towards(angle: float, k: float, like: Tensor) -> Tensor:
    """Parameters of the concentration ``k`` at an angle, in the shape of ``like``."""
    return (k * torch.tensor([math.cos(angle), math.sin(angle)]))[None, :, None, None].expand_as(like)


@pytest.mark.parametrize("k", [0.0, 0.5, 3.0, 40.0])
def test_density_integrates_to_one(k: float) -> None:
    _, unit = around(3600)
    relative = torch.exp(-angle_loss(towards(0.7, k, unit), unit))
    assert relative.mean().item() == pytest.approx(1, abs=1e-3)  # relative to a uniform density


def test_loss_is_least_at_the_right_angle_and_grows_with_the_error() -> None:
    angles, unit = around(360)
    loss = angle_loss(towards(angles[100].item(), 5.0, unit), unit)[0, 0, 0]
    assert int(loss.argmin()) == 100 and loss[100] < -1
    assert (loss[101:280].diff() >= 0).all() and loss[90].item() == pytest.approx(loss[110].item(), abs=1e-4)
    sure, unsure = (angle_loss(towards(angles[100].item(), k, unit), unit)[0, 0, 0] for k in (20.0, 2.0))
    assert sure[100] < unsure[100] and sure[180] > unsure[180]


def test_uncertainty_costs_nothing_and_an_outlier_a_bounded_amount() -> None:
    _, unit = around(60)
    assert angle_loss(torch.zeros_like(unit), unit).abs().max() < 1e-3
    for k in (10.0, 1e3, 1e5):
        loss = angle_loss(towards(0.0, k, unit), unit)
        assert loss.isfinite().all() and loss.max() <= -math.log(0.1) + 1e-4


def test_gradient_is_finite_at_no_concentration_and_turns_towards_the_angle() -> None:
    parameters = torch.zeros(1, 2, 1, 1, requires_grad=True)
    angle_loss(parameters, torch.tensor([0.6, 0.8])[None, :, None, None]).sum().backward()
    assert parameters.grad is not None
    step = -parameters.grad.flatten()
    assert (step / step.norm()).tolist() == pytest.approx([0.6, 0.8], abs=1e-3)


def output(velocity: Tensor | None = None, k: float = 8.0, moving: float = 0.0, pictures: int = 1) -> MotionOutput:
    """What a network says that knows a velocity (N, 2, h, w), or one that knows nothing."""
    if velocity is None:
        velocity, k = torch.ones(pictures, 2, *SIZE), 0.0
    speed = velocity.norm(dim=1, keepdim=True)
    cosine, sine = (velocity / speed).split(1, dim=1)
    axis = torch.cat([cosine * cosine - sine * sine, 2 * cosine * sine], dim=1)
    logit = torch.full((len(velocity), 1, *SIZE), moving)
    return MotionOutput(logit, k * axis, k * velocity / speed, speed.log())


def target(velocity: Tensor, weight: float | Tensor = 1.0, moving: float = 1.0, known: float = 1.0) -> Tensor:
    planes = [velocity]
    for value in (weight, moving, known):
        planes.append(torch.as_tensor(value).expand(len(velocity), 1, *SIZE))
    return torch.cat(planes, dim=1)


@pytest.fixture
def velocity() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, 2, *SIZE, generator=generator) + torch.tensor([0.0, 2.0])[None, :, None, None]


def test_axis_is_blind_to_the_sign_and_direction_is_not(velocity: Tensor) -> None:
    right, wrong = (motion_losses(output(sign * velocity), target(velocity)) for sign in (1, -1))
    assert torch.allclose(right["axis"], wrong["axis"]) and right["axis"] < -0.9
    assert right["direction"] < -0.9 and wrong["direction"] > 2
    turned = motion_losses(output(velocity.flip(1) * torch.tensor([1.0, -1.0])[None, :, None, None]), target(velocity))
    assert turned["axis"] > 2  # across


def test_speed_is_relative_within_a_picture(velocity: Tensor) -> None:
    for factor in (0.2, 1.0, 7.0):
        losses = motion_losses(output(factor * velocity), target(velocity))
        assert losses["speed"].item() == pytest.approx(0, abs=1e-5)
    flat = motion_losses(output(torch.ones_like(velocity)), target(velocity))
    assert flat["speed"] > 0.03
    # each picture has a factor of its own
    both, factors = torch.cat([velocity, velocity]), torch.tensor([0.5, 3.0])[:, None, None, None]
    assert motion_losses(output(both * factors), target(both))["speed"].item() == pytest.approx(0, abs=1e-5)


def test_moving_is_a_cross_entropy_over_what_is_known(velocity: Tensor) -> None:
    for logit, moving in ((9.0, 1.0), (-9.0, 0.0)):
        right, wrong = (motion_losses(output(moving=s * logit), target(velocity, 0, moving))["moving"] for s in (1, -1))
        assert right < 1e-3 and wrong.item() == pytest.approx(9 / 1.05, rel=1e-3)
    # a block of which a quarter is known counts by the fraction of this that moves
    part = target(velocity, 0, 0.25, 0.25)
    assert motion_losses(output(moving=9.0), part)["moving"] < 1e-3


def test_unknown_pixels_do_not_count(velocity: Tensor) -> None:
    weight = torch.zeros(1, 1, *SIZE)
    weight[..., :4] = 1
    known = target(velocity, weight, known=1.0)
    known[:, 3:] = weight  # moves where it is known
    expected = motion_losses(output(velocity, moving=2.0), known)
    wrong = velocity.clone()
    wrong[..., 4:] *= -5
    found = output(wrong)
    logit = torch.where(weight > 0, 2.0, -9.0)
    actual = motion_losses(MotionOutput(logit, found.axis, found.direction, found.speed), known)
    assert expected.keys() == actual.keys() == {"moving", "axis", "direction", "speed"}
    for name, loss in expected.items():
        assert torch.allclose(loss, actual[name], atol=1e-6), name


def test_pictures_count_alike_unless_hardly_anything_moves(velocity: Tensor) -> None:
    weight = torch.zeros(1, 1, *SIZE)
    weight[..., :4] = 1  # half of it
    opposite = output(-velocity)
    half, whole = (motion_losses(opposite, target(velocity, w))["direction"].item() for w in (weight, 1.0))
    assert half == pytest.approx(whole, rel=0.03)
    none = motion_losses(opposite, target(torch.zeros_like(velocity), 0.0, 0.0, 0.0))
    assert all(loss == 0 for loss in none.values())
    both = torch.cat([target(velocity), target(torch.zeros_like(velocity), 0.0, 0.0, 0.0)])
    pair = motion_losses(output(torch.cat([-velocity, velocity])), both)["direction"].item()
    assert pair == pytest.approx(whole / 2, rel=1e-5)
    few = torch.zeros(1, 1, *SIZE)
    few[..., 0, 0] = 0.1  # 0.2 % of the picture
    assert motion_losses(opposite, target(velocity, few))["direction"].item() < 0.15 * whole


def test_losses_have_gradients_where_nothing_moves() -> None:
    planes = [torch.zeros(1, n, *SIZE, requires_grad=True) for n in (1, 2, 2, 1)]
    still = target(torch.zeros(1, 2, *SIZE), 0.0, 0.0)
    torch.stack(list(motion_losses(MotionOutput(*planes), still).values())).sum().backward()
    grads = [plane.grad for plane in planes]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
    assert grads[0] is not None and (grads[0] > 0).all()
