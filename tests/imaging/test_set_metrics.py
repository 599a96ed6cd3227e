"""Measures of quality equal their definitions, and say what they are meant to say of cases where the truth is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from stages.imaging.set_metrics import (
    confused_share,
    copied_share,
    kernel_distance,
    log_likelihood,
    nearest_distances,
    nearest_real_ratio,
    recall,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def noise(count: int, seed: int, shape: tuple[int, int, int] = (1, 8, 8)) -> Tensor:
    """Images uint8 (N, C, H, W) of 50..199, so that brightness and contrast can change without clipping."""
    return torch.randint(50, 200, (count, *shape), generator=Generator().manual_seed(seed)).to(torch.uint8)


def naive_kernel_distance(real: Tensor, synthetic: Tensor) -> float:
    def kernel(x: Tensor, y: Tensor) -> float:
        return (sum(float(a) * float(b) for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(points: Tensor) -> float:
        pairs = [kernel(x, y) for i, x in enumerate(points) for j, y in enumerate(points) if i != j]
        return sum(pairs) / len(pairs)

    between = [kernel(x, y) for x in real for y in synthetic]
    return within(real) + within(synthetic) - 2 * sum(between) / len(between)


@settings(max_examples=20, deadline=None)
@given(real=st.integers(2, 8), synthetic=st.integers(2, 8), features=st.integers(1, 5), seed=st.integers(0, 999))
def test_kernel_distance_equals_its_definition(real: int, synthetic: int, features: int, seed: int) -> None:
    left, right = normal(real, features, seed=seed), normal(synthetic, features, seed=seed + 1) + 0.5
    assert kernel_distance(left, right) == pytest.approx(naive_kernel_distance(left, right), rel=1e-6, abs=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    """Of small samples of one distribution, where the biased estimate would be above 0.1 every time."""
    estimates = torch.tensor(
        [kernel_distance(normal(10, 8, seed=2 * draw), normal(15, 8, seed=2 * draw + 1)) for draw in range(600)]
    )
    error = float(estimates.std()) / math.sqrt(len(estimates))
    assert abs(float(estimates.mean())) < 3 * error < 0.05
    assert (estimates < 0).any()


def test_kernel_distance_grows_with_the_distance() -> None:
    real, synthetic = normal(500, 8), normal(500, 8, seed=1)
    distances = [kernel_distance(real, synthetic + shift) for shift in (0, 0.5, 1, 2)]
    assert distances == sorted(distances)
    assert kernel_distance(synthetic, real) == pytest.approx(distances[0])


def naive_recall(real: list[list[float]], synthetic: list[list[float]], k: int) -> float:
    def covers(x: list[float], i: int) -> bool:
        others = sorted(math.dist(synthetic[i], y) for j, y in enumerate(synthetic) if j != i)
        return math.dist(x, synthetic[i]) <= others[k - 1]

    return sum(any(covers(x, i) for i in range(len(synthetic))) for x in real) / len(real)


@settings(max_examples=20, deadline=None)
@given(real=st.integers(1, 20), synthetic=st.integers(5, 20), k=st.integers(1, 4), seed=st.integers(0, 999))
def test_recall_equals_its_definition(real: int, synthetic: int, k: int, seed: int) -> None:
    left, right = normal(real, 3, seed=seed), normal(synthetic, 3, seed=seed + 1)
    assert recall(left, right, k) == pytest.approx(naive_recall(left.tolist(), right.tolist(), k))


def test_recall_is_whole_for_equal_sets_and_nothing_for_far_ones() -> None:
    real = normal(300, 64)
    assert recall(real, real) == 1
    assert recall(real, real + 100) == 0
    assert recall(real, real[:1].repeat(50, 1)) == pytest.approx(1 / 300)  # collapsed onto one image


def test_recall_falls_with_every_mode_that_is_missing() -> None:
    modes = torch.arange(400) % 4
    centres = 20 * torch.eye(4, 8)
    real, synthetic = (centres[modes] + normal(400, 8, seed=seed) for seed in (0, 1))
    shares = [recall(real, synthetic[modes < kept]) for kept in (4, 3, 2, 1)]
    assert shares[0] > 0.8
    assert shares == pytest.approx([shares[0] * kept / 4 for kept in (4, 3, 2, 1)], abs=0.03)


def test_confused_share_and_log_likelihood_of_a_case_worked_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.7, 0.3, 0.0], [0.2, 0.2, 0.6]])
    labels = torch.tensor([0, 1, 2, 1])
    assert confused_share(probabilities, labels) == 0.5
    likelihood = log_likelihood(probabilities, labels)
    torch.testing.assert_close(likelihood[[0, 1, 3]], torch.tensor([0.5, 0.8, 0.2]).log())
    assert -100 < likelihood[2] < -80


def naive_nearest(queries: Tensor, references: Tensor) -> list[float]:
    def unit(image: Tensor) -> list[float]:
        values = image.flatten().tolist()
        mean = sum(values) / len(values)
        norm = math.sqrt(sum((value - mean) ** 2 for value in values))
        return [(value - mean) / norm if norm else 0.0 for value in values]

    return [min(math.dist(unit(query), unit(reference)) for reference in references) for query in queries]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
def test_nearest_distances_equal_their_definition(shape: tuple[int, int, int]) -> None:
    queries, references = noise(9, 0, shape), noise(40, 1, shape)
    references[5] = 77  # of one grey level, which has no contrast to scale
    expected = torch.tensor(naive_nearest(queries, references), dtype=torch.float64)
    torch.testing.assert_close(nearest_distances(queries, references), expected, rtol=1e-9, atol=1e-12)


def test_nearest_real_ratio_is_nothing_for_copies_and_one_for_fresh_images() -> None:
    seen = noise(300, 0)
    fresh = nearest_distances(noise(100, 1), seen)
    ratios = [
        nearest_real_ratio(nearest_distances(images, seen), fresh)
        for images in (seen[:80], noise(100, 1), noise(100, 2), torch.cat([seen[:50], noise(50, 2)]))
    ]
    assert ratios == pytest.approx([0, 1, 1, 0.5], abs=0.02)


def test_neither_brightness_nor_contrast_hides_a_copy() -> None:
    seen = noise(300, 0)
    seen -= seen % 2  # so that half the contrast loses nothing to rounding
    for changed in (seen + 50, seen // 2, seen // 2 + 100):
        assert nearest_distances(changed[:80], seen).max() < 2e-3


def test_copied_share_finds_the_classes_that_are_copied() -> None:
    seen = noise(300, 0)
    synthetic = nearest_distances(torch.cat([noise(1000, 2), seen[:60], noise(40, 3)]), seen)
    labels = torch.tensor([0] * 1000 + [3] * 100)
    shares = copied_share(synthetic, labels, nearest_distances(noise(400, 1), seen))
    assert list(shares) == [0, 3]
    assert shares[0] == pytest.approx(0.05, abs=0.03)
    assert 0.6 <= shares[3] <= 0.7


def test_copied_share_of_the_fresh_images_themselves_is_the_quantile() -> None:
    fresh = nearest_distances(noise(400, 1), noise(300, 0))
    assert copied_share(fresh, torch.zeros(400, dtype=torch.int64), fresh) == {0: pytest.approx(0.05)}
