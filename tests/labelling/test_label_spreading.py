import numpy as np
import pytest
import torch
from torch import Tensor

from stages.labelling import label_spreading
from stages.labelling.label_spreading import spread_labels
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
    probability = spread_labels(images, labels, CLASSES, pool)
    assert (probability.argmax(dim=1) == truth).float().mean() > 0.97


def test_what_is_in_doubt_is_less_trusted() -> None:
    images, labels = clusters(2, seed=1)
    pool, _ = clusters(20, seed=2)
    between = (images[:1].float() + images[-1:].float()).div(2).to(torch.uint8)
    confidence = spread_labels(images, labels, CLASSES, torch.cat([between, pool])).amax(dim=1)
    assert confidence[0] < confidence[1:].quantile(0.1)


def test_contrast_does_not_matter() -> None:
    images, labels = clusters(2, seed=1)
    pool, _ = clusters(20, seed=2)
    dim, bright = (spread_labels(images // 2 * gain, labels, CLASSES, pool // 2 * gain) for gain in (1, 2))
    assert torch.equal(dim.argmax(dim=1), bright.argmax(dim=1))


def test_the_guessed_classes_are_as_frequent_as_the_labelled_ones() -> None:
    pool, _ = clusters(40, seed=2)
    images, labels = clusters(2, seed=1)
    noisy = (pool.float() + torch.randn(pool.shape, generator=torch.Generator().manual_seed(0)) * 60).clamp(0, 255)
    guess = spread_labels(images, labels, CLASSES, noisy.to(torch.uint8)).argmax(dim=1)
    shares = guess.bincount(minlength=CLASSES) / 120
    assert (shares - 1 / 3).abs().max() < 0.12


def test_the_mean_guess_is_as_frequent_as_the_labelled_classes_where_these_are_unequal() -> None:
    """Where the pool leaves much in doubt, the spread labels alone would follow the pool."""
    pool, _ = clusters(40, seed=2)
    images, labels = clusters(6, seed=1)
    kept = torch.cat([torch.arange(1), torch.arange(6, 9), torch.arange(12, 18)])
    noisy = (pool.float() + torch.randn(pool.shape, generator=torch.Generator().manual_seed(0)) * 60).clamp(0, 255)
    guess = spread_labels(images[kept], labels[kept], CLASSES, noisy.to(torch.uint8))
    torch.testing.assert_close(guess.mean(dim=0), torch.tensor([0.1, 0.3, 0.6]), atol=0.02, rtol=0)


def test_probabilities_sum_to_one() -> None:
    images, labels = clusters(2, seed=1)
    pool, _ = clusters(20, seed=2)
    probability = spread_labels(images, labels, CLASSES, pool)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(len(pool)))
    assert probability.min() >= 0
    assert probability.dtype == torch.float32


def test_classes_as_rare_as_labelled_are_expected() -> None:
    images, labels = clusters(8, seed=1)
    rare = torch.cat([torch.arange(17), torch.arange(23, 24)])  # two of the three classes whole, the last one once
    pool, truth = clusters(20, seed=2)
    kept = torch.cat([torch.arange(40), torch.arange(40, 43)])
    probability = spread_labels(images[rare], labels[rare], CLASSES, pool[kept])
    frequency = labels[rare].bincount(minlength=CLASSES) / len(rare)
    torch.testing.assert_close(probability.mean(dim=0), frequency, atol=0.05, rtol=0)
    assert (probability.argmax(dim=1) == truth[kept]).float().mean() > 0.9


def test_the_order_of_the_pool_does_not_matter() -> None:
    images, labels = clusters(2, seed=1)
    pool, _ = clusters(10, seed=2)
    forwards, backwards = (spread_labels(images, labels, CLASSES, each) for each in (pool, pool.flip(0)))
    torch.testing.assert_close(forwards, backwards.flip(0), rtol=1e-4, atol=1e-5)


def test_more_images_than_the_graph_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = clusters(2, seed=1)
    monkeypatch.setattr(label_spreading, "LARGEST_GRAPH", 2 * len(images))
    assert len(spread_labels(images, labels, CLASSES, images)) == len(images)
    with pytest.raises(UserError, match=r"13 labelled and unlabelled images are too many.*at most 12"):
        spread_labels(images, labels, CLASSES, torch.cat([images, images[:1]]))


def test_an_empty_pool_gives_no_labels() -> None:
    images, labels = clusters(2, seed=1)
    assert spread_labels(images, labels, CLASSES, images[:0]).shape == (0, CLASSES)


def test_a_class_without_labels_is_refused() -> None:
    images, labels = clusters(2, seed=1)
    with pytest.raises(UserError, match="class 3 has no labelled image"):
        spread_labels(images, labels, 4, images)
