"""What one watches while a generator learns tells good samples from bad ones, and disturbs nothing."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stages.generators import quality
from stages.generators.drawing import sources_of
from stages.generators.interface import LearningGenerator
from stages.generators.quality import Judge, draw_classes
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from tests.generators.conftest import Make
from tests.generators.toy import changed, copied
from tests.labelling.toy import CLASSES, hasty_fit, toy_data, toy_images


@pytest.fixture
def ours(make: Make) -> LearningGenerator:
    return make("projection").eval()


def seen(data: ReplicateData) -> Tensor:
    return torch.cat([data.images, data.unlabelled])


def measured(ours: LearningGenerator, data: ReplicateData, seed: int = 0, steps: int = 2) -> dict[str, float]:
    """By the eyes of a classifier that learned for a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "fit", hasty_fit(steps))
        return Judge(data, seen(data), pool.learn(data, seed), seed).measure(ours.network, ours)


def judged(images: Tensor, labels: Tensor, ours: LearningGenerator, data: ReplicateData) -> dict[str, float]:
    """Measures of a generator that draws these images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "draw_classes", lambda *_: (images, labels))
        return measured(ours, data, steps=40)


def test_measures_say_which_samples_are_good(ours: LearningGenerator) -> None:
    data = toy_data(pool=20)
    images, labels = toy_images(30, seed=5)
    blank = torch.randint(0, 255, images.shape, generator=torch.Generator().manual_seed(0)).byte()
    mixed_up = (labels + 1) % CLASSES
    good, wrong, bad = (judged(*each, ours, data) for each in ((images, labels), (images, mixed_up), (blank, labels)))
    assert good["confused"] < 0.1
    assert wrong["confused"] > 0.9
    assert (wrong["kid"], wrong["recall"]) == (good["kid"], good["recall"]), "these know no classes"
    assert abs(good["kid"]) < 0.2 * bad["kid"]
    assert good["recall"] > bad["recall"]


def test_a_set_without_a_class_is_not_like_one_with_it(ours: LearningGenerator) -> None:
    data = toy_data(pool=20)
    images, labels = toy_images(30, seed=5)
    without = judged(images[labels > 0], labels[labels > 0], ours, data)
    whole = judged(images, labels, ours, data)
    assert without["kid"] > 2 * abs(whole["kid"])
    assert without["recall"] < whole["recall"]


def test_it_repeats_itself_and_leaves_the_network_and_all_random_numbers_alone(ours: LearningGenerator) -> None:
    before, weights = torch.get_rng_state(), copied(ours)
    one, again = (measured(ours, toy_data(pool=2), seed=3) for _ in range(2))
    assert one == again
    assert torch.equal(before, torch.get_rng_state())
    assert not changed(ours, weights)


def test_measures_are_finite_where_they_can_be_known(ours: LearningGenerator) -> None:
    """They go into a JSON file, which has no NaN: of images of one grey level, too."""
    flat = replace(toy_data(pool=0), images=torch.full_like(toy_data(0).images, 9))
    assert all(math.isfinite(value) for value in measured(ours, flat).values())


def test_of_many_real_images_evenly_spaced_ones_stand_for_all(
    ours: LearningGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, data = [], toy_data(pool=40)
    monkeypatch.setattr(quality, "SAMPLES", 15)
    judge = Judge(data, seen(data), pool.learn(data, 0), 0)
    monkeypatch.setattr(type(judge.classifier), "features", lambda _, images: asked.append(images) or images.flatten(1))
    judge.measure(ours.network, ours)
    rows = [next(row for row, one in enumerate(seen(data)) if torch.equal(one, each)) for each in asked[1]]
    assert len(rows) == 15
    assert (rows[0], rows[-1]) == (0, len(seen(data)) - 1)


@pytest.mark.parametrize("name", ["projection", "image_conditioned"])
def test_as_many_samples_of_each_class_are_drawn(make: Make, name: str) -> None:
    ours = make(name).eval()
    images, labels = draw_classes(ours.network, ours, toy_data(pool=0), per_class=7, seed=0)
    assert images.shape == (7 * CLASSES, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    more, _ = draw_classes(ours.network, ours, toy_data(pool=0), per_class=200, seed=0)
    assert torch.equal(more[:7], images[:7])


def test_sources_are_labelled_images_alone(make: Make) -> None:
    data = toy_data(pool=9)
    found = sources_of(make("image_conditioned"), data)
    assert found is not None
    assert found.labels.tolist() == data.labels.tolist()
    assert sources_of(make("projection"), data) is None
