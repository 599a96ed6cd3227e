"""Pseudo-labels: equally many of each predicted class, the most confident first. Synthetic images: the best of each."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator

from stages.downstream.selection import best_of_every_class, select_balanced

shares = st.floats(0.01, 1)


def random_guess(count, classes, seed):
    random = Generator().manual_seed(seed)
    confidence, guess = torch.randn(count, classes, generator=random).mul(2).softmax(dim=1).max(dim=1)
    return guess, confidence


@given(count=st.integers(1, 300), classes=st.integers(2, 8), share=shares, seed=st.integers(0, 99))
def test_each_class_gives_its_quota_of_most_confident_images(count, classes, share, seed):
    predicted, confidence = random_guess(count, classes, seed)
    indices = select_balanced(predicted, confidence, classes, share)
    assert torch.equal(indices, indices.unique())
    quota = max(1, round(share * count / classes))
    taken = torch.zeros(count, dtype=torch.bool)
    taken[indices] = True
    for label in range(classes):
        of_class = predicted == label
        assert (taken & of_class).sum() == min(quota, of_class.sum())
        if (of_class & ~taken).any() and (of_class & taken).any():
            assert confidence[of_class & taken].min() >= confidence[of_class & ~taken].max()


@given(share=shares, seed=st.integers(0, 99))
def test_where_the_pool_allows_all_classes_are_equal(share, seed):
    guess, confidence = random_guess(40, 4, seed)
    balanced = torch.cat([(guess + shift) % 4 for shift in range(4)])  # each class guessed 40 times
    chosen = select_balanced(balanced, confidence.repeat(4), 4, share)
    assert len(balanced[chosen].bincount(minlength=4).unique()) == 1


@given(seed=st.integers(0, 99))
def test_the_order_of_the_pool_does_not_matter(seed):
    guess, confidence = random_guess(50, 3, seed)
    shuffle = torch.randperm(50, generator=Generator().manual_seed(seed))
    indices = select_balanced(guess, confidence, 3, 0.4)
    again = shuffle[select_balanced(guess[shuffle], confidence[shuffle], 3, 0.4)]
    assert set(again.tolist()) == set(indices.tolist())


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_a_larger_share_only_adds(share):
    guess, confidence = random_guess(200, 5, 0)
    smaller, larger = (set(select_balanced(guess, confidence, 5, part).tolist()) for part in (share / 2, share))
    assert smaller < larger


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.floats(0.01, 1), st.integers(0, 100))
def test_the_best_of_every_class_are_kept_in_its_proportion(labels, keep, seed):
    labels = torch.tensor(labels)
    scores = torch.rand(len(labels), generator=Generator().manual_seed(seed))
    kept = best_of_every_class(labels, scores, keep)
    assert torch.equal(kept, kept.unique())
    left = torch.ones(len(labels), dtype=torch.bool)
    left[kept] = False
    for label in labels.unique():
        own = labels == label
        assert len(labels[kept][labels[kept] == label]) == max(1, round(keep * int(own.sum())))
        if (own & left).any():
            assert scores[own & left].max() <= scores[kept][labels[kept] == label].min()
