from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest, mannwhitneyu

from stages.memorization import published
from stages.memorization.attacks import auc
from stages.memorization.published import attack_published, calibrated, candidates, mean_auc

REPLICATES = 8
Membership = NDArray[np.bool_]


def memberships(images: int, rng: np.random.Generator, replicates: int = REPLICATES) -> tuple[Membership, Membership]:
    """Half of the images seen by each replicate, three tenths held out, the others neither."""
    places = rng.permuted(np.tile(np.arange(images), (replicates, 1)), axis=1)
    return places < images // 2, places >= images - 3 * images // 10


def pictures(count: int, rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, (count, 1, 4, 4), dtype=np.uint8))


def noisy(images: torch.Tensor, rng: np.random.Generator, levels: float) -> torch.Tensor:
    return (images + torch.from_numpy(rng.normal(0, levels, images.shape))).round().clamp(0, 255).to(torch.uint8)


def trained(real: torch.Tensor, seen: Membership, rng: np.random.Generator, levels: float = 60.0) -> list[torch.Tensor]:
    """What generators draw that repeat a fifth of what they saw, with noise, among other images."""
    parts = [noisy(real[torch.from_numpy(row)], rng, levels) for row in seen]
    return [torch.cat([part[::5], pictures(len(part), rng)]) for part in parts]


def attacked_null(rng: np.random.Generator, replicates: int) -> dict[str, dict[str, float]]:
    """Generators that ignore what they saw: they draw from the images' distribution, some near images of the pool."""
    real = pictures(120, rng)
    seen, held_out = memberships(120, rng, replicates)
    parts = [torch.cat([noisy(real[rng.permutation(120)[:40]], rng, 30), pictures(40, rng)]) for _ in range(replicates)]
    return attack_published(real, seen, held_out, parts)


@pytest.mark.parametrize("replicates", [1, 3, 8])
def test_of_generators_that_ignore_what_they_saw_the_intervals_hold_a_guess(replicates: int) -> None:
    """Both attacks' together in 95 % of cases; p below .05 in 5 % for each."""
    runs = 150
    found = [attacked_null(np.random.default_rng(run), replicates) for run in range(runs)]
    held = sum(all(each["low"] <= 0.5 <= each["high"] for each in of.values()) for of in found)
    assert binomtest(held, runs, 0.95, alternative="less").pvalue > 0.005
    for attack in published.NEIGHBOURS:
        false = sum(of[attack]["p"] <= 0.05 for of in found)
        assert binomtest(false, runs, 0.05, alternative="greater").pvalue > 0.005
        assert np.mean([of[attack]["auc"] for of in found]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("luck_of_images", "replicates"), [(0.0, 10), (0.5, 10), (0.5, 3)])
def test_the_interval_holds_the_true_area_where_images_are_easy_or_hard_in_all_replicates_alike(
    luck_of_images: float, replicates: int
) -> None:
    """Scores of two normal distributions a deviation apart: the area is .7602 over all draws of images."""
    held, runs = 0, 300
    for run in range(runs):
        rng = np.random.default_rng(run)
        seen, held_out = memberships(100, rng, replicates)
        own = rng.normal(size=(replicates, 100)) * (1 - luck_of_images) ** 0.5
        scores = own + rng.normal(size=100) * luck_of_images**0.5 + seen
        area, _ = mean_auc(scores, seen, held_out, np.arange(100), 0.95)
        held += area.low <= 0.7602 <= area.high
    assert binomtest(held, runs, 0.95, alternative="less").pvalue > 0.005


def test_images_of_a_group_are_one_piece_of_evidence() -> None:
    """Five images each, all alike: taken for single images, their interval would be too narrow by more than two."""
    rng = np.random.default_rng(0)
    seen, held_out = (np.repeat(each, 5, axis=1) for each in memberships(60, rng, 1))
    scores = np.repeat(rng.normal(size=(1, 60)), 5, axis=1)
    once, _ = mean_auc(scores[:, ::5], seen[:, ::5], held_out[:, ::5], np.arange(60), 0.95)
    grouped, _ = mean_auc(scores, seen, held_out, np.arange(300) // 5, 0.95)
    single, _ = mean_auc(scores, seen, held_out, np.arange(300), 0.95)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))
    assert grouped.high - grouped.low > 2 * (single.high - single.low)


def test_the_area_is_the_mean_over_replicates_and_a_single_ones_interval_is_delongs() -> None:
    rng = np.random.default_rng(1)
    seen, held_out = memberships(80, rng, 2)
    scores = rng.integers(0, 9, (2, 80)) + 2.0 * seen
    expected = [
        mannwhitneyu(own[a], own[b]).statistic / a.sum() / b.sum()
        for own, a, b in zip(scores, seen, held_out, strict=True)
    ]
    area, _ = mean_auc(scores, seen, held_out, np.arange(80), 0.95)
    assert area.value == pytest.approx(np.mean(expected))
    alone, p = mean_auc(scores[:1], seen[:1], held_out[:1], np.arange(80), 0.95)
    delong = auc(scores[0][seen[0]], scores[0][held_out[0]])
    assert (alone.low, alone.high) == pytest.approx((delong.low, delong.high), abs=0.005)  # of n instead of n - 1
    assert p < 0.05


def test_scores_are_held_against_the_other_replicates_of_the_same_image() -> None:
    scores = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 8.0]])
    np.testing.assert_allclose(calibrated(scores), [[-3, -1.5], [-1.5, -1.5], [4.5, 3]])
    np.testing.assert_array_equal(calibrated(scores[:1]), scores[:1])


def test_members_are_known_by_the_other_replicates_where_one_alone_hides_them(digits: torch.Tensor) -> None:
    """Generators that draw means of two members: how near the nearest are depends on how common an image is, too."""
    rng, real = np.random.default_rng(2), digits[:300]
    seen, held_out = memberships(300, rng)

    def means(own: torch.Tensor) -> torch.Tensor:
        partners = own[torch.from_numpy(rng.permutation(len(own)))]
        return (0.5 * own.double() + 0.5 * partners.double()).round().to(torch.uint8)

    parts = [torch.cat([means(real[torch.from_numpy(row)]) for _ in range(3)]) for row in seen]
    together = attack_published(real, seen, held_out, parts)["five_nearest"]
    alone = [
        attack_published(real, seen[row, None], held_out[row, None], [part])["five_nearest"]["auc"]
        for row, part in enumerate(parts)
    ]
    assert together["low"] > 0.55
    assert together["auc"] > np.mean(alone) + 0.05
    assert together["replicates"] == REPLICATES


def test_exact_copies_are_named_and_a_hole_is_seen_from_its_other_side() -> None:
    rng = np.random.default_rng(3)
    real = pictures(400, rng)
    seen, held_out = memberships(400, rng)
    copied = attack_published(real, seen, held_out, [real[torch.from_numpy(row)] for row in seen])["nearest"]
    assert copied["auc"] > 0.99
    assert copied["detected"] > 0.99
    avoided = attack_published(real, seen, held_out, [real[torch.from_numpy(~row)] for row in seen])["nearest"]
    assert avoided["high"] < 0.1


def test_neither_the_order_of_images_nor_that_of_replicates_counts() -> None:
    rng = np.random.default_rng(4)
    real = pictures(100, rng)
    seen, held_out = memberships(100, rng)
    parts = trained(real, seen, rng)
    expected = attack_published(real, seen, held_out, parts)
    images, replicates = rng.permutation(100), rng.permutation(REPLICATES)
    shuffled = attack_published(
        real[torch.from_numpy(images)],
        seen[replicates][:, images],
        held_out[replicates][:, images],
        [parts[row].flip(0) for row in replicates],
    )
    for name, numbers in expected.items():
        assert shuffled[name] == pytest.approx(numbers)


def test_a_replicate_without_images_or_with_too_few_non_members_is_left_out() -> None:
    rng = np.random.default_rng(5)
    real = pictures(100, rng)
    seen, held_out = memberships(100, rng, 4)
    parts: Sequence[torch.Tensor] = trained(real, seen, rng)
    held_out[2] &= np.cumsum(held_out[2]) < 20
    found = attack_published(real, seen, held_out, [parts[0], parts[1][:0], *parts[2:]])
    assert {each["replicates"] for each in found.values()} == {2}
    assert not any("detected" in each for each in found.values()), "30 non-members cannot set a rate of 1 %"
    groups = [str(row // 10) for row in range(100)]
    assert attack_published(real, seen, held_out, parts, groups) == {}
    assert attack_published(real, seen, held_out, [part[:0] for part in parts]) == {}


def test_chunks_and_limits_do_not_change_what_fits_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    real = pictures(100, rng)
    seen, held_out = memberships(100, rng)
    parts = trained(real, seen, rng)
    expected = attack_published(real, seen, held_out, parts)
    monkeypatch.setattr(published, "CHUNK", 7)
    for name, numbers in attack_published(real, seen, held_out, parts).items():
        assert numbers == pytest.approx(expected[name])
    monkeypatch.setattr(published, "MOST_PUBLISHED", 30)
    assert attack_published(real, seen, held_out, parts) != expected


def test_of_many_candidates_those_held_out_come_first_and_others_keep_their_room() -> None:
    seen, held_out = np.ones((2, 1000), dtype=bool), np.zeros((2, 1000), dtype=bool)
    held_out[0, 100:140], seen[0, 100:140] = True, False
    rows = candidates(seen, held_out, 100)
    assert len(rows) == 100
    assert set(range(100, 140)) <= set(rows.tolist())
    assert (np.diff(rows) > 0).all()
    held_out[1, 140:], seen[1, 140:] = True, False
    rows = candidates(seen, held_out, 100)
    assert len(rows) == 100
    assert 50 <= held_out.any(axis=0)[rows].sum() < 100
    assert candidates(seen, held_out, 5000).tolist() == list(range(1000))
