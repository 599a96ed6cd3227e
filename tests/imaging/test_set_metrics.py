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


def test_copied_share_finds_the_classes_that_are_copied() -> None:
    fresh, of_one = (1 + 0.1 * normal(count, seed=count) for count in (400, 1000))
    of_other = torch.cat([torch.zeros(60), 1 + 0.1 * normal(40, seed=3)])
    shares = copied_share(torch.cat([of_one, of_other]), torch.tensor([0] * 1000 + [3] * 100), fresh)
    assert list(shares) == [0, 3]
    assert shares[0] == pytest.approx(0.05, abs=0.03)
    assert 0.6 <= shares[3] <= 0.7


def test_copied_share_of_the_fresh_images_themselves_is_the_quantile() -> None:
    fresh = normal(400)
    assert copied_share(fresh, torch.zeros(400, dtype=torch.int64), fresh) == {0: pytest.approx(0.05)}
