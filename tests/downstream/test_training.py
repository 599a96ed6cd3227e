"""Training visits images as asked, learns, and repeats itself; predictions belong to the image alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from stages.downstream.augment import build_policy
from stages.downstream.classifiers import build_classifier
from stages.downstream.training import (
    HISTORY_POINTS,
    PREDICTION_BATCH,
    derive_seeds,
    draw_order,
    predict,
    summarise,
    train_classifier,
)


def seeded(seed=0):
    return Generator().manual_seed(seed)


label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(torch.tensor)


@settings(max_examples=50)
@given(labels=label_lists, count=st.integers(1, 200), seed=st.integers(0, 99))
def test_shuffled_visits_all_images_equally_often(labels, count, seed):
    visits = draw_order(labels, count, "shuffled", seeded(seed)).bincount(minlength=len(labels))
    assert visits.sum() == count
    assert visits.max() - visits.min() <= 1


@settings(max_examples=50)
@given(labels=label_lists, count=st.integers(1, 200), seed=st.integers(0, 99))
def test_oversampled_visits_all_classes_equally_often_and_all_images_within_them(labels, count, seed):
    order = draw_order(labels, count, "oversampled", seeded(seed))
    assert len(order) == count
    by_class = labels[order].bincount(minlength=5)[labels.unique()]
    assert by_class.max() - by_class.min() <= 1
    by_image = order.bincount(minlength=len(labels))
    for label in labels.unique():
        assert by_image[labels == label].max() - by_image[labels == label].min() <= 1


@pytest.mark.parametrize("sampling", ["shuffled", "oversampled"])
def test_the_order_is_random_but_repeatable(sampling):
    labels = torch.arange(30) % 3
    first, same, other = (draw_order(labels, 90, sampling, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def train(params, toy, seed=0, steps=60, augment="classic"):
    images, labels = toy(30, 0)
    order = draw_order(labels, steps * 16, "shuffled", seeded(seed)).view(steps, 16)
    policy = build_policy(augment, params, flip_ok=False)
    return train_classifier(images, labels, order, 3, policy, params.classifier, derive_seeds(seed, 0))


def test_it_learns_what_can_be_learnt(params, toy):
    trained = train(params, toy)
    images, labels = toy(90, 1)
    assert (predict(trained.model, images).argmax(dim=1) == labels).float().mean() > 0.95
    losses = [point["loss"] for point in trained.history]
    assert losses[-1] < losses[0] / 1.5
    assert trained.history[-1]["step"] == 60


@pytest.mark.parametrize("augment", ["none", "classic", "randaugment"])
def test_the_same_seeds_give_the_same_bytes(params, toy, augment):
    first, again = (train(params, toy, steps=8, augment=augment) for _ in range(2))
    assert first.history == again.history
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


@pytest.mark.parametrize("replicate", [0, 1])
def test_streams_differ(replicate):
    seeds = derive_seeds(3, replicate)
    other = derive_seeds(3, 1 - replicate)
    values = [seeds.initialisation, seeds.order, seeds.augmentation]
    assert len({*values, other.initialisation, other.order, other.augmentation}) == 6


@settings(max_examples=50)
@given(losses=st.lists(st.floats(0, 10, width=32), min_size=1, max_size=120))
def test_the_history_covers_every_step_once(losses):
    history = summarise(torch.tensor(losses))
    ends = [int(point["step"]) for point in history]
    assert ends[-1] == len(losses)
    assert len(history) <= HISTORY_POINTS
    lengths = np.diff([0, *ends])
    assert (lengths > 0).all()
    total = sum(point["loss"] * length for point, length in zip(history, lengths, strict=True))
    assert total == pytest.approx(sum(losses), rel=1e-4, abs=1e-4)


@pytest.fixture(scope="module")
def model():
    return build_classifier(1, 8, 10, 16, seed=0).eval()


@pytest.fixture(scope="module")
def many():
    return torch.randint(0, 256, (PREDICTION_BATCH + 70, 1, 8, 8), generator=seeded()).to(torch.uint8)


@pytest.mark.parametrize("count", [1, 2, 63, PREDICTION_BATCH - 1, PREDICTION_BATCH, PREDICTION_BATCH + 1])
def test_predictions_do_not_depend_on_how_many_were_asked_for(model, many, count):
    assert torch.equal(predict(model, many)[:count], predict(model, many[:count]))
    assert torch.equal(predict(model, many)[-count:], predict(model, many[-count:]))


def test_predictions_follow_their_images(model, many):
    shuffle = torch.randperm(len(many), generator=seeded(1))
    assert torch.equal(predict(model, many)[shuffle], predict(model, many[shuffle]))


def test_predictions_are_probabilities_of_the_evaluated_network(model, many):
    probabilities = predict(model, many)
    assert probabilities.dtype == torch.float32
    assert not probabilities.requires_grad
    with torch.no_grad():
        reference = model(many.float() / 127.5 - 1).softmax(dim=1)
    torch.testing.assert_close(probabilities, reference, rtol=1e-4, atol=1e-6)


def test_no_images_no_predictions(model, many):
    assert predict(model, many[:0]).shape == (0, 10)


def test_predicting_leaves_the_network_as_it_was(many):
    model = build_classifier(1, 8, 10, 8, seed=0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict(model, many)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
