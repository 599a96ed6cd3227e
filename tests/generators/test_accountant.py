"""The accountant against published figures and against a formula that it does not use."""

from math import exp

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from stages.generators.accountant import Release, advantage, least_noise, spent

DELTA = 1e-5


def exact_epsilon(noise: float) -> float:
    """Of one Gaussian mechanism: Balle and Wang, "Improving the Gaussian Mechanism for Differential Privacy" (2018),
    theorem 8."""

    def excess(epsilon: float) -> float:
        shift = epsilon * noise
        return float(norm.cdf(0.5 / noise - shift) - exp(epsilon) * norm.cdf(-0.5 / noise - shift) - DELTA)

    return float(brentq(excess, 0, 100))


@pytest.mark.parametrize("noise", [0.5, 1.4, 7.0])
def test_one_release_spends_what_the_exact_formula_says_and_never_less(noise: float) -> None:
    assert exact_epsilon(noise) <= spent([Release(noise)], DELTA) <= exact_epsilon(noise) + 0.03


def test_releases_together_spend_as_one_with_less_noise() -> None:
    together = spent([Release(2.0, steps=3), Release(4.0)], DELTA)
    assert together == pytest.approx(exact_epsilon((3 / 2.0**2 + 1 / 4.0**2) ** -0.5), abs=0.03)


@pytest.mark.parametrize(("epsilon", "noise"), [(1, 2.34), (10, 0.66)])
def test_the_noise_of_dp_sgd_spends_what_was_published(epsilon: float, noise: float) -> None:
    """For 10,000 images, lots of 256 and 500 steps, by the PRV accountant of its authors."""
    spends = spent([Release(noise, 256 / 10_000, 500)], DELTA)
    assert spends == pytest.approx(epsilon, rel=0.02)


def test_the_least_noise_that_is_found_is_the_least_that_will_do() -> None:
    found = least_noise(1.0, DELTA, rate=0.1, steps=20)
    assert spent([found], DELTA) <= 1.0 < spent([Release(found.noise * 0.99, 0.1, 20)], DELTA)


def test_what_was_spent_before_asks_for_more_noise() -> None:
    before = least_noise(1.0, DELTA)
    beside = least_noise(2.0, DELTA, beside=(before,))
    assert beside.noise > least_noise(2.0, DELTA).noise
    assert spent([before, beside], DELTA) <= 2.0


def test_an_attacker_gains_nothing_without_a_loss_and_everything_with_a_great_one() -> None:
    assert advantage(0.0, 0.0) == 0.0
    assert advantage(1.0, 0.0) == pytest.approx((exp(1) - 1) / (exp(1) + 1))
    assert advantage(50.0, 0.0) == pytest.approx(1.0)
