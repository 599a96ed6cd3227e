from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import nct, norm, t

from stages.comparison.power import (
    MOST_REPLICATES,
    POWER,
    Criterion,
    power,
    replicates_needed,
)
from stages.comparison.statistics import (
    VarianceParts,
    bootstrap,
    percentile_interval,
    sign_flip_p,
    variance_parts,
    weighted_scores,
)

ONE = Criterion(0.05, 1)
# variances of a difference as on the digits: deviations of 1.8 points over replicates, .3 over test images
PARTS = VarianceParts(3.2e-4, 1e-5, 6e-5)

variances = st.floats(1e-7, 1e-3)
parts_of = st.builds(VarianceParts, variances, variances, variances)


def test_with_replicates_alone_it_is_the_paired_t_test():
    """One-sided noncentral t; 2^19 sign patterns attain the level."""
    parts, R, gain = VarianceParts(1e-4, 0.0, 0.0), 20, 0.006
    expected = nct.sf(t.isf(0.025, R - 1), R - 1, gain / np.sqrt(1e-4 / R))
    assert power(gain, R, parts, ONE) == pytest.approx(expected, abs=0.003)


def test_with_test_images_alone_it_is_the_normal_interval():
    parts, gain = VarianceParts(0.0, 1e-4, 0.0), 0.025
    assert power(gain, 10, parts, ONE) == pytest.approx(norm.sf(norm.isf(0.025) - 2.5), abs=1e-6)


def test_it_is_the_share_that_a_simulation_finds():
    """The rule itself, on differences by replicate and image whose parts are known."""
    rng = np.random.default_rng(0)
    R, n, gain = 10, 60, 0.03
    own, image, cell = 0.02, 0.12, 0.1
    parts = VarianceParts(own**2 + cell**2 / n, image**2 / n, cell**2 / n)
    found = 0
    for seed in range(200):
        D = gain + own * rng.normal(size=(R, 1)) + image * rng.normal(size=n) + cell * rng.normal(size=(R, n))
        rows, columns = (rng.multinomial(k, np.full(k, 1 / k), size=300) / k for k in (R, n))
        low, _ = percentile_interval(((rows @ D) * columns).sum(axis=1), 0.95)
        found += low > 0 and sign_flip_p(D.mean(axis=1), seed) <= 0.05
    assert found / 200 == pytest.approx(power(gain, R, parts, ONE), abs=0.09)


@settings(max_examples=40)
@given(parts_of, st.floats(0, 0.1), st.integers(2, 60), st.integers(1, 6))
def test_more_gain_and_more_replicates_find_more_and_more_contrasts_less(parts, gain, replicates, contrasts):
    chance = power(gain, replicates, parts, Criterion(0.05, contrasts))
    assert 0 <= chance <= 1
    assert power(gain + 0.01, replicates, parts, Criterion(0.05, contrasts)) >= chance
    assert power(gain, replicates, parts, Criterion(0.05, contrasts + 1)) <= chance + 1e-12
    if gain**2 > 4 * parts.images:
        assert power(gain, replicates + 5, parts, Criterion(0.05, contrasts)) >= chance - 1e-3


@settings(max_examples=40)
@given(variances, variances, st.floats(0, 1), st.integers(6, 60))
def test_equal_arms_are_told_apart_as_rarely_as_documented(replicates_part, images, share, replicates):
    parts = VarianceParts(replicates_part, images, share * replicates_part)
    assert 2 * power(0.0, replicates, parts, ONE) <= (0.0525 if share >= 0.1 else 0.071)


def test_too_few_replicates_find_nothing():
    assert power(1.0, 5, PARTS, ONE) == 0.0
    assert power(1.0, 6, PARTS, ONE) > POWER
    assert power(1.0, 6, PARTS, Criterion(0.05, 2)) == 0.0


def test_the_replicates_needed_are_the_fewest_that_do():
    needed = replicates_needed(0.015, PARTS, ONE)
    assert power(0.015, needed, PARTS, ONE) >= POWER > power(0.015, needed - 1, PARTS, ONE)


def test_no_number_of_replicates_makes_up_for_too_few_test_images():
    gain = 0.01
    out_of_reach = (norm.isf(0.025) + norm.ppf(POWER)) ** 2
    assert replicates_needed(gain, VarianceParts(1e-4, 1.01 * gain**2 / out_of_reach, 0.0), ONE) is None
    assert replicates_needed(gain, VarianceParts(1e-4, 0.9 * gain**2 / out_of_reach, 0.0), ONE) <= MOST_REPLICATES


def test_arms_without_any_variance_need_the_least_replicates_that_a_p_takes():
    none = VarianceParts(0.0, 0.0, 0.0)
    assert replicates_needed(0.01, none, ONE) == 6
    assert replicates_needed(0.0, none, ONE) is None
    assert power(0.01, 10, none, ONE) == 1.0


@given(st.floats(1e-6, 1e-2), st.integers(8, 200))
def test_what_single_cells_add_widens_the_interval_twice_over(cells, replicates):
    """Owen (2007), theorem 1: the crossed bootstrap counts the cells' variance once for the replicates that it draws
    and once for the images. Here nothing else varies: a gain is found once it exceeds the interval's half width."""
    parts = VarianceParts(replicates=0.0, images=0.0, cells=cells)
    width = norm.isf(0.025) * np.sqrt(2 * cells / replicates)
    assert power(1.01 * width, replicates, parts, ONE) == pytest.approx(1)
    assert power(0.99 * width, replicates, parts, ONE) == pytest.approx(0)


def test_the_interval_that_the_power_counts_on_is_the_one_that_the_bootstrap_draws():
    """Arms that differ by chance in single predictions, on 20 replicates and 400 images."""
    truth, replicates = np.zeros(400, dtype=np.int64), 20
    rng = np.random.default_rng(0)
    predicted = {arm: (rng.random((replicates, 400)) < 0.3) * 1 for arm in "ab"}

    def score(arm, weights):
        return {"accuracy": weighted_scores(truth, predicted[arm], weights, 2)["accuracy"]}

    drawn = bootstrap(score, predicted, replicates, 400, 4000, 0, None)
    seen = (predicted["a"] == truth).mean(axis=1) - (predicted["b"] == truth).mean(axis=1)
    parts = variance_parts(seen, drawn.by_image["a"]["accuracy"] - drawn.by_image["b"]["accuracy"])
    deviation = float((drawn.means["a"]["accuracy"] - drawn.means["b"]["accuracy"]).std())
    alone = replace(parts, replicates=0.0)  # then the interval alone decides, less what replicates add to it
    own = parts.replicates * (replicates - 1) / replicates**2
    gain = brentq(lambda gain: power(gain, replicates, alone, ONE) - POWER, 0, 1)
    half_width = gain - norm.ppf(POWER) * np.sqrt(alone.images)
    assert np.sqrt((half_width / norm.isf(0.025)) ** 2 + own) == pytest.approx(deviation, rel=0.05)
