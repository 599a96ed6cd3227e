import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from statsmodels.stats.multitest import multipletests

from stages.comparison.statistics import (
    VarianceParts,
    bootstrap,
    holm,
    least_p,
    paired_differences,
    percentile_interval,
    sign_flip_p,
    variance_parts,
    weighted_scores,
)

CLASSES = 4
labels = st.integers(0, CLASSES - 1)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@settings(max_examples=40)
@given(arrays(np.int64, 12, elements=labels), arrays(np.int64, (2, 12), elements=labels), st.data())
def test_weighted_scores_are_scikit_learns_on_repeated_images(truth, predicted, data):
    copies = data.draw(arrays(np.int64, 12, elements=st.integers(0, 3)).filter(lambda w: w.sum() > 0))
    for weights in (np.ones(12, dtype=np.int64), copies):
        scores = weighted_scores(truth, predicted, weights[None].astype(float), CLASSES)
        for r, row in enumerate(predicted):
            y, p = np.repeat(truth, weights), np.repeat(row, weights)
            assert scores["accuracy"][0, r] == pytest.approx(accuracy_score(y, p))
            assert scores["balanced_accuracy"][0, r] == pytest.approx(balanced_accuracy_score(y, p))
            assert scores["macro_f1"][0, r] == pytest.approx(f1_score(y, p, average="macro", zero_division=0.0))


def _some_predictions(replicates=6, images=90, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(CLASSES, size=images)
    flip = {arm: rng.random((replicates, images)) < chance for arm, chance in (("a", 0.2), ("b", 0.3))}
    return truth, {arm: np.where(wrong, (truth + 1) % CLASSES, truth) for arm, wrong in flip.items()}


def _resampled(truth, predicted, resamples, seed, groups=None, classes=CLASSES):
    def score(arm, weights):
        return weighted_scores(truth, predicted[arm], weights, classes)

    replicates = len(next(iter(predicted.values())))
    return bootstrap(score, predicted, replicates, len(truth), resamples, seed, groups)


def _parts(truth, pair, measure, resamples, groups=None, classes=CLASSES):
    predicted = dict(zip("ab", pair, strict=True))
    drawn = _resampled(truth, predicted, resamples, 0, groups, classes).by_image
    once = np.ones((1, len(truth)))
    seen = [weighted_scores(truth, labels, once, classes)[measure][0] for labels in pair]
    return variance_parts(seen[0] - seen[1], drawn["a"][measure] - drawn["b"][measure])


def test_bootstrap_is_deterministic_and_centred_on_the_mean_score():
    truth, predicted = _some_predictions()
    draws = _resampled(truth, predicted, 600, seed=3).means
    again = _resampled(truth, predicted, 600, seed=3).means
    point = weighted_scores(truth, predicted["a"], np.ones((1, len(truth))), CLASSES)
    for measure, values in draws["a"].items():
        assert values.shape == (600,)
        np.testing.assert_array_equal(values, again["a"][measure])
        assert values.mean() == pytest.approx(point[measure].mean(), abs=0.01)


def test_bootstrap_variance_is_owens_formula():
    """Owen (2007): replicates and images each count with their own variance, their interaction with both."""
    truth, predicted = _some_predictions(replicates=8, images=60, seed=1)
    X = (predicted["a"] == truth).astype(float)
    R, n = X.shape
    rows, columns = X.mean(axis=1).var() / R, X.mean(axis=0).var() / n
    cells = (X - X.mean(axis=1, keepdims=True) - X.mean(axis=0) + X.mean()).var() / (R * n)
    draws = _resampled(truth, {"a": predicted["a"]}, 6000, seed=0).means["a"]["accuracy"]
    expected = rows * (1 - 1 / n) + columns * (1 - 1 / R) + cells + (rows / n + columns / R)
    assert draws.var() == pytest.approx(expected, rel=0.1)


def test_copies_of_an_image_in_its_group_are_no_more_evidence():
    truth, predicted = _some_predictions()
    twice = {arm: np.repeat(labels, 2, axis=1) for arm, labels in predicted.items()}
    patients = np.repeat([f"patient {i:02d}" for i in range(len(truth))], 2)
    once = _resampled(truth, predicted, 300, seed=0).means
    grouped = _resampled(np.repeat(truth, 2), twice, 300, seed=0, groups=patients).means
    single = _resampled(np.repeat(truth, 2), twice, 300, seed=0).means
    for measure, values in once["b"].items():
        np.testing.assert_allclose(grouped["b"][measure], values)
        assert single["b"][measure].std() < 0.9 * values.std()


def test_images_in_groups_of_one_are_drawn_by_themselves():
    truth, predicted = _some_predictions()
    alone = _resampled(truth, predicted, 100, seed=0).means
    grouped = _resampled(truth, predicted, 100, seed=0, groups=np.arange(len(truth))).means
    for measure, values in alone["a"].items():
        np.testing.assert_array_equal(grouped["a"][measure], values)


def test_a_resample_does_not_depend_on_which_arms_there_are():
    truth, predicted = _some_predictions()
    both = _resampled(truth, predicted, 100, seed=0).means
    one = _resampled(truth, {"b": predicted["b"]}, 100, seed=0).means
    np.testing.assert_allclose(one["b"]["macro_f1"], both["b"]["macro_f1"])


def test_variance_parts_are_those_of_the_model():
    """Right or wrong by image, replicate and chance; the rival is always right, so that the parts are the arm's."""
    rng = np.random.default_rng(0)
    R, n = 40, 2000
    chance = 0.7 + 0.2 * rng.choice([-1, 1], n) + 0.05 * rng.choice([-1, 1], (R, 1))
    truth = np.zeros(n, dtype=np.int64)
    pair = ((rng.random((R, n)) > chance).astype(np.int64), np.tile(truth, (R, 1)))
    parts = _parts(truth, pair, "accuracy", 400, classes=2)
    cells = np.mean(chance * (1 - chance)) / n
    assert parts.images == pytest.approx(0.04 / n, rel=0.15)
    assert parts.cells == pytest.approx(cells, rel=0.15)
    assert parts.replicates == pytest.approx(0.05**2 + cells, rel=0.3)


def test_variance_parts_of_arms_that_differ_by_chance_alone_are_the_cells():
    truth, predicted = _some_predictions(replicates=10, images=2000)
    parts = _parts(truth, (predicted["a"], predicted["b"]), "macro_f1", 400)
    assert parts.images < 0.1 * parts.cells
    same = _parts(truth, (predicted["a"], predicted["a"]), "macro_f1", 100)
    assert same == VarianceParts(0.0, 0.0, 0.0)


def test_variance_parts_count_groups_not_images():
    truth, predicted = _some_predictions()
    doubled = tuple(np.repeat(predicted[arm], 2, axis=1) for arm in ("a", "b"))
    groups = np.repeat(np.arange(len(truth)), 2)
    once = _parts(truth, (predicted["a"], predicted["b"]), "accuracy", 100)
    grouped = _parts(np.repeat(truth, 2), doubled, "accuracy", 100, groups=groups)
    assert [grouped.replicates, grouped.images, grouped.cells] == pytest.approx(
        [once.replicates, once.images, once.cells]
    )


def test_interval_turns_around_when_the_arms_swap():
    truth, predicted = _some_predictions()
    draws = _resampled(truth, predicted, 400, seed=0).means
    low, high = percentile_interval(draws["a"]["macro_f1"] - draws["b"]["macro_f1"], 0.95)
    swapped = percentile_interval(draws["b"]["macro_f1"] - draws["a"]["macro_f1"], 0.95)
    assert swapped == pytest.approx((-high, -low), abs=1e-12)
    assert low < high


def test_interval_covers_the_truth_when_replicates_and_images_both_vary():
    """A latent Gaussian model: both effects differ between the arms, and the population difference is known."""
    rng = np.random.default_rng(11)
    R, n, spread_r, spread_i = 10, 100, 0.25, 0.6
    spread = np.sqrt(1 + spread_r**2 + spread_i**2)
    true = norm.cdf(1.0 / spread) - norm.cdf(0.7 / spread)
    truth = np.arange(n) % 2
    covered = 0
    for experiment in range(300):
        predicted = {}
        for arm, mean in (("a", 1.0), ("b", 0.7)):
            latent = mean + spread_r * rng.normal(size=(R, 1)) + spread_i * rng.normal(size=n)
            right = latent + rng.normal(size=(R, n)) > 0
            predicted[arm] = np.where(right, truth, 1 - truth)
        draws = _resampled(truth, predicted, 250, seed=experiment, classes=2).means
        low, high = percentile_interval(draws["a"]["accuracy"] - draws["b"]["accuracy"], 0.95)
        covered += low <= true <= high
    assert 0.90 <= covered / 300 <= 0.99


@pytest.mark.parametrize("seed", range(5))
def test_sign_flip_is_enumeration_of_all_sign_patterns(seed):
    differences = np.random.default_rng(seed).integers(-3, 6, size=8) / 899
    observed = abs(differences.mean())
    means = [abs((differences * signs).mean()) for signs in itertools.product((-1, 1), repeat=8)]
    expected = np.mean([mean >= observed - 1e-12 for mean in means])
    assert sign_flip_p(differences, seed=0) == pytest.approx(expected)
    assert sign_flip_p(-differences, seed=0) == pytest.approx(expected)


def test_sign_flip_is_valid_under_the_null_and_finds_a_shift():
    rng = np.random.default_rng(0)
    null = np.array([sign_flip_p(rng.normal(size=8), seed=0) for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(null <= level) == pytest.approx(level, abs=2.6 * np.sqrt(level * (1 - level) / 400))
    assert sign_flip_p(rng.normal(3, 1, size=8), seed=0) == least_p(8, 1)


def test_sign_flip_beyond_enumeration_is_random_but_reproducible():
    differences = np.random.default_rng(0).normal(0.4, 1, size=20)
    assert sign_flip_p(differences, seed=1) == sign_flip_p(differences, seed=1)
    assert sign_flip_p(differences, seed=1) == pytest.approx(sign_flip_p(differences, seed=2), abs=0.01)
    assert sign_flip_p(np.full(20, 0.1), seed=1) > 0


def test_no_difference_at_all_has_p_one():
    assert sign_flip_p(np.zeros(10), seed=0) == 1.0


def test_least_p_counts_sign_patterns_and_contrasts():
    assert least_p(6, 1) == 2 / 64
    assert least_p(6, 2) == 4 / 64
    assert least_p(1, 4) == 1.0


@pytest.mark.parametrize("p_values", [[0.3], [0.01, 0.04, 0.03, 0.005], [0.6, 0.2, 0.2, 0.02, 0.9, 0.02]])
def test_holm_is_statsmodels_to_the_bit(p_values):
    assert holm(p_values) == multipletests(p_values, method="holm")[1].tolist()


def test_draws_that_are_not_defined_move_no_interval():
    draws = np.random.default_rng(0).normal(size=500)
    assert percentile_interval(np.append(draws, np.nan), 0.9) == percentile_interval(draws, 0.9)


def test_replicates_drawn_alone_leave_the_images_scores():
    """Each row of `by_image` weighs images alone, so its mean over replicates varies less than the crossed draws."""
    truth, predicted = _some_predictions()
    drawn = _resampled(truth, predicted, 700, seed=0)
    assert drawn.by_image["a"]["accuracy"].shape == (500, 6)
    assert drawn.means["a"]["accuracy"].shape == (700,)


def test_unpaired_scores_are_refused():
    with pytest.raises(ValueError, match="equal shapes"):
        paired_differences(np.zeros(3), np.zeros(4))
