"""A batch holds what its setting says, and each image counts what it should."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.downstream.arm_data import ArmData, Labelled, SyntheticData, labelled_images
from stages.downstream.batches import Advice, Guess, Part, batch_parts, compose, wrong_labels
from stages.downstream.params import ArmParams, LabelBudget, Plain, QualityFilter, Synthetic
from stages.plumbing.errors import UserError

SYNTHETIC = {"images": "data/filter_memorized/gan"}


@pytest.fixture
def advice() -> Advice:
    """A teacher who is sure of one class of the pool, and surer of a synthetic image the later it comes."""
    guess = Guess(torch.arange(60) % 3, torch.linspace(0, 1, 60))
    return Advice(lambda _teacher: guess, lambda: torch.linspace(0, 1, 45))


@pytest.fixture
def make_arm(arm: Callable[..., dict[str, Any]]) -> Callable[..., ArmParams]:
    return lambda **changes: ArmParams.model_validate(arm(**changes))


def real(data: ArmData) -> Labelled:
    masks = torch.zeros(len(data.seen.labels), 1, 8, 8, dtype=torch.bool)
    masks[::2, :, 2:5, 2:5] = True
    return Labelled(data.seen.images, data.seen.labels, data.seen.of_target, masks)


SETTINGS = [
    ({}, {"real": 64}),
    (SYNTHETIC | {"settings": [{"synthetic_share": 0.25}]}, {"real": 48, "synthetic": 16}),
    ({"settings": [{"duplicated_share": 0.25}]}, {"real": 64}),
    ({"settings": [{"pasted_share": 0.25}]}, {"real": 64}),
    ({"settings": [{"pool_share": 0.5, "teacher": "classifier"}]}, {"real": 8, "pseudo_labelled": 56}),
    ({"settings": [{"other_seeds": 1}]}, {"real": 64}),
]


@pytest.mark.parametrize(("changes", "places"), SETTINGS)
def test_every_batch_has_its_places(make_data, make_arm, advice, changes, places):
    data, asked = make_data(), make_arm(**changes)
    parts = batch_parts(asked.settings[0], data, real(data), 64, advice, seed=0)
    filled: dict[str, int] = {}
    for part in parts:
        filled[part.source] = filled.get(part.source, 0) + part.places
    assert filled == places
    examples, order = compose(parts, asked, 5, data.seen.classes, seed=0)
    assert order.shape == (5, 64)
    bounds = torch.tensor([0, *[len(part.labels) for part in parts]]).cumsum(0)
    for row in order:
        drawn = [int(((row >= low) & (row < high)).sum()) for low, high in pairwise(bounds)]
        assert drawn == [part.places for part in parts]
    assert len(examples.images) == len(examples.labels) == len(examples.weights) == int(bounds[-1])


def synthetic_part(setting: Synthetic, data: ArmData, advice: Advice) -> Part:
    (part,) = batch_parts(setting, data, None, 64, advice, seed=0)
    return part


@pytest.mark.parametrize("by", ["confidence", "discriminator", "truncation"])
def test_a_filter_keeps_the_best_of_every_class(make_data, advice, by):
    rising = torch.linspace(0, 1, 45)
    data = make_data()
    scored = SyntheticData(data.synthetic.images, data.synthetic.labels, realness=rising, latent_norm=-rising)
    setting = Synthetic(synthetic_share=1, filter=QualityFilter(by=by, keep=0.4))
    part = synthetic_part(setting, replace(data, synthetic=scored), advice)
    assert torch.equal(part.images, data.synthetic.images[27:])
    assert torch.bincount(part.labels).tolist() == [6, 6, 6]


def test_a_teachers_probabilities_go_with_their_images(make_data, make_arm, advice):
    """Real labels stay sure; what a class is balanced and filtered by stays the class that was drawn for."""
    soft = torch.rand(45, 3, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    data = make_data()
    data = replace(data, synthetic=replace(data.synthetic, probabilities=soft))
    setting = {"synthetic_share": 0.5, "filter": {"by": "confidence", "keep": 0.4}}
    asked = make_arm(**SYNTHETIC, balancing="class_weights", settings=[setting])
    parts = batch_parts(asked.settings[0], data, real(data), 64, advice, 0)
    given, _ = compose(parts, asked, 1, 3, seed=0)
    assert torch.equal(given.probabilities[:12], torch.eye(3)[data.seen.labels])
    assert torch.equal(given.probabilities[12:], soft[27:])
    assert torch.equal(given.weights, torch.ones(30))  # by the class drawn for, all are as common
    assert torch.equal(given.labels[12:], soft[27:].argmax(dim=1))


def test_wrong_labels_replace_probabilities(make_data, advice):
    data = make_data()
    data = replace(data, synthetic=replace(data.synthetic, probabilities=torch.full((45, 3), 1 / 3)))
    part = synthetic_part(Synthetic(synthetic_share=1, shuffled_labels=True), data, advice)
    assert part.probabilities is None
    assert (part.labels != data.synthetic.labels).all()


def test_wrong_labels_are_always_wrong_and_any_other_class():
    labels = torch.arange(3000) % 3
    wrong = wrong_labels(labels, 3, seed=0)
    assert (wrong != labels).all()
    for label in range(3):
        counts = torch.bincount(wrong[labels == label], minlength=3)
        assert (counts[torch.arange(3) != label] > 430).all()


def test_a_loss_weight_holds_for_synthetic_images_alone(make_data, make_arm, advice):
    data = make_data()
    asked = make_arm(**SYNTHETIC, settings=[{"synthetic_share": 0.5, "loss_weight": 0.25}])
    examples, _ = compose(batch_parts(asked.settings[0], data, real(data), 64, advice, 0), asked, 1, 3, seed=0)
    assert examples.weights.tolist() == [1] * 12 + [0.25] * 45


def unbalanced(data: ArmData) -> Labelled:
    """6, 4 and 2 images of the three classes."""
    rows = torch.cat([(data.seen.labels == label).nonzero()[:4, 0] for label in range(3)])[[*range(10), 0, 3]]
    return Labelled(data.seen.images[rows], torch.tensor([0] * 6 + [1] * 4 + [2] * 2), torch.ones(12).bool())


def counted(labels: Tensor, order: Tensor) -> list[int]:
    return torch.bincount(labels[order.flatten()], minlength=3).tolist()


def test_each_way_of_balancing_makes_all_classes_count_alike(make_data, make_arm, advice):
    data = make_data()
    few = unbalanced(data)

    def composed(setting: Plain | Synthetic, **changes: Any) -> tuple[Tensor, Tensor, Tensor]:
        parts = batch_parts(setting, data, few, 60, advice, 0)
        examples, order = compose(parts, make_arm(**changes), 10, 3, seed=0)
        return examples.labels, examples.weights, order

    labels, weights, order = composed(Plain(), balancing="oversampling")
    assert counted(labels, order) == [200, 200, 200]
    assert (weights == 1).all()

    labels, weights, order = composed(Plain(), balancing="class_weights")
    assert counted(labels, order) == [300, 200, 100]
    drawn = order.flatten()
    each = [float(weights[drawn][labels[drawn] == label].sum()) for label in range(3)]
    assert each == pytest.approx([200, 200, 200])

    half = Synthetic(synthetic_share=0.5)
    labels, weights, order = composed(half, **SYNTHETIC, balancing="synthetic", settings=[{"synthetic_share": 0.5}])
    assert counted(labels, order) == [200, 200, 200]
    assert counted(labels, order[order < 12]) == [150, 100, 50]


def test_budgets_of_labels_contain_the_smaller_ones(make_data, make_arm):
    data = make_data()

    def chosen(per_class: int) -> Labelled:
        return labelled_images(make_arm(labels=LabelBudget(per_class=per_class).model_dump()), data, final=True, seed=3)

    previous: set[bytes] = set()
    validation = {image.numpy().tobytes() for image in data.seen.validation_images}
    for per_class in range(1, 8):
        labelled = chosen(per_class)
        assert torch.bincount(labelled.labels).tolist() == [per_class] * 3
        images = {image.numpy().tobytes() for image in labelled.images}
        assert len(images & validation) == max(0, 3 * (per_class - 4)), "those of train come first"
        assert previous < images
        previous = images
    with pytest.raises(UserError, match="per_class: 8 is more than the 7 labelled images"):
        chosen(8)


def test_scores_that_were_not_noted_are_asked_for(make_data, make_arm):
    from stages.downstream.arm_data import check_data

    setting = {"synthetic_share": 0.5, "filter": {"by": "discriminator", "keep": 0.5}}
    with pytest.raises(UserError, match=r"set generate.scores: true"):
        check_data(make_arm(**SYNTHETIC, settings=[setting]), make_data())
