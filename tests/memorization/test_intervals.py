import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from stages.memorization.intervals import over_replicates, over_units


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_over_replicates_is_students(confidence: float) -> None:
    values = np.random.default_rng(0).normal(0.53, 0.02, 7)
    expected = ttest_1samp(values, 0).confidence_interval(confidence)
    found = over_replicates(values.tolist(), confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(values.mean())
    assert found.clipped(0.53, 1.0).low == max(found.low, 0.53)


def test_small_but_steady_excess_over_a_guess_is_seen_where_the_mean_of_wide_limits_hides_it() -> None:
    """Ten replicates' areas around .53, each with limits about .05 away: their mean interval would hold .5."""
    areas = [0.51, 0.55, 0.54, 0.52, 0.53, 0.55, 0.5, 0.53, 0.54, 0.53]
    assert over_replicates(areas).low > 0.5


def test_units_are_resampled_whole_and_wider_the_fewer_they_are() -> None:
    values = np.tile([1.0, 0.0, 0.0, 0.0], 25)
    alone, together = over_units(values, np.arange(100), 0.95), over_units(np.sort(values), np.arange(100) // 10, 0.95)
    assert alone.value == together.value == 0.25
    assert (alone.low, alone.high) == pytest.approx((0.17, 0.34), abs=0.02)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_units_that_all_came_out_alike_have_the_interval_of_clopper_and_pearson() -> None:
    found = over_units(np.zeros(60), np.arange(60) // 3, 0.95)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(binomtest(0, 20).proportion_ci(0.95).high)
