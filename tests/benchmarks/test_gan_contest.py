"""Contests of generators: sections made of the preset's, a filter before every judgement, and a fair judge."""

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks import gan_contest
from benchmarks.gan_contest import REAL, contest, kept, ours, real, section, surest, taught
from stages.generators.params import AdversarialParams, GaussianParams
from stages.labelling import pool, quick_classifier, soft_labels
from stages.labelling.soft_labels import Teacher
from tests.benchmarks.toy import make_set
from tests.labelling.toy import hasty_fit, taught_for


def test_a_section_is_the_presets_but_for_what_is_changed() -> None:
    preset = make_set().params.train_gan.generators["gan"]
    changed = section(make_set(), "auxiliary", steps=lambda steps: steps // 2, width=16)
    assert isinstance(changed, AdversarialParams)
    expected = preset.model_dump() | {"kind": "auxiliary", "steps": 10, "width": 16}
    assert changed.model_dump() == expected
    assert isinstance(section(make_set(), "gaussian"), GaussianParams)


def test_a_table_has_a_row_for_each_generator(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gan_contest, "SAMPLES", 400)
    monkeypatch.setattr(soft_labels, "COURSE", taught_for(60))
    for module in (pool, quick_classifier):
        monkeypatch.setattr(module, "fit", hasty_fit(steps=20))
    fits = {REAL: real, "gaussian": ours("gaussian"), "projection": ours("projection")}
    table = contest("halves", [make_set()], fits, jobs=1, shares=[1.0, 0.5])
    rows = [REAL, "gaussian", "gaussian, surest 50%", "projection", "projection, surest 50%"]
    assert list(table.index) == rows
    assert table["steps"].tolist() == [0, 0, 0, 20, 20]
    assert (table[["accuracy", "soft"]] > 0.9).all(axis=None)
    assert "halves" in capsys.readouterr().out


def test_those_of_whose_class_a_teacher_is_surest_stay_in_as_many_of_each() -> None:
    images = torch.arange(40, dtype=torch.uint8).view(-1, 1, 1, 1)
    labels = torch.arange(40) % 2

    class Brightness:
        """Sure of the second class where images are bright."""

        def probabilities(self, images: Tensor) -> Tensor:
            bright = images.flatten() / 40
            return torch.stack([1 - bright, bright], dim=1)

    def sample(count: int, _seed: int) -> tuple[Tensor, Tensor]:
        return images[: 2 * count], labels[: 2 * count]

    chosen, theirs = surest(sample, cast(Teacher, Brightness()), 5, 0, 0.25)
    assert chosen[theirs == 0].flatten().tolist() == [0, 2, 4, 6, 8]
    assert chosen[theirs == 1].flatten().tolist() == [31, 33, 35, 37, 39]
    every, _ = surest(sample, cast(Teacher, Brightness()), 5, 0, 1.0)
    assert every.flatten().tolist() == list(range(10))


def test_copies_are_dropped_before_they_are_judged() -> None:
    gan_set = make_set()
    assert kept(gan_set.data.images, gan_set).float().mean() < 0.1
    assert kept(gan_set.test_images, gan_set).float().mean() > 0.7


def test_development_has_no_filter() -> None:
    gan_set = make_set()
    development = replace(gan_set, calibration_images=gan_set.calibration_images[:0])
    assert kept(gan_set.data.images, development).all()


def test_wrong_probabilities_teach_the_wrong_classes() -> None:
    gan_set = make_set()
    right = one_hot(gan_set.data.labels, 2).float()
    accuracies = [taught(gan_set.data.images, each, gan_set, 0) for each in (right, right.flip(1))]
    assert accuracies[0] > 0.9
    assert accuracies[1] < 0.1


def test_few_sure_images_outweigh_many_doubtful_ones() -> None:
    gan_set = make_set()
    right = one_hot(gan_set.data.labels, 2).float()
    doubtful = (torch.arange(len(right)) % 5 < 3)[:, None]
    probabilities = torch.where(doubtful, 0.49 * right + 0.51 * right.flip(1), right)
    assert taught(gan_set.data.images, probabilities, gan_set, 0) > 0.9
