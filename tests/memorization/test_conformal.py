import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest

from stages.memorization import conformal
from stages.plumbing.errors import UserError

finite = st.floats(0, 1)


@given(calibration=st.lists(finite, min_size=1, max_size=40), scores=st.lists(finite, min_size=2, max_size=20))
def test_p_values_follow_the_definition_and_rise_with_the_score(calibration: list[float], scores: list[float]) -> None:
    scores = sorted(scores)
    p = conformal.p_values(np.array(scores), np.array(calibration))
    expected = [(1 + sum(c <= s for c in calibration)) / (len(calibration) + 1) for s in scores]
    np.testing.assert_array_equal(p, expected)
    assert (np.diff(p) >= 0).all()
    assert ((p > 0) & (p <= 1)).all()


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("rounded", [False, True])
def test_at_most_alpha_of_exchangeable_scores_are_dropped(alpha: float, rounded: bool) -> None:
    """Fresh scores from the calibration scores' own distribution, with and without ties."""
    rng = np.random.default_rng(0)
    trials = 4000
    scores = rng.gamma(2.0, size=(trials, 121))
    if rounded:
        scores = np.round(scores, 1)
    dropped = sum(int((conformal.p_values(row[:1], row[1:]) <= alpha).sum()) for row in scores)
    assert binomtest(dropped, trials, alpha, alternative="greater").pvalue > 0.001
    if not rounded:  # nor does it waste its allowance
        expected = np.floor(alpha * 121) / 121
        assert binomtest(dropped, trials, expected).pvalue > 0.001


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.03, 33), (0.5, 1), (0.99, 1)])
def test_the_needed_number_of_calibration_images_is_the_least_that_can_drop(alpha: float, needed: int) -> None:
    assert conformal.calibration_needed(alpha) == needed
    conformal.check_calibration(needed, alpha)
    copy = np.array([0.0])
    assert conformal.p_values(copy, np.ones(needed))[0] <= alpha
    assert conformal.p_values(copy, np.ones(needed - 1))[0] > alpha


def test_too_few_calibration_images_are_told_how_many_are_needed_and_which_alpha_they_allow() -> None:
    with pytest.raises(UserError, match=r"alpha is 0\.05, which needs at least 19 .* there are 9: .* at least 0\.1"):
        conformal.check_calibration(9, 0.05)


@pytest.mark.parametrize("count", [23, 60, 200])
def test_false_positives_are_judged_by_the_other_folds(count: int) -> None:
    scores = np.random.default_rng(1).random(count)
    folds = np.array_split(np.random.default_rng(2).permutation(count), 5)
    expected = 0
    for fold in folds:
        others = [scores[i] for i in range(count) if i not in set(fold)]
        for i in fold:
            expected += (1 + sum(other <= scores[i] for other in others)) / (len(others) + 1) <= 0.1
    assert conformal.false_positives(scores, 0.1, np.random.default_rng(2)) == expected


def test_false_positives_are_as_many_as_stated_on_average() -> None:
    rng = np.random.default_rng(3)
    rates = [conformal.false_positives(rng.random(200), 0.05, rng) / 200 for _ in range(200)]
    assert np.mean(rates) == pytest.approx(8 / 161, abs=0.002)


@pytest.mark.parametrize(("count", "total"), [(0, 30), (7, 100), (30, 30)])
def test_the_interval_is_clopper_and_pearsons(count: int, total: int) -> None:
    low, high = conformal.rate_interval(count / total, total)
    assert low == pytest.approx(beta.ppf(0.025, count, total - count + 1) if count else 0.0)
    assert high == pytest.approx(beta.ppf(0.975, count + 1, total - count) if count < total else 1.0)


def test_the_interval_holds_the_true_rate_where_replicates_share_calibration_images() -> None:
    """Ten replicates draw 200 of 898 images; the share of a uniform population below a threshold is the threshold."""
    rng, covered, trials = np.random.default_rng(4), 0, 150
    for _ in range(trials):
        pool = rng.random(898)
        draws = [rng.choice(898, 200, replace=False) for _ in range(10)]
        true = np.mean([np.sort(pool[draw])[9] for draw in draws])
        mistakes = sum(conformal.false_positives(pool[draw], 0.05, rng) for draw in draws)
        low, high = conformal.rate_interval(mistakes / 2000, len(np.unique(draws)))
        covered += bool(low <= true <= high)
    assert binomtest(covered, trials, 0.95, alternative="less").pvalue > 0.01
    assert covered < trials  # nor is it so wide that it says nothing


def test_the_guarantee_states_what_the_ranks_allow() -> None:
    assert "drops 4.98% on average" in conformal.guarantee(0.05, 200)
    assert "drops 5.00% on average" in conformal.guarantee(0.05, 199)
    assert "at most the stated 5.00%" in conformal.guarantee(0.05, 200)
