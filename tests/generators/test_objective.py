"""The losses equal hand-computed values, and the penalty equals the gradient known by analysis."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.generators.objective import Objective, build_objective, fooled, gradient_penalty, hinge, relativistic
from stages.generators.params import HingeParams, RelativisticParams

HINGE = build_objective(HingeParams(kind="hinge"))
RELATIVISTIC = build_objective(RelativisticParams(kind="relativistic", gradient_penalty=0.3))
# softplus takes log(1 + e^x) for x beyond 20, which is off by e^-20.
SOFTPLUS_ERROR = 3e-9
LOGITS = st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30)), min_size=1, max_size=8)


def pair(logits: list[tuple[float, float]]) -> tuple[Tensor, Tensor]:
    real, fake = torch.tensor(logits, dtype=torch.float64).unbind(dim=1)
    return real, fake


def pictures() -> Tensor:
    return torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_hinge_losses_equal_hand_computed_values() -> None:
    real = torch.tensor([2.0, 0.5, -1.0])  # max(0, 1 - r): 0, 0.5, 2
    fake = torch.tensor([-3.0, 0.0])  # max(0, 1 + f): 0, 1
    assert hinge(real, fake).item() == pytest.approx(2.5 / 3 + 0.5)
    assert fooled(real, fake).item() == pytest.approx(1.5)


def test_relativistic_loss_equals_hand_computed_values() -> None:
    winner, loser = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    assert relativistic(winner, loser).item() == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 2)


def test_the_discriminator_learns_nothing_beyond_its_margins() -> None:
    real = torch.tensor([1.5, 0.0], requires_grad=True)
    fake = torch.tensor([-1.5, 0.0], requires_grad=True)
    of_real, of_fake = torch.autograd.grad(hinge(real, fake), (real, fake))
    assert of_real.tolist() == [0.0, -0.5]
    assert of_fake.tolist() == [0.0, 0.5]


def test_the_generator_is_rewarded_for_fooling_however_far() -> None:
    fake = torch.tensor([-9.0, 9.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(fooled(torch.zeros(2), fake), fake)
    assert gradient.tolist() == [-0.5, -0.5]


@given(LOGITS)
def test_relativistic_players_want_opposites(logits: list[tuple[float, float]]) -> None:
    real, fake = pair(logits)
    assert torch.equal(RELATIVISTIC.generator(real, fake), RELATIVISTIC.discriminator(fake, real))
    # log(1 + e^x) - log(1 + e^-x) = x
    difference = RELATIVISTIC.discriminator(real, fake) - RELATIVISTIC.generator(real, fake)
    assert difference.item() == pytest.approx((fake - real).mean().item(), abs=SOFTPLUS_ERROR)


@given(LOGITS, st.floats(-30, 30))
def test_relativistic_loss_sees_differences_only(logits: list[tuple[float, float]], shift: float) -> None:
    real, fake = pair(logits)
    assert relativistic(real + shift, fake + shift).item() == pytest.approx(
        relativistic(real, fake).item(), abs=SOFTPLUS_ERROR
    )


@pytest.mark.parametrize("objective", [HINGE, RELATIVISTIC])
def test_the_objective_says_whether_the_generator_sees_real_images(objective: Objective) -> None:
    real = torch.tensor([0.3, -0.2], requires_grad=True)
    (gradient,) = torch.autograd.grad(objective.generator(real, torch.tensor([0.1, 0.4])) + 0 * real.sum(), real)
    assert bool(gradient.any()) == objective.generator_sees_real


def test_each_objective_has_one_of_the_two_bounds() -> None:
    assert (HINGE.spectral, HINGE.penalty) == (True, 0)
    assert (RELATIVISTIC.spectral, RELATIVISTIC.penalty) == (False, 0.3)


def test_penalty_of_a_linear_function_is_half_its_squared_slope() -> None:
    images, slope = pictures(), torch.randn(3, 4, 4)
    logits = (images * slope).sum(dim=(1, 2, 3)) + 7
    assert gradient_penalty(logits, images).item() == pytest.approx(slope.square().sum().item() / 2, rel=1e-5)


def test_penalty_of_a_sum_of_squares_is_twice_the_mean_squared_norm() -> None:
    images = pictures()
    norms = images.square().sum(dim=(1, 2, 3))
    assert gradient_penalty(norms, images).item() == pytest.approx(2 * norms.mean().item(), rel=1e-5)


def test_the_penalty_teaches_the_function_to_be_flat() -> None:
    images, scale = pictures(), torch.tensor(3.0, requires_grad=True)
    norms = images.square().sum(dim=(1, 2, 3))
    (gradient,) = torch.autograd.grad(gradient_penalty(scale * norms, images), scale)
    # The penalty is 2 scale^2 mean(|x|^2).
    assert gradient.item() == pytest.approx(4 * 3 * norms.mean().item(), rel=1e-5)
