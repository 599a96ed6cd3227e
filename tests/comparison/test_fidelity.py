import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.comparison.fidelity import (
    LEAST,
    LIMIT,
    NEIGHBOURS,
    Fidelity,
    class_measures,
    fidelity,
    frechet_distance,
    set_measures,
    two_sample,
    two_sample_auc,
)
from stages.imaging import set_metrics
from stages.plumbing.errors import UserError

SHARES = ("precision", "recall", "coverage")


def draw(count: int, width: int = 8, seed: int = 0) -> torch.Tensor:
    """Standard normal features (count, width)."""
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def labels(*counts: int) -> torch.Tensor:
    """As many of each class as are told."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def with_moments(mean: torch.Tensor, covariance: torch.Tensor, count: int) -> torch.Tensor:
    """Features with exactly these sample moments."""
    raw = draw(count, len(mean)).double()
    white = torch.linalg.qr(raw - raw.mean(dim=0)).Q * (count - 1) ** 0.5
    return white @ torch.linalg.cholesky(covariance).T + mean


def rotation(width: int, seed: int) -> torch.Tensor:
    return torch.linalg.qr(draw(width, width, seed).double()).Q


def matrix_root(matrix: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.sqrt().diag() @ vectors.T


def modes(counts: list[int], seed: int) -> torch.Tensor:
    """Features in well separated clusters, as many in each as are told."""
    return draw(sum(counts), 8, seed) + 10 * labels(*counts).unsqueeze(1)


# --- Frechet distance ---


def test_frechet_distance_of_independent_features_is_the_sum_of_squared_differences():
    zero, ones = torch.zeros(2).double(), torch.tensor([1.0, 2.0]).double()
    unit, wide = torch.eye(2).double(), torch.tensor([4.0, 9.0]).double().diag()
    # |(1, 2)|^2 + (1 - 2)^2 + (1 - 3)^2
    assert frechet_distance(with_moments(zero, unit, 30), with_moments(ones, wide, 40)) == pytest.approx(10)


@given(st.integers(0, 1000))
def test_frechet_distance_equals_its_formula_where_covariances_do_not_commute(seed):
    roots = draw(4, 4, seed).double(), draw(4, 4, seed + 1).double()
    A, B = (root @ root.T + 0.1 * torch.eye(4) for root in roots)
    means = draw(2, 4, seed + 2).double()
    shared = matrix_root(matrix_root(A) @ B @ matrix_root(A)).trace()
    expected = (means[0] - means[1]).square().sum() + A.trace() + B.trace() - 2 * shared
    found = frechet_distance(with_moments(means[0], A, 20), with_moments(means[1], B, 30))
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_frechet_distance_holds_with_fewer_images_than_features():
    few, other = draw(6, 50), draw(9, 50, seed=1)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    padded = torch.cat([other, torch.zeros(9, 7)], dim=1)  # features that are always 0 make every covariance singular
    assert frechet_distance(torch.cat([few, torch.zeros(6, 7)], dim=1), padded) == pytest.approx(
        frechet_distance(few, other)
    )
    assert frechet_distance(few, few + 1) == pytest.approx(50)
    # Sets without any direction in common: the traces add up.
    left, right = torch.zeros(20, 40), torch.zeros(20, 40)
    left[:, :10], right[:, 10:] = draw(20, 10), draw(20, 30)
    left, right = left - left.mean(dim=0), right - right.mean(dim=0)
    assert frechet_distance(left, right) == pytest.approx(float(left.var(dim=0).sum() + right.var(dim=0).sum()))


# --- neighbourhoods ---


def test_neighbourhoods_on_a_line_are_those_counted_by_hand():
    real = torch.arange(10.0).unsqueeze(
        1
    )  # 0 reaches to its 5th nearest at 5, so does 1; 2 reaches 3 far, as 3 to 7 do
    synthetic = torch.tensor([-4.5, -3.5, 0.2, 100, 101, 102, 103]).unsqueeze(1)
    measures = class_measures(real, synthetic)
    assert measures["precision"] == pytest.approx(3 / 7)
    assert measures["density"] == pytest.approx((1 + 1 + 4) / (NEIGHBOURS * 7))
    assert measures["coverage"] == pytest.approx(4 / 10)


@pytest.mark.parametrize("spread", [0.5, 1, 2])
def test_precision_and_recall_are_those_that_chose_the_gan(spread):
    real, synthetic = draw(70), spread * draw(50, seed=1)
    measures = class_measures(real, synthetic)
    assert measures["recall"] == pytest.approx(set_metrics.recall(real, synthetic, NEIGHBOURS))
    assert measures["precision"] == pytest.approx(set_metrics.recall(synthetic, real, NEIGHBOURS))
    assert 0 < min(measures["recall"], measures["precision"]) < 1


def test_a_dropped_mode_lowers_recall_and_coverage_but_not_precision():
    real = modes([60, 60, 60], seed=0)
    full, dropped = class_measures(real, modes([60, 60, 60], 1)), class_measures(real, modes([90, 90], 1))
    assert dropped["precision"] == pytest.approx(full["precision"], abs=0.1)
    assert dropped["recall"] < full["recall"] - 0.25
    assert dropped["coverage"] < full["coverage"] - 0.25


def test_noise_lowers_precision_and_crowding_raises_density():
    real, synthetic = draw(100), draw(100, seed=1)
    sharp = class_measures(real, synthetic)
    assert class_measures(real, synthetic + 2 * draw(100, seed=2))["precision"] < sharp["precision"] - 0.3
    crowded = class_measures(real, 0.3 * synthetic)
    assert crowded["density"] > 1.5 > sharp["density"]
    assert crowded["recall"] < sharp["recall"]


# --- two-sample test ---


def test_two_samples_of_one_distribution_cannot_be_told_apart_and_distant_ones_can():
    found = [two_sample_auc(draw(150, seed=seed), draw(150, seed=seed + 100), seed) for seed in range(8)]
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.03)
    assert two_sample_auc(draw(150), draw(150, seed=1) + 2, 0) > 0.99


def test_copies_of_the_real_images_are_told_by_less_than_a_half():
    real = draw(150, width=64)
    assert two_sample_auc(real, real.clone(), 0) < 0.4


# --- all measures ---


def test_equal_sets_are_at_distance_zero_and_lie_wholly_in_each_other():
    real = draw(60)
    measures = set_measures(real, real.clone(), 0)
    assert [measures[name] for name in SHARES] == [1, 1, 1]
    assert measures["density"] == pytest.approx((NEIGHBOURS + 1) / NEIGHBOURS)  # each is near itself too
    assert measures["frechet_distance"] == pytest.approx(0, abs=1e-9)
    assert measures["kid"] <= 0


def test_measures_worsen_with_a_growing_shift():
    real, synthetic = draw(120), draw(120, seed=1)
    found = [set_measures(real, synthetic + shift, 0) for shift in (0.0, 0.4, 0.8, 1.6)]
    for name in ("frechet_distance", "kid", "two_sample_auc"):
        values = [each[name] for each in found]
        assert values == sorted(set(values)), name
    for name in (*SHARES, "density"):
        values = [each[name] for each in found]
        assert values == sorted(set(values), reverse=True), name


@given(st.integers(0, 1000))
def test_neither_the_order_of_images_nor_a_rotation_of_the_features_counts(seed):
    real, synthetic = draw(40, seed=seed).double(), 1.3 * draw(30, seed=seed + 1).double()
    order, turned = torch.randperm(40, generator=torch.Generator().manual_seed(seed)), rotation(8, seed)
    expected = class_measures(real, synthetic)
    assert class_measures(real[order], synthetic) == pytest.approx(expected, abs=1e-9)
    assert class_measures(real @ turned, synthetic @ turned) == pytest.approx(expected, abs=1e-9)
    distance = frechet_distance(real, synthetic)
    assert frechet_distance(real[order] @ turned, synthetic @ turned) == pytest.approx(distance)


# --- fidelity ---


def test_a_perfect_generator_reaches_the_floor_and_a_collapsed_one_does_not():
    real, classes = draw(400), labels(200, 200)
    perfect = fidelity(real, classes, draw(400, seed=1), classes, 0)
    assert perfect is not None
    assert perfect.images == 200
    for name in SHARES:
        assert perfect.measures[name] == pytest.approx(perfect.floor[name], abs=0.1)
    for name in ("frechet_distance", "kid", "two_sample_auc"):
        assert perfect.measures[name] == pytest.approx(perfect.floor[name], abs=0.15)
    collapsed = fidelity(real, classes, draw(1, seed=1) + 0.01 * draw(400), classes, 0)
    assert collapsed is not None
    assert collapsed.floor == perfect.floor
    assert collapsed.measures["recall"] < 0.05
    assert collapsed.measures["frechet_distance"] > 4 * collapsed.floor["frechet_distance"]


def test_the_floor_holds_two_halves_of_the_real_images_against_each_other():
    """Not an image with itself: then the distance would be 0."""
    real = draw(2 * LEAST)
    found = fidelity(real, labels(2 * LEAST), draw(LEAST, seed=1), labels(LEAST), 0)
    assert found is not None
    assert found.images == LEAST
    assert found.floor["frechet_distance"] > 0.5
    assert found.floor["precision"] < 1


def test_a_mixture_of_classes_that_was_planned_to_differ_does_not_count():
    real, classes = modes([360, 60, 60], seed=0), labels(360, 60, 60)
    balanced = fidelity(real, classes, modes([100, 100, 100], 1), labels(100, 100, 100), 0)
    assert balanced is not None
    assert balanced.images == 100 + 30 + 30
    assert balanced.measures["frechet_distance"] < 2 * balanced.floor["frechet_distance"]
    assert [each.images for each in balanced.classes.values()] == [100, 30, 30]
    assert [each.real_share for each in balanced.classes.values()] == pytest.approx([0.75, 0.125, 0.125])
    assert [each.synthetic_share for each in balanced.classes.values()] == pytest.approx([1 / 3] * 3)


def test_the_class_that_went_wrong_is_told_apart_from_the_others():
    classes = labels(80, 80)
    wrong = modes([80, 80], 1) + 5 * (classes == 1).unsqueeze(1)
    found = fidelity(modes([80, 80], 0), classes, wrong, classes, 0)
    assert found is not None
    good, bad = found.classes[0], found.classes[1]
    assert good.measures.keys() == good.floor.keys() == class_measures(draw(9), draw(9)).keys()
    assert good.measures["coverage"] == pytest.approx(good.floor["coverage"], abs=0.2)
    assert bad.measures["coverage"] == bad.measures["precision"] == 0
    assert bad.measures["kid"] > bad.floor["kid"] + 10 * abs(good.measures["kid"])


def test_a_class_with_too_few_images_of_either_kind_has_shares_alone():
    real, classes = draw(200), labels(2 * LEAST, 2 * LEAST - 1, 200 - 4 * LEAST + 1)
    synthetic_labels = torch.cat([torch.zeros(LEAST), torch.ones(50), torch.full((LEAST - 1,), 2)]).long()
    found = fidelity(real, classes, draw(len(synthetic_labels), seed=1), synthetic_labels, 0)
    assert found is not None
    assert [each.images for each in found.classes.values()] == [LEAST, LEAST - 1, LEAST - 1]
    assert [bool(each.measures) for each in found.classes.values()] == [True, False, False]
    assert [bool(each.floor) for each in found.classes.values()] == [True, False, False]
    assert found.classes[2].synthetic_share == pytest.approx((LEAST - 1) / (2 * LEAST + 49))


def test_a_class_without_synthetic_images_is_left_out_and_its_share_says_so():
    found = fidelity(modes([60, 60], 0), labels(60, 60), draw(60, seed=1), labels(60), 0)
    assert found is not None
    assert found.images == found.classes[0].images == 30
    assert (found.classes[1].images, found.classes[1].synthetic_share) == (0, 0)


@pytest.mark.parametrize(("real", "synthetic"), [(2 * LEAST - 1, 100), (100, LEAST - 1), (100, 0), (0, 0)])
def test_too_few_images_give_no_figures(real, synthetic):
    assert fidelity(draw(real), labels(real), draw(synthetic), labels(synthetic), 0) is None


def test_no_more_than_the_limit_is_compared_and_classes_keep_their_shares():
    count = 3 * LIMIT
    real = draw(count, width=2)
    found = fidelity(real, labels(count // 3, 2 * count // 3), real, labels(count // 3, 2 * count // 3), 0)
    assert found is not None
    assert found.images == pytest.approx(LIMIT, abs=1)
    assert found.classes[1].images == pytest.approx(2 * found.classes[0].images, abs=2)


def test_the_scale_of_the_features_does_not_count():
    real, synthetic, classes = draw(100), draw(100, seed=1) + 0.5, labels(100)
    one, other = (fidelity(scale * real, classes, scale * synthetic, classes, 0) for scale in (1, 64))
    assert one is not None
    assert one == other
    assert one.measures["frechet_distance"] > 0.5


def test_figures_depend_on_the_seed_and_on_nothing_else():
    real, synthetic, classes = draw(120), draw(120, seed=1), labels(60, 60)
    first = fidelity(real, classes, synthetic, classes, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert fidelity(real, classes, synthetic, classes, 0) == first
    assert fidelity(real, classes, synthetic, classes, 1) != first


def test_features_that_are_all_zero_give_finite_figures():
    nothing = fidelity(torch.zeros(60, 4), labels(60), torch.zeros(60, 4), labels(60), 0)
    assert nothing is not None
    assert nothing.measures == nothing.floor
    assert nothing.measures["frechet_distance"] == 0
    assert nothing.measures["two_sample_auc"] == 0.5


@pytest.mark.parametrize(("value", "kind"), [(float("nan"), "real"), (float("inf"), "synthetic")])
def test_features_of_a_classifier_that_diverged_get_words(value, kind):
    sets = {"real": draw(60), "synthetic": draw(60, seed=1)}
    sets[kind][3, 2] = value
    with pytest.raises(UserError, match=f"features of the {kind} images are not all finite.*diverged.*learning_rate"):
        fidelity(sets["real"], labels(60), sets["synthetic"], labels(60), 0)


def found(auc: float, floor: float, images: int = 400) -> Fidelity:
    return Fidelity(images, {"two_sample_auc": auc}, {"two_sample_auc": floor}, {})


def test_synthetic_images_are_held_against_what_real_ones_reach_with_an_interval_over_replicates():
    leads = two_sample([found(0.8, 0.5), found(0.7, 0.48), found(0.75, 0.52)])
    assert leads["auc"] == pytest.approx(0.75)
    assert leads["beyond"] == pytest.approx(0.25)
    assert leads["low"] < 0.25 < leads["high"]
    assert leads["low"] == pytest.approx(0.25 - 4.3027 * np.std([0.3, 0.22, 0.23], ddof=1) / 3**0.5, abs=1e-4)
    assert two_sample([found(0.8, 0.5)]).keys() == {"auc", "floor", "beyond", "floor_holds"}


@pytest.mark.parametrize(
    ("floor", "images", "holds"), [(0.5, 400, 1), (0.45, 400, 1), (0.4, 400, 0), (0.5, 40, 0), (0.16, 40, 0)]
)
def test_a_floor_that_real_images_do_not_reach_by_chance_is_meaningless(floor, images, holds):
    assert two_sample([found(0.8, floor, images)])["floor_holds"] == holds
