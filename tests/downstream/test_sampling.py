"""Orders visit all images, classes come as often as asked, and weights balance what is drawn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Generator

from stages.downstream.sampling import class_weights, draw_order, top_up_shares

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(torch.tensor)
SHARES = st.lists(st.floats(0.01, 1), min_size=5, max_size=5).map(torch.tensor)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def spread(visits: torch.Tensor) -> int:
    return int(visits.max() - visits.min())


@given(LABELS, st.integers(0, 200), st.integers(0, 100))
def test_without_shares_all_images_come_before_any_comes_again(labels, count, seed):
    order = draw_order(labels, count, None, seeded(seed))
    assert len(order) == count
    assert spread(torch.bincount(order, minlength=len(labels))) <= 1


@given(LABELS, SHARES, st.integers(0, 200), st.integers(0, 100))
def test_classes_come_as_their_shares_say_and_images_in_turn_within_them(labels, shares, count, seed):
    order = draw_order(labels, count, shares, seeded(seed))
    assert len(order) == count
    present = labels.unique()
    exact = shares[present] / shares[present].sum() * count
    visits = torch.bincount(order, minlength=len(labels))
    drawn = torch.stack([visits[labels == label].sum() for label in present])
    assert ((drawn - exact).abs() < 1 + 1e-3).all()
    assert all(spread(visits[labels == label]) <= 1 for label in present)


def test_classes_are_spread_evenly_over_the_order():
    order = draw_order(torch.tensor([0] * 50 + [1] * 3), 1000, torch.tensor([0.7, 0.3]), seeded(0))
    rare = (order >= 50).view(50, 20).sum(dim=1)
    assert rare.float().mean() == pytest.approx(6)
    assert rare.min() >= 5
    assert rare.max() <= 7


@pytest.mark.parametrize("shares", [None, torch.ones(3)])
def test_the_same_seed_draws_the_same_order_and_another_one_another(shares):
    labels = torch.arange(30) % 3
    first, again, other = (draw_order(labels, 100, shares, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), st.floats(0.05, 0.5))
def test_synthetic_images_fill_up_what_real_ones_lack(counts, real_share):
    real = torch.tensor(counts)
    shares = top_up_shares(real, real_share)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    together = real_share * real / real.sum() + (1 - real_share) * shares
    common = real_share * real / real.sum() > 1 / len(real)
    if not common.any():
        torch.testing.assert_close(together, torch.full((len(real),), 1 / len(real)), atol=1e-5, rtol=0)
    assert (shares[common] == 0).all()


@given(st.lists(st.integers(0, 2), min_size=1, max_size=50))
def test_weights_are_scikit_learns_balanced_ones(labels):
    present = np.unique(labels)
    weights = class_weights(torch.bincount(torch.tensor(labels), minlength=3).float())
    expected = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(weights[present].numpy(), expected, rtol=1e-5)
    assert float(weights[torch.tensor(labels)].mean()) == pytest.approx(1, rel=1e-5)
    assert all(weights[label] == 0 for label in range(3) if label not in present)


def test_where_no_class_with_a_share_is_there_those_that_are_come_alike_often():
    order = draw_order(torch.tensor([0] * 9 + [2]), 40, torch.tensor([0.0, 1.0, 0.0]), seeded(0))
    assert torch.tensor([0] * 9 + [2])[order].bincount().tolist() == [20, 0, 20]
