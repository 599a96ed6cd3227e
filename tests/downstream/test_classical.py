"""scikit-learn's classifiers learn what can be learnt, repeatably, and heed weights where they can."""

import numpy as np
import pytest
import torch

from stages.downstream.classical import CLASSIFIERS, predict_labels
from stages.plumbing.errors import UserError
from tests.downstream.toy import examples


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_learns_the_toy(toy, name):
    images, labels = toy(30, 0)
    test_images, test_labels = toy(60, 1)
    predicted = predict_labels(name, examples(images, labels), test_images, seed=0)
    assert predicted.dtype == np.int64
    assert predicted.shape == (60,)
    assert (predicted == test_labels.numpy()).mean() > 0.9


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_labels_need_not_be_without_gaps(toy, name):
    images, labels = toy(30, 0)
    kept = labels != 1
    predicted = predict_labels(name, examples(images[kept], labels[kept]), images, seed=0)
    assert set(predicted) == {0, 2}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_same_seed_gives_the_same_labels_whatever_numpy_draws(name):
    images = torch.randint(0, 256, (80, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels = torch.arange(80) % 4
    runs = []
    for state in range(2):
        np.random.seed(state)  # noqa: NPY002 - scikit-learn would draw from it without a seed
        runs.append(predict_labels(name, examples(images[:40], labels[:40], classes=4), images, seed=3))
    assert np.array_equal(*runs)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name != "nearest_neighbours"])
def test_heavier_images_win_an_argument(name):
    """The same grey image with both labels: the one whose weight is greater is believed."""
    images = torch.full((20, 1, 8, 8), 127, dtype=torch.uint8)
    labels = torch.arange(20) % 2
    for believed in (0, 1):
        weights = torch.where(labels == believed, 5.0, 0.5)
        assert (predict_labels(name, examples(images, labels, weights), images, seed=0) == believed).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("count", [0, 5])
def test_fewer_than_two_classes_are_refused_in_words(toy, name, count):
    images, _ = toy(count, 0)
    with pytest.raises(UserError, match=f"{name} needs .* 2 classes, but its {count} images are of {min(count, 1)}"):
        predict_labels(name, examples(images, torch.full((count,), 2)), images, seed=0)
