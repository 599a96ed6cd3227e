"""A teacher knows what it was taught, says how sure it is, and sees each image by itself."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stages.downstream.params import ClassicParams
from stages.imaging.set_metrics import log_likelihood
from stages.labelling import pool, soft_labels
from stages.labelling.data import ReplicateData
from stages.labelling.soft_labels import Teacher, fit_teacher
from tests.downstream.conftest import section
from tests.labelling.toy import CLASSES, hasty_fit, taught_for, toy_data, toy_images


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=20))
    monkeypatch.setattr(soft_labels, "COURSE", taught_for(40))


def teacher_of(
    data: ReplicateData, seed: int = 0, guessed: pool.Guesses | None = None, strength: float = 1.0
) -> Teacher:
    classic = {name: strength * most for name, most in section()["classic"].items()}
    return fit_teacher(data, ClassicParams(**classic), seed, guessed or pool.teach(data, seed))


@pytest.fixture
def data() -> ReplicateData:
    return toy_data(pool=6, validation=20)


def test_it_knows_the_classes_and_what_lies_between(data: ReplicateData) -> None:
    teacher = teacher_of(data)
    images, truth = toy_images(20, 9)
    clear = teacher.probabilities(images)
    assert (clear.argmax(dim=1) == truth).float().mean() > 0.95
    torch.testing.assert_close(clear.sum(dim=1), torch.ones(60))
    between = teacher.probabilities(((images[:20].float() + images[40:].float()) / 2).to(torch.uint8))
    assert between.amax(dim=1).mean() < clear.amax(dim=1).mean() - 0.05


def test_its_images_are_augmented_as_the_arms_are(data: ReplicateData) -> None:
    images, guessed = toy_images(20, 9)[0], pool.teach(data, 0)
    moved, unmoved = (teacher_of(data, guessed=guessed, strength=each).probabilities(images) for each in (1, 0))
    assert not torch.equal(moved, unmoved)


def without_validation(data: ReplicateData) -> ReplicateData:
    return replace(data, validation_images=data.validation_images[:0], validation_labels=data.validation_labels[:0])


def test_it_learns_from_all_labels_once_its_temperature_is_set(data: ReplicateData) -> None:
    guessed, images = pool.teach(data, 0), toy_images(20, 9)[0]
    told, everything = (teacher_of(each, guessed=guessed) for each in (data, data.with_all_labels()))
    as_sure = replace(everything, temperature=told.temperature)
    assert torch.equal(told.probabilities(images), as_sure.probabilities(images))


def test_each_image_is_seen_by_itself_and_the_seed_decides(data: ReplicateData) -> None:
    images, _ = toy_images(50, 9)
    guessed = pool.teach(data, 0)
    teacher, again, other = (teacher_of(data, seed, guessed) for seed in (0, 0, 1))
    whole = teacher.probabilities(images)
    assert torch.equal(whole[:7], teacher.probabilities(images[:7]))
    assert torch.equal(whole, again.probabilities(images))
    assert not torch.equal(whole, other.probabilities(images))


def test_it_is_as_sure_as_it_is_right_on_the_validation_images(data: ReplicateData) -> None:
    """With a third of the validation labels wrong, another temperature makes them likeliest: a higher one."""
    wrong = torch.arange(60) % 3 == 0
    doubtful = replace(data, validation_labels=(data.validation_labels + wrong) % CLASSES)
    guessed = pool.teach(data, 0)
    calm, teacher = (teacher_of(each, guessed=guessed) for each in (doubtful, data))
    earlier = teacher_of(without_validation(data), guessed=replace(guessed, final=guessed.choosing))
    assert calm.temperature > 2 * teacher.temperature

    def likelihood(temperature: float) -> float:
        seen = replace(earlier, temperature=temperature).probabilities(data.validation_images)
        return float(log_likelihood(seen, doubtful.validation_labels).mean())

    best = likelihood(calm.temperature)
    assert all(best >= likelihood(calm.temperature * factor) for factor in (0.9, 1.1))
    assert all(best > likelihood(calm.temperature * factor) for factor in (0.5, 2))


def test_it_learns_from_the_pool_as_far_as_its_labels_are_trusted(data: ReplicateData) -> None:
    """Lies about the pool are learnt where they are trusted, and ignored where they are not."""
    lies = (toy_images(6, 1)[1] + 1) % CLASSES
    images, truth = toy_images(20, 9)

    def seen(trust: float, unlabelled: int) -> Tensor:
        liar = pool.PoolLabels(lies[:unlabelled], torch.full((unlabelled,), trust), "liar", 0.0, 0.0)
        own = replace(without_validation(data), unlabelled=data.unlabelled[:unlabelled])
        return teacher_of(own, guessed=pool.Guesses(liar, liar)).probabilities(images)

    assert torch.equal(seen(0.0, 18), seen(0.0, 0))
    assert (seen(0.0, 18).argmax(dim=1) == truth).float().mean() > 0.95
    assert (seen(1.0, 18).argmax(dim=1) == truth).float().mean() < 0.8


def test_without_validation_images_it_is_taken_at_its_word() -> None:
    teacher = teacher_of(toy_data(pool=0, validation=0))
    assert teacher.temperature == 1
    assert isinstance(teacher, Teacher)


class Convinced(nn.Module):
    """Sees the same in every image."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log()

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


def test_its_classifiers_count_alike() -> None:
    teacher = Teacher([Convinced(0.8, 0.1, 0.1), Convinced(0.2, 0.1, 0.7), Convinced(0.2, 0.4, 0.4)], temperature=1.0)
    mean = torch.tensor([0.4, 0.2, 0.4])
    torch.testing.assert_close(teacher.probabilities(toy_images(2, 0)[0]), mean.expand(6, -1))
