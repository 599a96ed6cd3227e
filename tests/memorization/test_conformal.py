import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binomtest
from sklearn.metrics import roc_auc_score

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


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize(("count", "alpha"), [(59, 0.05), (100, 0.05), (200, 0.1)])
def test_with_confidence_the_realised_rate_is_within_alpha_in_most_draws(
    count: int, alpha: float, rounded: bool
) -> None:
    """Fresh scores on a fine grid stand for all of a uniform population."""
    rng, trials = np.random.default_rng(5), 500
    draws = rng.random((trials, count))
    fresh = (np.arange(2000) + 0.5) / 2000
    if rounded:
        draws, fresh = np.floor(draws * 300) / 300, np.floor(fresh * 300) / 300
    exceeded = sum(conformal.dropped(fresh, draw, alpha, 0.95).mean() > alpha for draw in draws)
    assert binomtest(int(exceeded), trials, 0.05, alternative="greater").pvalue > 0.001
    on_average = sum(conformal.dropped(fresh, draw, alpha).mean() > alpha for draw in draws)
    assert on_average > 0.2 * trials  # what the promise on average allows, and the reason for the other one


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.29])
def test_the_rank_with_confidence_is_the_largest_that_clopper_and_pearson_allow(
    alpha: float, confidence: float
) -> None:
    for count in (1, 18, 19, 58, 59, 99, 299, 1000):
        rank = conformal.cutoff_rank(alpha, count, confidence)
        # the r-th lowest of m uniform scores is Beta(r, m + 1 - r)
        assert rank == 0 or beta.cdf(alpha, rank, count + 1 - rank) >= confidence
        assert beta.cdf(alpha, rank + 1, count - rank) < confidence
        assert rank <= conformal.cutoff_rank(alpha, count)


@given(
    alpha=st.floats(0.005, 0.5),
    step=st.floats(0, 0.3),
    count=st.integers(1, 300),
    confidence=st.sampled_from([None, 0.95]),
)
def test_the_cutoff_rises_with_alpha_and_with_the_calibration_images(
    alpha: float, step: float, count: int, confidence: float | None
) -> None:
    rank = conformal.cutoff_rank(alpha, count, confidence)
    assert 0 <= rank <= count
    assert rank <= conformal.cutoff_rank(alpha + step, count, confidence)
    assert rank <= conformal.cutoff_rank(alpha, count + 1, confidence)


@given(
    scores=st.lists(finite, min_size=1, max_size=20),
    calibration=st.lists(finite, min_size=1, max_size=120),
    alpha=st.sampled_from([0.01, 0.05, 0.1, 0.29, 0.3, 0.5]),
)
def test_what_is_dropped_with_confidence_is_dropped_on_average_and_that_is_p_up_to_alpha(
    scores: list[float], calibration: list[float], alpha: float
) -> None:
    on_average = conformal.dropped(np.array(scores), np.array(calibration), alpha)
    surely = conformal.dropped(np.array(scores), np.array(calibration), alpha, 0.95)
    np.testing.assert_array_equal(on_average, conformal.p_values(np.array(scores), np.array(calibration)) <= alpha)
    assert not (surely & ~on_average).any()


@pytest.mark.parametrize(("alpha", "confidence", "needed"), [(0.05, 0.95, 59), (0.01, 0.95, 299), (0.5, 0.75, 2)])
def test_with_confidence_more_calibration_images_are_needed(alpha: float, confidence: float, needed: int) -> None:
    assert conformal.calibration_needed(alpha, confidence) == needed
    assert conformal.cutoff_rank(alpha, needed, confidence) == 1
    assert conformal.cutoff_rank(alpha, needed - 1, confidence) == 0
    with pytest.raises(UserError, match=rf"needs at least {needed} calibration images to hold with .* confidence"):
        conformal.check_calibration(needed - 1, alpha, confidence)


@pytest.mark.parametrize("confidence", [None, 0.95])
@pytest.mark.parametrize("count", [1, 3, 11, 18])
def test_the_alpha_suggested_for_too_few_images_is_one_they_allow(count: int, confidence: float | None) -> None:
    with pytest.raises(UserError, match=rf"there are {count}: .* raise alpha to at least 0\.\d+$") as raised:
        conformal.check_calibration(count, 0.05, confidence)
    suggested = float(str(raised.value).split()[-1])
    conformal.check_calibration(count, suggested, confidence)
    with pytest.raises(UserError):
        conformal.check_calibration(count, suggested - 0.002, confidence)


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


def test_a_class_with_enough_calibration_images_is_judged_by_its_own_and_the_others_by_all() -> None:
    rng = np.random.default_rng(6)
    calibration_labels = np.repeat([0, 1, 2], [19, 18, 40])
    calibration, scores, labels = rng.random(77), rng.random(60) * 0.3, np.tile([0, 1, 2, 3], 15)
    verdicts = conformal.p_values_by_class(scores, labels, calibration, calibration_labels, 0.05)
    assert verdicts.own == (0, 2)
    for label in range(4):
        basis = calibration[calibration_labels == label] if label in verdicts.own else calibration
        np.testing.assert_array_equal(verdicts.p[labels == label], conformal.p_values(scores[labels == label], basis))
    np.testing.assert_array_equal(verdicts.dropped, verdicts.p <= 0.05)
    assert 0 < verdicts.dropped.sum() < 60


def test_by_class_each_class_keeps_the_promise_where_pooled_a_low_scoring_one_does_not() -> None:
    rng, trials = np.random.default_rng(7), 600
    labels = np.repeat([0, 1], 100)
    spread = np.where(labels == 0, 0.2, 1.0)  # images of class 0 have nearer neighbours
    mistakes, pooled = np.zeros(2), 0
    for _ in range(trials):
        fresh, calibration = rng.random(200) * spread, rng.random(200) * spread
        verdicts = conformal.p_values_by_class(fresh[::100], labels[::100], calibration, labels, 0.05)
        mistakes += verdicts.dropped
        pooled += int(conformal.dropped(fresh[:1], calibration, 0.05)[0])
    assert all(binomtest(int(count), trials, 0.05, alternative="greater").pvalue > 0.001 for count in mistakes)
    assert binomtest(pooled, trials, 0.05, alternative="greater").pvalue < 0.001


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


@pytest.mark.parametrize("confidence", [None, 0.95])
def test_false_positives_by_class_and_of_changed_images_use_the_other_folds_too(confidence: float | None) -> None:
    rng = np.random.default_rng(8)
    scores, labels = rng.random(300), np.repeat([0, 1], [200, 100])
    blurred = scores * rng.uniform(0.7, 1.1, 300)
    expected = 0
    for fold in np.array_split(np.random.default_rng(2).permutation(300), 5):
        outside = ~np.isin(np.arange(300), fold)
        for i in fold:
            others = scores[outside & (labels == labels[i])]
            expected += int(conformal.dropped(blurred[[i]], others, 0.1, confidence)[0])
    found = conformal.false_positives(scores, 0.1, np.random.default_rng(2), confidence, labels, blurred)
    assert found == expected > 0


def test_with_confidence_fewer_calibration_images_are_dropped() -> None:
    scores = np.random.default_rng(9).random(200)
    counts = [conformal.false_positives(scores, 0.05, np.random.default_rng(2), mode) for mode in (None, 0.95)]
    assert 0 < counts[1] < counts[0]


@pytest.mark.parametrize("decimals", [1, 6])
def test_the_area_under_the_curve_is_scikit_learns(decimals: int) -> None:
    rng = np.random.default_rng(10)
    copies, fresh = rng.beta(2, 4, 80).round(decimals), rng.beta(4, 2, 50).round(decimals)
    expected = roc_auc_score(np.repeat([1, 0], [80, 50]), -np.concatenate([copies, fresh]))
    assert conformal.detection_auc(copies, fresh) == pytest.approx(expected)


def test_the_area_under_the_curve_of_scores_that_say_nothing_and_all() -> None:
    assert conformal.detection_auc(np.ones(5), np.ones(7)) == 0.5
    assert conformal.detection_auc(np.zeros(5), np.ones(7)) == 1.0


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


def test_the_guarantee_with_confidence_states_the_luck_it_needs() -> None:
    words = conformal.guarantee(0.05, 200, 0.95)
    assert "at most 5.00%, whatever the draw of calibration images but for the unluckiest 5% of draws" in words
    assert "on average it drops 2.49%" in words
    assert "no promise that every copy" in words
