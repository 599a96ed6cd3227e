import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.comparison.worth import Worth, labels_reaching, worth_in_labels

BUDGETS = np.array([2, 5, 10])
CURVE = np.array([0.5, 0.7, 0.8])


def test_the_inverse_is_linear_in_the_logarithm_of_the_labels():
    assert labels_reaching(0.6, BUDGETS, CURVE) == pytest.approx(math.sqrt(2 * 5))
    assert labels_reaching(0.775, BUDGETS, CURVE) == pytest.approx(5 * 2**0.75)


def test_budgets_reach_their_own_scores_and_nothing_is_said_beyond_them():
    assert [labels_reaching(score, BUDGETS, CURVE) for score in CURVE] == pytest.approx([2, 5, 10])
    assert labels_reaching(0.49, BUDGETS, CURVE) == 0
    assert labels_reaching(0.81, BUDGETS, CURVE) == math.inf


def test_a_fall_is_levelled_and_a_level_is_reached_at_its_start():
    falling = np.array([0.5, 0.8, 0.6])
    assert labels_reaching(0.7, BUDGETS, falling) == pytest.approx(5)
    assert labels_reaching(0.71, BUDGETS, falling) == math.inf
    assert labels_reaching(0.5, BUDGETS, np.full(3, 0.5)) == 2


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, 1), st.floats(0, 1))
def test_a_better_score_takes_no_fewer_labels(means, one, other):
    low, high = sorted((one, other))
    assert labels_reaching(low, BUDGETS, np.array(means)) <= labels_reaching(high, BUDGETS, np.array(means))


def _worth(arm, noise=0.004, curve=CURVE, seed=0):
    """Draws that vary independently around the means."""
    rng = np.random.default_rng(seed)
    scores = {int(b): np.full(10, mean) for b, mean in zip(BUDGETS, curve, strict=True)}
    draws = {b: each.mean() + noise * rng.normal(size=1000) for b, each in scores.items()}
    return worth_in_labels(scores, np.full(10, arm), draws, arm + noise * rng.normal(size=1000), 0.95)


def test_the_interval_is_that_of_the_draws():
    """On the segment from 5 to 10 labels, the noise of score and curve, .004 each, moves the logarithm linearly."""
    worth = _worth(0.75)
    assert worth.labels == pytest.approx(5 * 2**0.5)
    deviation = math.log(2) / 0.1 * 0.004 * math.sqrt(1 + 0.5**2 + 0.5**2)
    expected = [math.log(worth.labels) + z * deviation for z in (-1.96, 1.96)]
    assert np.log([worth.low, worth.high]) == pytest.approx(expected, abs=0.015)


def test_shared_resamples_cancel():
    shift = np.random.default_rng(0).normal(0, 0.05, size=500)
    scores = {int(b): np.full(4, mean) for b, mean in zip(BUDGETS, CURVE, strict=True)}
    draws = {b: each.mean() + shift for b, each in scores.items()}
    worth = worth_in_labels(scores, np.full(4, 0.75), draws, 0.75 + shift, 0.95)
    assert worth.low == pytest.approx(worth.labels)
    assert worth.high == pytest.approx(worth.labels)


def test_the_order_of_the_budgets_does_not_matter():
    rng = np.random.default_rng(0)
    scores = {b: np.full(4, mean) for b, mean in ((10, 0.8), (2, 0.5), (5, 0.7))}
    draws = {b: each.mean() + 0.01 * rng.normal(size=200) for b, each in scores.items()}
    arm, arm_draws = np.full(4, 0.75), 0.75 + 0.01 * rng.normal(size=200)
    turned = [dict(reversed(each.items())) for each in (scores, draws)]
    assert worth_in_labels(scores, arm, draws, arm_draws, 0.95) == worth_in_labels(
        turned[0], arm, turned[1], arm_draws, 0.95
    )


def test_the_sentence_states_labels_and_interval():
    worth = Worth(8.9, 7.2, 12.4, 2, 20, 0.95, rises=True)
    assert worth.sentence("gan_classic", 5) == (
        "5 labels per class with gan_classic reach what 9 without reach (95 % interval 7 to 12)."
    )
    assert worth.sentence("gan", 1).startswith("1 label per class with gan reaches what 9")


@pytest.mark.parametrize(
    ("labels", "low", "high", "words"),
    [
        (8.0, 6.0, math.inf, "reach what 8 without reach (95 % interval at least 6)"),
        (math.inf, 8.0, math.inf, "reach what at least 10 without reach (95 % interval at least 8)"),
        (math.inf, math.inf, math.inf, "reach what at least 10 without reach (95 % interval at least 10)"),
        (3.0, 0.0, 4.0, "reach what 3 without reach (95 % interval at most 4)"),
        (0.0, 0.0, 0.0, "reach what at most 2 without reach (95 % interval at most 2)"),
    ],
)
def test_open_ends_are_said_and_never_extrapolated(labels, low, high, words):
    worth = Worth(labels, low, high, 2, 10, 0.95, rises=True)
    assert worth.supported
    assert worth.sentence("gan", 5) == f"5 labels per class with gan {words}."


def test_a_curve_that_is_flat_within_noise_supports_nothing():
    flat = _worth(0.705, noise=0.02, curve=np.array([0.7, 0.705, 0.71]))
    assert not flat.supported
    assert flat.sentence("gan", 5) == (
        "the scores of 2 to 10 labels per class without synthetic images do not rise beyond chance: "
        "they do not tell what those of gan are worth."
    )


def test_an_interval_open_at_both_ends_supports_nothing():
    wide = _worth(0.65, noise=0.1)
    assert (wide.rises, wide.low, wide.high) == (True, 0.0, math.inf)
    assert not wide.supported
    assert "vary too much" in wide.sentence("gan", 5)


def test_fewer_than_two_budgets_or_other_draws_are_refused():
    one, draws = {5: np.zeros(3)}, {5: np.zeros(9)}
    with pytest.raises(ValueError, match="two budgets or more"):
        worth_in_labels(one, np.zeros(3), draws, np.zeros(9), 0.95)
    with pytest.raises(ValueError, match="with draws of each"):
        worth_in_labels(one | {9: np.ones(3)}, np.zeros(3), draws, np.zeros(9), 0.95)


def test_an_arm_above_the_end_of_a_curve_that_has_all_its_labels_is_told_to_be_worth_more_and_no_number() -> None:
    above = Worth(math.inf, math.inf, math.inf, fewest=5, most=10, confidence=0.95, rises=True)
    assert "worth more with GAN images than without" in above.sentence("GAN images", 10)
    assert "at least 10" in above.sentence("GAN images", 5)
