"""The guard fires on planted flips, whole and partial, and keeps quiet about honest and uncertain translations."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stages.generators.flip_words import told
from stages.generators.flips import Examiner, judge
from tests.labelling.toy import CLASSES, of_two_domains, toy_data, toy_images

LABELS = torch.arange(10).repeat_interleave(5)
SWAPPED = torch.arange(10)
SWAPPED[[3, 8]] = torch.tensor([8, 3])


def scattered(labels: Tensor, share: float) -> Tensor:
    """These labels, a share of them replaced by others at random."""
    random = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(labels), generator=random) < share
    return torch.where(wrong, torch.randint(10, (len(labels),), generator=random), labels)


@pytest.mark.parametrize(
    ("after", "before", "flipped", "above"),
    [
        (LABELS, LABELS, 0, 1),
        (scattered(LABELS, 0.5), scattered(LABELS, 0.5), 0, 1),
        (scattered(LABELS, 1), scattered(LABELS, 1), 0, 0),
        ((LABELS + 1) % 10, scattered(LABELS, 1), 1, 0),
        (scattered(LABELS, 0.7), LABELS, 1, 1),
        (SWAPPED[LABELS], scattered(LABELS, 0.8), 1, 1),
        (torch.zeros(50), scattered(LABELS, 1), 0, 0),
    ],
    ids=["right", "half right", "by chance", "all swapped", "worse than before", "two swapped", "all one class"],
)
def test_a_verdict_follows_from_hits(after: Tensor, before: Tensor, flipped: float, above: float) -> None:
    found = judge(LABELS, after.long(), before, 10)
    assert (found.flipped, found.above_chance) == (flipped, above)
    assert found.target_hits == pytest.approx(float((after == LABELS).float().mean()))
    assert found.source_hits == pytest.approx(float((before == LABELS).float().mean()))


def test_a_few_images_prove_nothing() -> None:
    labels = torch.tensor([0, 1])
    found = judge(labels, 1 - labels, labels, 2)
    assert (found.flipped, found.above_chance) == (0, 0)


@pytest.mark.parametrize("classes", [1, 2])
def test_any_number_of_classes_will_do(classes: int) -> None:
    labels = torch.arange(20) % classes
    assert judge(labels, labels, labels, classes).flipped == 0


def test_planted_flips_are_found_by_what_translated_images_teach() -> None:
    data = of_two_domains(toy_data(10))
    data = replace(data, images=torch.where(data.of_target[:, None, None, None], 255 - data.images, data.images))
    images, labels = toy_images(20, seed=5)
    examiner = Examiner(data, 0)
    honest, planted = (examiner.check(examiner.taught(255 - images, each)) for each in (labels, (labels + 1) % CLASSES))
    assert (honest["flipped"], honest["above_chance"]) == (0, 1)
    assert (planted["flipped"], planted["above_chance"], planted["teaches_more"]) == (1, 0, 0)
    assert planted["target_likelihood"] < honest["target_likelihood"]
    (line,) = told([honest, planted])
    assert line.startswith("replicate 1: the translation swaps classes")
    assert f"{planted['target_hits']:.0%} right" in line


def test_nothing_is_said_where_nothing_was_found() -> None:
    assert not list(told([{}, {"kid": 0.1}]))


def test_what_cannot_be_told_from_chance_is_said() -> None:
    (line,) = told([{"flipped": 0.0, "above_chance": 0.0, "target_hits": 0.25, "source_hits": 0.5}])
    assert "translated images teach nothing" in line
    assert "25% right" in line


@pytest.mark.parametrize(
    ("sure", "more"),
    [([0.6, 0.7, 0.8, 0.9], 1), ([0.4, 0.6, 0.4, 0.6], 0), ([0.9, 0.8, 0.9, 0.1], 0), ([0.9, 0.8, 0.9, 0.6], 1)],
    ids=["all more", "about the same", "one much less", "one hardly more"],
)
def test_more_is_taught_where_the_gain_is_clear(
    monkeypatch: pytest.MonkeyPatch, sure: list[float], more: float
) -> None:
    """Four labelled images of two classes, of which the untranslated images tell nothing."""
    data = of_two_domains(replace(toy_data(1, validation=0), classes=2))
    data = replace(data, from_source=11, labels=torch.zeros(15, dtype=torch.int64))
    monkeypatch.setattr(Examiner, "taught", lambda *_: torch.full((4, 2), 0.5))
    own = torch.tensor(sure)
    assert Examiner(data, 0).check(torch.stack([own, 1 - own], dim=1))["teaches_more"] == more
