"""Heads for few-shot classes are what they are called, and arms with them learn, refuse and are kept like others."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import Generator

from stages.downstream import few_shot, fitting, heads
from stages.downstream.arm_data import ArmData, Labelled, few_of, other_classes
from stages.downstream.arms import train_arm
from stages.downstream.few_shot import borrowed, calibrated, few_shot_classes, nearest_mean
from stages.downstream.fitting import balanced_accuracy
from stages.downstream.params import ArmParams, TrainDownstreamParams
from stages.downstream.pixel_delta import VERSIONS, with_pixel_deltas
from stages.imaging.networks import predict
from stages.labelling.pool import Guesses
from stages.plumbing.errors import UserError
from tests.downstream.conftest import arm, section, toy

HEADS = ["nearest_mean", "logistic", "calibrated"]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=Generator().manual_seed(seed))


def nobody() -> Guesses:
    raise AssertionError("nobody asks for the pool's labels")


def one_shot(make_data: Any, validation: int = 2) -> ArmData:
    """Class 2 has one label in all, and the others have ten."""
    images, labels = toy(30, 0)
    kept = (labels < 2) | (torch.arange(30) == 2)
    seen, chosen = toy(3 * validation, 1)
    many = chosen < 2
    return make_data(
        train_images=images[kept],
        train_labels=labels[kept],
        validation_images=seen[many],
        validation_labels=chosen[many],
    )


def checked(**changes: Any) -> TrainDownstreamParams:
    return TrainDownstreamParams.model_validate(section(arms={"few": arm(**changes)}))


def test_at_most_half_of_the_commonest_class_is_few() -> None:
    assert few_shot_classes([10, 5, 6, 1]) == [False, True, False, True]
    assert few_shot_classes([3, 3]) == [False, False]


def test_the_nearest_mean_is_scikit_learns() -> None:
    features, labels = normal(40, 6) * 3 + torch.arange(6), torch.arange(40) % 4
    features[labels == 1] += 2
    asked = normal(300, 6, seed=1) * 4 + torch.arange(6)
    head = nearest_mean(features, labels, 4)
    expected = NearestCentroid().fit(features.numpy(), labels.numpy()).predict(asked.numpy())
    assert np.array_equal(head(asked).argmax(dim=1).numpy(), expected)
    alone = nearest_mean(features[:4], labels[:4], 4)
    assert torch.equal(alone(features[:4]).argmax(dim=1), labels[:4])


def test_a_shot_borrows_from_the_two_nearest_classes() -> None:
    shot = torch.zeros(3)
    near, nearer, far = (normal(n, 3, seed=n) + place for n, place in ((9, 4.0), (7, -3.0), (8, 50.0)))
    mean, factor = borrowed(shot, [near, far, nearer])
    assert torch.allclose(mean, (near.mean(dim=0) + nearer.mean(dim=0) + shot) / 3, atol=1e-6)
    expected = (near.T.cov() + nearer.T.cov()) / 2 + 0.21
    assert torch.allclose(factor.T @ factor, expected, atol=1e-5)


def test_few_shot_classes_alone_get_drawn_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_shot, "DRAWN", 5001)
    features, labels = normal(22, 3), torch.tensor([0] * 10 + [1] * 10 + [2] * 2)
    drawn, classes = calibrated(features, labels, [False, False, True], seed=3)
    assert torch.equal(drawn[:22], features)
    assert classes[22:].tolist() == [2] * 5001
    bases = [features[labels == label] for label in (0, 1)]
    mean, factor = borrowed(features[20], bases)
    own = drawn[22 : 22 + 2501]
    assert torch.allclose(own.mean(dim=0), mean, atol=0.1)
    assert torch.allclose(own.T.cov(), factor.T @ factor, atol=0.15)
    assert torch.equal(calibrated(features, labels, [False, False, True], seed=3)[0], drawn)


def test_pixel_deltas_change_few_shot_images_alone_by_differences_within_another_class() -> None:
    images = torch.full((7, 1, 1, 2), 100, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor([10, 20, 60, 80, 80, 100, 250])
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    real = Labelled(images, labels, torch.tensor([True] * 6 + [False]))
    more = with_pixel_deltas(real, [False, False, True], 0.6, seed=1)
    assert torch.equal(more.images[:7], images)
    assert more.labels[7:].tolist() == [2] * (2 * VERSIONS)
    assert int((~more.of_target).sum()) == 1 + VERSIONS
    bright, plain = more.images[7:, 0, 0].unbind(dim=1)
    changes = {round(0.6 * (a - b)) for a in (10, 20, 60) for b in (10, 20, 60) if a != b} | {0}
    assert set(bright[::2].tolist()) <= {100 + change for change in changes}
    assert len(set(bright[::2].tolist())) > 4
    assert set(bright[1::2].tolist()) <= {min(250 + change, 255) for change in changes}
    assert set(plain.tolist()) == {100}
    assert torch.equal(with_pixel_deltas(real, [False, False, True], 0.6, seed=1).images, more.images)


@pytest.mark.parametrize(
    "changes",
    [{"settings": [{"head": head}]} for head in HEADS]
    + [{"settings": [{"pixel_delta": 0.6}], "balancing": "oversampling"}],
    ids=[*HEADS, "pixel_delta"],
)
def test_arms_learn_one_shot_and_their_state_is_the_classifier(
    make_data: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(fitting, "LOOKS", 96)
    given, data = checked(**changes), one_shot(make_data)
    result, again = (train_arm(given.arms["few"], data, given, 0, nobody, 0, None) for _ in range(2))
    assert np.array_equal(result.test_probabilities, again.test_probabilities)
    assert balanced_accuracy(torch.from_numpy(result.test_probabilities), toy(30, 3)[1]) > 0.6
    assert result.images["real"] == 25
    network = heads.build(None, "cnn", 1, 8, 3, 4, given.arms["few"].is_calibrated)
    network.load_state_dict(result.state)
    assert np.array_equal(predict(network, data.test_images).numpy(), result.test_probabilities)


def test_the_features_of_a_head_never_saw_the_few_shot_images(make_data: Any) -> None:
    given, data = checked(settings=[{"head": "nearest_mean"}]), one_shot(make_data)
    images = data.seen.images.clone()
    images[data.seen.labels == 2] = 255 - images[data.seen.labels == 2]
    other = one_shot(lambda **kept: make_data(**(kept | {"train_images": images})))
    states = [train_arm(given.arms["few"], each, given, 0, nobody, 0, None).state for each in (data, other)]
    *body, weight, bias = states[0]
    assert all(torch.equal(states[0][name], states[1][name]) for name in body)
    assert not torch.equal(states[0][weight], states[1][weight])
    assert bias.endswith("bias")


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0, 1, 2] * 4, "there is none: take the arm out"), ([0] * 10 + [1, 2], "2 classes with many labels")],
)
def test_classes_that_do_not_fit_are_told(make_data: Any, labels: list[int], words: str) -> None:
    data = make_data(train_labels=torch.tensor(labels), validation_labels=torch.arange(9) * 0)
    if words.startswith("there"):
        data = make_data(train_labels=torch.tensor(labels))
    given = checked(settings=[{"head": "logistic"}])
    with pytest.raises(UserError, match=words):
        train_arm(given.arms["few"], data, given, 0, nobody, 0, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"settings": [{"head": "logistic"}, {"head": "calibrated"}]}, "no setting without it"),
        ({"settings": [{"head": "logistic"}], "labels": {"per_class": 3}}, "makes alike"),
        ({"settings": [{"head": "logistic"}], "augment": "mixup"}, "fitted to single images"),
        ({"settings": [{"pixel_delta": 0.6}]}, "balancing: oversampling or class_weights"),
    ],
)
def test_impossible_arms_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ArmParams.model_validate(arm(**changes))


def test_other_classes_teach_where_all_of_ones_own_are_few(make_data: Any) -> None:
    """They are learned from, and predicted never; without them such an arm has nobody to learn from."""
    images, labels = toy(30, 0)
    data = make_data(train_images=images[:3], train_labels=labels[:3])
    others = toy(31, 5)  # one image of the first class more than of the others, to be left out below
    beside = torch.cat([others[0].flip(3), others[0][:1]]), torch.cat([others[1] + 3, torch.tensor([9])])
    taught = replace(data, seen=replace(data.seen, other_images=beside[0], other_labels=beside[1]))
    assert few_of(taught.seen) == [True, True, True]
    assert other_classes(taught.seen).labels.unique().tolist() == [3, 4, 5], "one image alone teaches no difference"
    for settings in ([{"head": "calibrated"}], [{"head": "logistic"}], [{"pixel_delta": 0.6}]):
        given = checked(settings=settings, balancing="oversampling")
        result = train_arm(given.arms["few"], taught, given, 0, None, 0, None)  # type: ignore[arg-type]
        assert result.test_probabilities.shape[1] == 3
        assert result.images["real"] == 12, "those of train and validation: none of other classes"
        with pytest.raises(UserError, match=r"prepare\.other_classes"):
            train_arm(given.arms["few"], data, given, 0, None, 0, None)  # type: ignore[arg-type]


def test_pixel_differences_may_be_of_other_classes_alone() -> None:
    images = torch.full((2, 1, 8, 8), 100, dtype=torch.uint8)
    real = Labelled(images, torch.tensor([0, 1]), torch.ones(2, dtype=torch.bool))
    pair = torch.stack([images[0], images[0] + 50])
    others = Labelled(pair, torch.tensor([2, 2]), torch.ones(2, dtype=torch.bool))
    changed = with_pixel_deltas(real, [True, True], 0.6, 0, others)
    assert set(changed.images[2:].unique().tolist()) == {70, 130}
    assert changed.labels.unique().tolist() == [0, 1]
