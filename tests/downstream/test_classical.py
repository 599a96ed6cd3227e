"""scikit-learn's classifiers learn what can be learnt, repeatably, and heed weights where they can."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from stages.downstream.classical import CLASSIFIERS, LINEAR, predict_labels
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


def test_a_linear_classifier_predicts_in_its_coordinates_what_it_does_on_centred_pixels():
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (150, 3, 8, 8), dtype=torch.uint8, generator=random)
    images[:, 0] = images[:, 0] // 2 + 40 * (torch.arange(150) % 3).view(-1, 1, 1).to(torch.uint8)
    labels, seen = torch.arange(150) % 3, 60
    assert seen < images[0].numel(), "fewer images than pixels, so that coordinates are left out"
    predicted = predict_labels("logistic_regression", examples(images[:seen], labels[:seen]), images, seed=0)
    pixels = (images.flatten(1) / 255).double().numpy()
    pixels -= pixels[:seen].mean(axis=0)
    reference = LogisticRegression(tol=1e-8, max_iter=10_000).fit(pixels[:seen], labels[:seen])
    assert (predicted == reference.predict(pixels)).mean() > 0.98
    assert 0.5 < (predicted[seen:] == labels[seen:].numpy()).mean() < 1, "neither trivial nor hopeless"


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_classifier_converges_on_many_correlated_pixels(name):
    random = torch.Generator().manual_seed(0)
    smooth = functional.interpolate(torch.rand(200, 3, 4, 4, generator=random), 32, mode="bilinear")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict_labels(
            name, examples((255 * smooth).to(torch.uint8), torch.arange(200) % 3), torch.zeros(1, 3, 32, 32), 0
        )


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("count", [0, 5])
def test_fewer_than_two_classes_are_refused_in_words(toy, name, count):
    images, _ = toy(count, 0)
    with pytest.raises(UserError, match=f"{name} needs .* 2 classes, but its {count} images are of {min(count, 1)}"):
        predict_labels(name, examples(images, torch.full((count,), 2)), images, seed=0)
