import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, mannwhitneyu, norm
from sklearn.neighbors import NearestNeighbors

from stages.imaging.distance import unit_vectors
from stages.memorization.attacks import PlainDistances
from stages.memorization.set_level import SetLevel, authentic_share, data_copying_z, set_level


def random_images(count: int, seed: int | np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8))


def outcome(members: torch.Tensor, non_members: torch.Tensor, generated: torch.Tensor) -> SetLevel:
    distances = PlainDistances.between(members, non_members, generated)
    return set_level(distances, np.zeros(len(generated), dtype=np.int64))


def test_fresh_images_are_told_from_other_fresh_ones_by_no_test() -> None:
    rng = np.random.default_rng(0)
    found = [outcome(*(random_images(count, rng) for count in (150, 60, 100))) for _ in range(150)]
    z, authentic, fresh, copied = np.array(
        [(f.data_copying_z, f.authentic, f.authentic_fresh, f.copied[0]) for f in found]
    ).T
    assert kstest(z, norm.cdf).pvalue > 0.01
    assert abs((authentic - fresh).mean()) < 3 * (authentic - fresh).std() / len(z) ** 0.5
    assert 0.4 < authentic.mean() < 0.7
    assert 0.04 < copied.mean() < 0.07


def test_copies_are_told_by_all_tests() -> None:
    members, non_members = random_images(150, 1), random_images(60, 2)
    found = outcome(members, non_members, members[:100])
    assert found.data_copying_z < -8
    assert found.authentic == 0 < found.authentic_fresh
    assert found.copied == {0: 1.0}


def test_a_hole_around_the_members_shows_as_positive_z_and_more_authentic_images_than_fresh_ones() -> None:
    members, non_members, generated = random_images(150, 3), random_images(100, 4), random_images(400, 5)
    distances = PlainDistances.between(members, non_members, generated)
    nearest = distances.to_generated[:150].amin(dim=0).numpy()
    holed = set_level(distances.of_kept(nearest > np.median(nearest)), np.zeros(200, dtype=np.int64))
    assert holed.data_copying_z > 4
    assert holed.authentic > holed.authentic_fresh + 0.1
    assert holed.copied == {0: 0.0}


numbers = st.lists(st.floats(0, 2, width=16), min_size=3, max_size=40, unique=True)


@settings(max_examples=30)
@given(values=numbers, share=st.integers(1, 39))
def test_z_is_mann_and_whitneys(values: list[float], share: int) -> None:
    synthetic, fresh = np.split(np.array(values), [min(share, len(values) - 1)])
    expected = mannwhitneyu(synthetic, fresh, method="asymptotic", use_continuity=False)
    z = data_copying_z(synthetic, fresh)
    assert 2 * norm.sf(abs(z)) == pytest.approx(expected.pvalue)
    assert data_copying_z(fresh, synthetic) == pytest.approx(-z)
    assert data_copying_z(synthetic[::-1], np.sort(fresh)) == z


def test_all_nearer_is_negative() -> None:
    assert data_copying_z(np.zeros(5), np.ones(4)) == pytest.approx(-10 / np.sqrt(20 * 10 / 12))


def test_authenticity_is_the_definition_by_scikit_learns_search() -> None:
    members, non_members = random_images(80, 6), random_images(40, 7)
    generated = torch.cat([random_images(60, 8), members[:20]])
    search = NearestNeighbors(algorithm="brute").fit(unit_vectors(members).numpy())
    own = search.kneighbors(n_neighbors=1)[0][:, 0]  # each member's nearest other
    found = outcome(members, non_members, generated)
    for images, share in ((generated, found.authentic), (non_members, found.authentic_fresh)):
        distance, index = search.kneighbors(unit_vectors(images).numpy(), n_neighbors=1)
        assert share == pytest.approx(np.mean(distance[:, 0] > own[index[:, 0]]))


def test_an_image_exactly_as_near_as_the_other_member_is_not_authentic() -> None:
    to_members = torch.tensor([[0.5, 0.6, 0.4], [0.9, 0.9, 0.9]])
    assert authentic_share(to_members, torch.tensor([0.5, 0.1])) == pytest.approx(1 / 3)


def test_copies_are_counted_by_class_against_the_nearest_twentieth_of_fresh_images() -> None:
    members, non_members = random_images(80, 9), random_images(40, 10)
    generated = torch.cat([random_images(60, 11), members[:20]])
    labels = np.repeat([0, 2, 5], [50, 20, 10]).astype(np.int64)
    found = set_level(PlainDistances.between(members, non_members, generated), labels)
    search = NearestNeighbors(n_neighbors=1).fit(unit_vectors(members).numpy())
    near, fresh = (search.kneighbors(unit_vectors(each).numpy())[0][:, 0] for each in (generated, non_members))
    copied = near < np.quantile(fresh, 0.05)
    assert found.copied == pytest.approx({label: copied[labels == label].mean() for label in (0, 2, 5)})
    assert set(found.copied) == {0, 2, 5}
    assert found.copied[5] == 1


def test_the_order_of_images_does_not_matter() -> None:
    sets = [random_images(count, count) for count in (90, 50, 70)]
    assert outcome(*sets) == outcome(*(images.flip(0) for images in sets))


def test_distances_are_left_as_they_are() -> None:
    distances = PlainDistances.between(*(random_images(count, count) for count in (90, 50, 70)))
    set_level(distances, np.zeros(70, dtype=np.int64))
    assert (distances.among_real.diagonal() == 0).all()
