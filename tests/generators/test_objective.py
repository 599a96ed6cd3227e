"""The losses equal hand-computed values, and the penalty equals the gradient known by analysis."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.generators.objective import Objective, build_objective, fooled, gradient_penalty, hinge, relativistic

HINGE = build_objective({"kind": "hinge", "margin": 1.0})
RELATIVISTIC = build_objective({"kind": "relativistic", "gradient_penalty": 0.3})
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
    fake = torch.tensor([-3.0, 0.0, 0.5])  # max(0, 1 + f): 0, 1, 1.5
    assert hinge(real, fake).tolist() == [0.0, 1.5, 3.5]
    assert fooled(real, fake).tolist() == [3.0, 0.0, -0.5]


def test_relativistic_loss_equals_hand_computed_values() -> None:
    winner, loser = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    expected = [math.log1p(math.exp(-1)), math.log1p(math.exp(3))]
    assert relativistic(winner, loser).tolist() == pytest.approx(expected)


def test_the_discriminator_learns_nothing_beyond_its_margins() -> None:
    real = torch.tensor([1.5, 0.0], requires_grad=True)
    fake = torch.tensor([-1.5, 0.0], requires_grad=True)
    of_real, of_fake = torch.autograd.grad(hinge(real, fake).sum(), (real, fake))
    assert of_real.tolist() == [0.0, -1.0]
    assert of_fake.tolist() == [0.0, 1.0]


def test_a_lower_margin_is_as_if_logits_were_larger() -> None:
    real, fake = torch.tensor([2.0, 0.5, -0.125]), torch.tensor([-3.0, 0.0, 0.5])
    low = build_objective({"kind": "hinge", "margin": 0.25})
    assert torch.equal(4 * low.discriminator(real, fake), HINGE.discriminator(4 * real, 4 * fake))


def test_the_generator_is_rewarded_for_fooling_however_far() -> None:
    fake = torch.tensor([-9.0, 9.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(fooled(torch.zeros(2), fake).sum(), fake)
    assert gradient.tolist() == [-1.0, -1.0]


@given(LOGITS)
def test_relativistic_players_want_opposites(logits: list[tuple[float, float]]) -> None:
    real, fake = pair(logits)
    assert torch.equal(RELATIVISTIC.generator(real, fake), RELATIVISTIC.discriminator(fake, real))
    # log(1 + e^x) - log(1 + e^-x) = x
    difference = RELATIVISTIC.discriminator(real, fake) - RELATIVISTIC.generator(real, fake)
    assert difference.tolist() == pytest.approx((fake - real).tolist(), abs=SOFTPLUS_ERROR)


@given(LOGITS, st.floats(-30, 30))
def test_relativistic_loss_sees_differences_only(logits: list[tuple[float, float]], shift: float) -> None:
    real, fake = pair(logits)
    shifted = relativistic(real + shift, fake + shift)
    assert shifted.tolist() == pytest.approx(relativistic(real, fake).tolist(), abs=SOFTPLUS_ERROR)


@pytest.mark.parametrize("objective", [HINGE, RELATIVISTIC])
def test_the_objective_says_whether_the_generator_sees_real_images(objective: Objective) -> None:
    real = torch.tensor([0.3, -0.2], requires_grad=True)
    losses = objective.generator(real, torch.tensor([0.1, 0.4]))
    (gradient,) = torch.autograd.grad(losses.sum() + 0 * real.sum(), real)
    assert bool(gradient.any()) == objective.generator_sees_real


def test_the_penalty_belongs_to_the_relativistic_loss_and_has_the_stated_weight() -> None:
    assert (HINGE.penalty, RELATIVISTIC.penalty) == (0, 0.3)


@pytest.mark.parametrize(("objective", "of_the_real"), [(HINGE, 1 / 3), (RELATIVISTIC, -1 / 3)])
def test_sureness_is_the_mean_sign_of_what_makes_real_images_seem_real(
    objective: Objective, of_the_real: float
) -> None:
    real, fake = torch.tensor([0.5, 3.0, -2.0]), torch.tensor([1.0, 2.0, -1.0])  # hinge ignores the fakes
    assert objective.sureness(real, fake).item() == pytest.approx(of_the_real)


def test_penalty_of_a_linear_function_is_half_its_squared_slope() -> None:
    images, slope = pictures(), torch.randn(3, 4, 4)
    logits = (images * slope).sum(dim=(1, 2, 3)) + 7
    expected = [slope.square().sum().item() / 2] * 5
    assert gradient_penalty(logits, images).tolist() == pytest.approx(expected, rel=1e-5)


def test_penalty_of_a_sum_of_squares_is_twice_the_squared_norm_of_each_image() -> None:
    images = pictures()
    norms = images.square().sum(dim=(1, 2, 3))
    assert gradient_penalty(norms, images).tolist() == pytest.approx((2 * norms).tolist(), rel=1e-5)


def test_the_penalty_teaches_the_function_to_be_flat() -> None:
    images, scale = pictures(), torch.tensor(3.0, requires_grad=True)
    norms = images.square().sum(dim=(1, 2, 3))
    (gradient,) = torch.autograd.grad(gradient_penalty(scale * norms, images).sum(), scale)
    # The penalty is 2 scale^2 |x|^2.
    assert gradient.item() == pytest.approx(4 * 3 * norms.sum().item(), rel=1e-5)
