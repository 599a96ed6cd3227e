"""Pseudo-labels: equally many of each predicted class, the most confident first."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from stages.downstream.pseudo_labels import select_balanced

shares = st.floats(0.01, 1)


def random_probabilities(count, classes, seed):
    return torch.randn(count, classes, generator=Generator().manual_seed(seed)).mul(2).softmax(dim=1)


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 300), classes=st.integers(2, 8), share=shares, seed=st.integers(0, 99))
def test_each_class_gives_its_quota_of_most_confident_images(count, classes, share, seed):
    probabilities = random_probabilities(count, classes, seed)
    indices, labels = select_balanced(probabilities, share)
    confidence, predicted = probabilities.max(dim=1)
    assert torch.equal(labels, predicted[indices])
    assert torch.equal(indices, indices.unique())
    quota = max(1, round(share * count / classes))
    taken = torch.zeros(count, dtype=torch.bool)
    taken[indices] = True
    for label in range(classes):
        of_class = predicted == label
        assert (taken & of_class).sum() == min(quota, of_class.sum())
        if (of_class & ~taken).any() and (of_class & taken).any():
            assert confidence[of_class & taken].min() >= confidence[of_class & ~taken].max()


@settings(max_examples=50, deadline=None)
@given(share=shares, seed=st.integers(0, 99))
def test_where_the_pool_allows_all_classes_are_equal(share, seed):
    pool = random_probabilities(40, 4, seed)
    balanced = torch.cat([pool.roll(shift, dims=1) for shift in range(4)])  # each class predicted 40 times
    assert len(select_balanced(balanced, share)[1].bincount(minlength=4).unique()) == 1


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_order_of_the_pool_does_not_matter(seed):
    probabilities = random_probabilities(50, 3, seed)
    shuffle = torch.randperm(50, generator=Generator().manual_seed(seed))
    indices, _ = select_balanced(probabilities, 0.4)
    assert set(shuffle[select_balanced(probabilities[shuffle], 0.4)[0]].tolist()) == set(indices.tolist())


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_a_larger_share_only_adds(share):
    probabilities = random_probabilities(200, 5, 0)
    smaller, larger = (set(select_balanced(probabilities, part)[0].tolist()) for part in (share / 2, share))
    assert smaller < larger
