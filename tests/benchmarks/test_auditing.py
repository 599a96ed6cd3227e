"""The audit: what hits prove of epsilon, and that it finds a fault in each kind's noise."""

from math import exp, log

import pytest
from scipy.stats import binom

from benchmarks import private
from benchmarks.auditing import audit, least_epsilon


def test_guesses_by_a_coin_prove_nothing_and_more_hits_prove_more() -> None:
    found = [least_epsilon(1000, 100, right, 1e-5) for right in (50, 60, 70, 80, 90, 100)]
    assert found[0] == 0
    assert found == sorted(found)
    assert found[-1] > 3


def test_without_delta_it_is_the_limit_of_a_binomial_share() -> None:
    """Of pure differential privacy an attacker's guess is right with a chance of e^epsilon / (1 + e^epsilon)."""
    found = least_epsilon(1000, 100, 80, 0.0)
    assert float(binom.sf(79, 100, 1 / (1 + exp(-found)))) == pytest.approx(0.05, abs=1e-3)
    assert found < log(0.8 / 0.2)


def test_a_greater_delta_proves_less() -> None:
    assert least_epsilon(1000, 100, 90, 1e-3) < least_epsilon(1000, 100, 90, 1e-9)


@pytest.mark.parametrize("name", private.PRIVATE)
def test_what_is_found_is_less_than_claimed_and_a_tenth_of_the_noise_is_caught(name: str) -> None:
    section = private.section(name, epsilon=1.0)
    whole, broken = (audit(section, canaries=600, seed=3, weaken=weaken) for weaken in (1.0, 0.1))
    assert whole["found, at least"] <= whole["claimed"] < broken["found, at least"]
