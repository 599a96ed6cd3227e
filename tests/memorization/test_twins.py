import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import binomtest

from stages.imaging.distance import alignments
from stages.memorization import twins
from stages.memorization.filtering import MemorizationFilter, Originals
from stages.memorization.planted import planted, rotation
from stages.memorization.twins import group_twins, twins_of
from tests.memorization.toy import PARAMS, random_images

WAYS = alignments(0, False, 8, 8)


@pytest.mark.parametrize("dimensions", [2, 5, 15])
@pytest.mark.parametrize("seldom", [0.01, 0.1])
def test_points_without_twins_seem_to_have_one_as_seldom_as_stated_in_any_dimension(
    dimensions: int, seldom: float
) -> None:
    rng, share = np.random.default_rng(dimensions), []
    for _ in range(40):  # of each cloud a few points, which are all but independent
        cloud = rng.normal(size=(3000, dimensions))
        centre = cloud[np.argsort(np.linalg.norm(cloud, axis=1))[:10]]  # where it is even
        distances = cKDTree(cloud).query(centre, twins.NEAREST + 1)[0][:, 1:]
        share.append(twins_of(distances, seldom) > 0)
    found = np.concatenate(share)
    assert binomtest(int(found.sum()), len(found), seldom).pvalue > 0.001


def test_as_many_of_the_nearest_are_twins_as_lie_before_a_wide_gap() -> None:
    usual = np.linspace(1, 1.3, 20)
    pair, triplet = np.append(0.2, usual[:-1]), np.append([0.2, 0.21], usual[:-2])
    nothing = np.zeros(20)
    assert twins_of(np.stack([usual, pair, triplet, nothing, 0.01 * pair]), 0.05).tolist() == [0, 1, 2, 0, 1]


def twinned(share: float, digits: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """500 digits and, of a share of them, another take, turned by five degrees; and whom each image shows."""
    base = digits[torch.from_numpy(rng.permutation(len(digits))[:500])]
    count = int(500 * share)
    take = rotation(base[:count], rng) if count else base[:0]
    order = rng.permutation(500 + count)
    return torch.cat([base, take])[torch.from_numpy(order)], np.append(np.arange(500), np.arange(count))[order]


def found_and_dropped(share: float, digits: torch.Tensor, seed: int) -> tuple[float, float, MemorizationFilter]:
    """Share found of noisy, turned, cropped and mixed copies; share dropped of fresh images that have no twin."""
    rng = np.random.default_rng(seed)
    pool, shown = twinned(share, digits, rng)
    seen, calibration, fresh = pool[:330], pool[330:450], pool[450:]
    filter_ = MemorizationFilter(Originals(seen, calibration, False), PARAMS)
    copies = planted(seen[:60], False, np.random.SeedSequence(seed))
    kinds = torch.cat([copies[kind] for kind in ("noise", "rotation", "crop", "mix")])
    alone = torch.from_numpy(~np.isin(shown[450:], shown[:330]))
    return float(filter_.decide(kinds).dropped.mean()), float(filter_.decide(fresh[alone]).dropped.mean()), filter_


def test_the_filter_does_not_go_blind_where_real_images_have_twins(
    digits: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _, filter_ = found_and_dropped(0.0, digits, 0)
    assert filter_.twins is not None
    assert not filter_.twins.grouped
    grouped, dropped, filter_ = found_and_dropped(0.3, digits, 0)
    assert filter_.twins is not None
    assert filter_.twins.grouped
    assert filter_.twins.share > 0.08
    monkeypatch.setattr(twins, "CLEARLY", np.inf)
    blind, _, _ = found_and_dropped(0.3, digits, 0)
    assert plain > 0.9
    assert blind < 0.65
    assert grouped > blind + 0.15
    assert dropped < 0.12


def test_nearly_all_real_sets_without_twins_are_left_as_they_are(digits: torch.Tensor) -> None:
    for seed in range(4):
        pool, _ = twinned(0.0, digits, np.random.default_rng(seed))
        found = group_twins(pool[:300], pool[300:400], None, None, WAYS, 0.05)
        assert (found.seen, found.calibration, found.grouped) == (None, None, False)


def test_twins_join_each_other_their_groups_and_what_these_hold() -> None:
    seen, rng = random_images(110, 0), np.random.default_rng(0)
    calibration = torch.cat([rotation(seen[:8], rng), random_images(12, 1)])
    groups = [None] * 108 + ["patient", "patient"]
    found = group_twins(seen, calibration, groups, None, WAYS, 0.05)
    assert found.grouped
    assert found.share == pytest.approx(0.4)
    assert found.seen is not None
    assert found.calibration is not None
    assert list(found.calibration[:8]) == list(found.seen[:8])
    assert found.seen[108] == found.seen[109]
    assert len({*found.seen, *found.calibration}) >= 0.97 * (109 + 12), "hardly any other, by chance"


def test_too_few_seen_images_tell_nothing_of_what_is_usual() -> None:
    seen = random_images(twins.LEAST_SEEN - 1, 2)
    assert not group_twins(seen, seen, None, None, WAYS, 0.05).grouped
