from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, binomtest, norm
from sklearn.metrics import pairwise_distances, roc_auc_score, roc_curve
from sklearn.neighbors import KernelDensity

from stages.imaging import distance
from stages.imaging.distance import unit_vectors
from stages.memorization import attacks
from stages.memorization.attacks import PlainDistances, auc, detected_at_fixed_rate, membership_inference
from stages.plumbing.errors import UserError

SEED = np.random.SeedSequence(0)
ATTACKS = ("distance", "monte_carlo", "domias")
scores = st.lists(st.integers(0, 8).map(float), min_size=2, max_size=30).map(np.array)


def random_images(count: int, seed: int | np.random.Generator, size: tuple[int, int, int] = (1, 3, 3)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8))


def labels(members: int, non_members: int) -> NDArray[np.int64]:
    return np.repeat([1, 0], [members, non_members])


def test_distances_are_scikit_learns_and_equal_images_at_exactly_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "CHUNK", 7)
    members, non_members, fresh = (random_images(n, n, (3, 16, 16)) for n in (40, 30, 25))
    distances = PlainDistances.between(members, non_members, torch.cat([fresh, members[10:20]]))
    real, generated = unit_vectors(torch.cat([members, non_members])), unit_vectors(torch.cat([fresh, members[10:20]]))
    np.testing.assert_allclose(distances.to_generated, pairwise_distances(real, generated), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(distances.among_real, pairwise_distances(real), rtol=1e-6, atol=1e-7)
    assert (distances.among_real.diagonal() == 0).all()
    assert (distances.to_generated[10:20, 25:].diagonal() == 0).all()
    assert (distances.to_generated == 0).sum() == 10


def test_one_grey_level_in_a_photo_is_a_distance() -> None:
    members = random_images(2, 0, (3, 128, 128))
    nearly = members.clone()
    nearly[:, 0, 0, 0] ^= 1
    distances = PlainDistances.between(members, random_images(20, 1, (3, 128, 128)), nearly)
    exact = (unit_vectors(members) - unit_vectors(nearly)).norm(dim=1)
    np.testing.assert_allclose(distances.to_generated[:2].diagonal(), exact, rtol=1e-3)


def test_the_kept_images_distances_are_those_made_without_the_others() -> None:
    members, non_members, generated = (random_images(n, n) for n in (40, 30, 50))
    kept = np.arange(50) % 3 > 0
    part = PlainDistances.between(members, non_members, generated).of_kept(kept)
    alone = PlainDistances.between(members, non_members, generated[torch.from_numpy(kept)])
    torch.testing.assert_close(part.to_generated, alone.to_generated)
    assert membership_inference(part, SEED) == membership_inference(alone, SEED)


@settings(max_examples=30)
@given(members=scores, non_members=scores)
def test_auc_is_scikit_learns_whatever_the_order(members: NDArray, non_members: NDArray) -> None:
    result = auc(members, non_members)
    both = np.concatenate([members, non_members])
    assert result.value == pytest.approx(roc_auc_score(labels(len(members), len(non_members)), both))
    assert 0 <= result.low <= result.value <= result.high <= 1
    turned = auc(members[::-1], np.sort(non_members))
    assert (turned.low, turned.value, turned.high) == pytest.approx((result.low, result.value, result.high))
    backwards = auc(-members, -non_members)
    assert (backwards.low, backwards.high) == pytest.approx((1 - result.high, 1 - result.low))


def test_the_interval_is_delongs() -> None:
    rng = np.random.default_rng(0)
    members, non_members = rng.normal(0.5, 1, 40).round(1), rng.normal(0, 1, 30).round(1)
    wins = np.sign(members[:, None] - non_members) / 2 + 0.5
    variance = wins.mean(1).var(ddof=1) / 40 + wins.mean(0).var(ddof=1) / 30
    result = auc(members, non_members)
    assert (result.low, result.high) == pytest.approx(norm.interval(0.95, wins.mean(), variance**0.5))


def test_scores_that_do_not_overlap_still_have_an_interval_and_it_holds_what_pairs_can_show() -> None:
    result = auc(np.arange(100.0) + 50, np.arange(30.0))
    assert (result.value, result.high) == (1, 1)
    assert result.low == pytest.approx(beta.ppf(0.025, 30, 1))
    nothing = auc(np.zeros(100), np.zeros(30))
    assert 0.5 - nothing.low == pytest.approx(nothing.high - 0.5) == pytest.approx(1 - result.low)


@pytest.mark.parametrize("separation", [0.0, -0.5, 1.2])
def test_the_interval_holds_the_true_auc_as_often_as_stated(separation: float) -> None:
    rng, true, trials = np.random.default_rng(1), norm.cdf(separation / 2**0.5), 500
    found = [auc(rng.normal(separation, 1, 200), rng.normal(0, 1, 60)) for _ in range(trials)]
    covered = sum(result.low <= true <= result.high for result in found)
    assert 0.92 <= covered / trials <= 0.98


@settings(max_examples=30)
@given(members=scores, seed=st.integers(0, 100), count=st.integers(99, 320))
def test_detected_is_the_roc_curves_rate_at_one_percent(members: NDArray, seed: int, count: int) -> None:
    non_members = np.random.default_rng(seed).normal(3, 3, count).round()
    result = detected_at_fixed_rate(members, non_members)
    allowed = (count + 1) // 100 - 1  # wrong names with which a fresh non-member is named in at most 1 % of cases
    both = np.concatenate([members, non_members])
    false, true, _ = roc_curve(labels(len(members), count), both, drop_intermediate=False)
    assert result is not None
    assert result.value == true[np.rint(false * count) <= allowed].max()
    interval = binomtest(round(result.value * len(members)), len(members)).proportion_ci(method="exact")
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("count", "expected"), [(99, 0.01), (150, 1 / 151), (200, 2 / 201)])
def test_an_attack_that_knows_nothing_detects_one_percent_on_average(count: int, expected: float) -> None:
    rng = np.random.default_rng(2)
    found = [detected_at_fixed_rate(rng.random(500), rng.random(count)) for _ in range(150)]
    values = [result.value for result in found if result is not None]
    assert len(values) == 150
    assert abs(np.mean(values) - expected) < 4 * np.std(values) / 150**0.5


def test_one_percent_cannot_be_set_with_fewer_than_99_non_members() -> None:
    assert detected_at_fixed_rate(np.ones(50), np.zeros(98)) is None
    distances = PlainDistances.between(random_images(50, 0), random_images(98, 1), random_images(50, 2))
    assert all(attack.detected is None for attack in membership_inference(distances, SEED).values())


def test_fresh_images_tell_nothing_and_the_intervals_say_so() -> None:
    """Over simulations .5 lies in the interval of each attack as often as stated."""
    rng, trials, covered = np.random.default_rng(3), 150, dict.fromkeys(ATTACKS, 0)
    values: dict[str, list[float]] = {name: [] for name in ATTACKS}
    for trial in range(trials):
        distances = PlainDistances.between(*(random_images(count, rng) for count in (100, 60, 100)))
        for name, attack in membership_inference(distances, np.random.SeedSequence(trial)).items():
            covered[name] += attack.auc.low <= 0.5 <= attack.auc.high
            values[name].append(attack.auc.value)
    for name in ATTACKS:
        assert binomtest(covered[name], trials, 0.95).pvalue > 0.01, name
        assert abs(np.mean(values[name]) - 0.5) < 3 * np.std(values[name]) / trials**0.5, name


@pytest.fixture(scope="module")
def members_and_others() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return tuple(random_images(count, 4 + count, (1, 4, 4)) for count in (300, 120, 600))


def test_copies_give_the_members_away_and_dropping_them_ends_it(
    members_and_others: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    members, non_members, fresh = members_and_others
    distances = PlainDistances.between(members, non_members, torch.cat([members, fresh]))
    before = membership_inference(distances, SEED)
    after = membership_inference(distances.of_kept(np.arange(900) >= 300), SEED)
    for name in ATTACKS:
        assert before[name].auc.value > 0.8
        assert before[name].detected.low > 0.01
        assert after[name].auc.low <= 0.5 <= after[name].auc.high
        assert after[name].detected.value < 0.05
    assert before["distance"].auc.value == 1
    assert before["distance"].detected.value == 1


def test_copies_and_nothing_else_are_found_too(
    members_and_others: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    """The candidates' median distance to the nearest synthetic image is then 0."""
    members, non_members, _ = members_and_others
    found = membership_inference(PlainDistances.between(members, non_members, members), SEED)
    assert found["distance"].auc.value == found["monte_carlo"].auc.value == 1
    assert found["domias"].auc.value > 0.9


def test_a_hole_around_the_members_shows_as_an_auc_below_one_half(
    members_and_others: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    members, non_members, fresh = members_and_others
    distances = PlainDistances.between(members, non_members, fresh)
    nearest = distances.to_generated[:300].amin(dim=0).numpy()
    after = membership_inference(distances.of_kept(nearest > np.quantile(nearest, 0.4)), SEED)
    assert all(after[name].auc.high < 0.5 for name in ATTACKS)


def test_monte_carlo_counts_within_the_median_of_the_nearest() -> None:
    distances = PlainDistances.between(random_images(31, 5), random_images(24, 6), random_images(40, 7))
    matrix = distances.to_generated.double().numpy()
    epsilon = np.median(matrix.min(axis=1))
    np.testing.assert_allclose(attacks.monte_carlo_scores(distances), (matrix <= epsilon).mean(axis=1))


def test_domias_is_the_ratio_of_scikit_learns_kernel_densities() -> None:
    members, non_members, generated = random_images(31, 8), random_images(24, 9), random_images(40, 10)
    found = attacks.domias_scores(PlainDistances.between(members, non_members, generated), SEED)
    rng = np.random.default_rng(SEED)
    sides = np.concatenate([rng.permutation(31) % 2, rng.permutation(24) % 2])
    real, synthetic = unit_vectors(torch.cat([members, non_members])).numpy(), unit_vectors(generated).numpy()
    for side in (0, 1):
        judged, reference = real[sides == side], real[31:][sides[31:] != side]
        bandwidth = 0.2 * np.median(pairwise_distances(judged, reference).min(axis=1))
        over, under = (KernelDensity(bandwidth=bandwidth).fit(held) for held in (synthetic, reference))
        expected = over.score_samples(judged) - under.score_samples(judged)
        np.testing.assert_allclose(found.numpy()[sides == side], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("score", [attacks.distance_scores, attacks.monte_carlo_scores])
def test_scores_follow_their_images_in_any_order(score: Callable[[PlainDistances], torch.Tensor]) -> None:
    members, non_members, generated = random_images(41, 11), random_images(24, 12), random_images(40, 13)
    found = score(PlainDistances.between(members, non_members, generated))
    turned = score(PlainDistances.between(members.flip(0), non_members.flip(0), generated.flip(0)))
    torch.testing.assert_close(turned, torch.cat([found[:41].flip(0), found[41:].flip(0)]))


def test_domias_does_not_depend_on_the_order_of_generated_images_and_repeats_with_its_seed() -> None:
    members, non_members, generated = random_images(41, 14), random_images(24, 15), random_images(40, 16)
    found = attacks.domias_scores(PlainDistances.between(members, non_members, generated), SEED)
    turned = PlainDistances.between(members, non_members, generated.flip(0))
    torch.testing.assert_close(attacks.domias_scores(turned, SEED), found, rtol=1e-4, atol=1e-4)
    assert torch.equal(attacks.domias_scores(turned, SEED), attacks.domias_scores(turned, SEED))
    assert not torch.equal(attacks.domias_scores(turned, np.random.SeedSequence(1)), found)


def test_too_few_images_are_told_what_is_needed() -> None:
    with pytest.raises(UserError, match=r"at least 20 calibration images as non-members, but there are 19: .*prepare"):
        PlainDistances.between(random_images(30, 0), random_images(19, 1), random_images(30, 2))
    with pytest.raises(UserError, match=r"at least 2 images that the generator saw .* there are 1 and 30"):
        PlainDistances.between(random_images(1, 0), random_images(20, 1), random_images(30, 2))
    distances = PlainDistances.between(random_images(30, 0), random_images(20, 1), random_images(30, 2))
    with pytest.raises(UserError, match=r"1 generated one, but there are 30 and 0"):
        distances.of_kept(np.zeros(30, dtype=bool))


def test_images_of_one_grey_level_throughout_give_finite_scores_that_tell_nothing() -> None:
    grey = torch.full((30, 1, 3, 3), 90, dtype=torch.uint8)
    found = membership_inference(PlainDistances.between(grey, grey, grey), SEED)
    assert all(found[name].auc.value == 0.5 for name in ATTACKS)
