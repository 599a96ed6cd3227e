import numpy as np
import pytest
import torch
from torch import Tensor

from stages.gan.pseudo_labels import estimate_accuracy, guess_labels
from stages.plumbing.errors import UserError

CLASSES = 3


def clusters(each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of three well separated classes, uint8 (3 * each, 1, 4, 4), and their classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(CLASSES).repeat(each)
    centres = np.random.default_rng(0).integers(60, 195, (CLASSES, 1, 4, 4))
    images = centres[labels] + random.normal(0, 15, (len(labels), 1, 4, 4))
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8)), torch.from_numpy(labels)


def test_separable_classes_are_guessed_right_from_one_label_each() -> None:
    images, labels = clusters(1, seed=1)
    pool, truth = clusters(40, seed=2)
    guess = guess_labels(images, labels, CLASSES, pool)
    assert (guess.labels == truth).float().mean() > 0.97
    assert guess.confidence.min() > 0
    assert guess.confidence.max() <= 1


def test_what_is_in_doubt_is_less_trusted() -> None:
    images, labels = clusters(2, seed=1)
    pool, _ = clusters(20, seed=2)
    between = (images[:1].float() + images[-1:].float()).div(2).to(torch.uint8)
    confidence = guess_labels(images, labels, CLASSES, torch.cat([between, pool])).confidence
    assert confidence[0] < confidence[1:].quantile(0.1)


def test_contrast_does_not_matter() -> None:
    images, labels = clusters(2, seed=1)
    pool, _ = clusters(20, seed=2)
    dim = guess_labels(images // 2, labels, CLASSES, pool // 2).labels
    assert torch.equal(dim, guess_labels(images // 2 * 2, labels, CLASSES, pool // 2 * 2).labels)


def test_the_guessed_classes_are_as_frequent_as_the_labelled_ones() -> None:
    pool, _ = clusters(40, seed=2)
    images, labels = clusters(2, seed=1)
    noisy = (pool.float() + torch.randn(pool.shape, generator=torch.Generator().manual_seed(0)) * 60).clamp(0, 255)
    shares = guess_labels(images, labels, CLASSES, noisy.to(torch.uint8)).labels.bincount(minlength=CLASSES) / 120
    assert (shares - 1 / 3).abs().max() < 0.12


def test_the_estimate_is_the_share_of_held_out_labels_guessed_right() -> None:
    images, labels = clusters(2, seed=1)
    pool, _ = clusters(20, seed=2)
    held_out, truth = clusters(10, seed=3)
    wrong = truth.clone()
    wrong[:6] = (wrong[:6] + 1) % CLASSES
    assert estimate_accuracy(images, labels, CLASSES, pool, held_out, truth) == pytest.approx(1.0)
    assert estimate_accuracy(images, labels, CLASSES, pool, held_out, wrong) == pytest.approx(0.8)


def test_an_empty_pool_gives_no_labels() -> None:
    images, labels = clusters(2, seed=1)
    guess = guess_labels(images, labels, CLASSES, images[:0])
    assert len(guess.labels) == len(guess.confidence) == 0


def test_a_class_without_labels_is_refused() -> None:
    images, labels = clusters(2, seed=1)
    with pytest.raises(UserError, match="class 3 has no labelled image"):
        guess_labels(images, labels, 4, images)
