"""The unlabelled pool: whose guesses of its labels to believe, and how far.

Several teachers guess the classes of the validation images as they would those of the pool. The one whose guesses are
likeliest is believed, as far as its hits there justify: a teacher that errs while sure of itself made GANs harmful.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isnan, nan

import torch
from torch import Tensor

from stages.imaging.set_metrics import log_likelihood
from stages.labelling.data import ReplicateData, TrustedImages
from stages.labelling.label_spreading import LARGEST_GRAPH, spread_labels
from stages.labelling.quick_classifier import QuickClassifier, fit

TEMPERATURES = torch.logspace(-1, 3, 81, base=4)  # 0.25 to 64, and 1 among them: 4 tames no teacher at chance
NOBODY = "none"  # the teacher of labels that were not guessed


@dataclass(frozen=True)
class LabelledImages:
    """The images a discriminator learns from, and what a report may say about their labels, shares 0..1."""

    real: TrustedImages
    quality: dict[str, float]


@dataclass(frozen=True)
class Guess:
    """What a teacher thinks of the pool: class probabilities (N, K), and of the validation images (V, K)."""

    pool: Tensor
    validation: Tensor


@dataclass(frozen=True)
class PoolLabels:
    """Guessed labels int64 (N,) of the pool, and how far to trust each, float32 (N,) in 0..1.

    `score`: mean log-likelihood of the validation labels by the same teacher before it learned from them, NaN without
    validation images; `accuracy`: its share of hits there. `teacher`: its name; `temperature`: what its probabilities
    were tempered by.
    """

    labels: Tensor
    trust: Tensor
    teacher: str
    score: float
    accuracy: float
    temperature: float = 1.0

    def among(self, data: ReplicateData) -> TrustedImages:
        """The labelled images, wholly trusted, and the pool's."""
        given = torch.ones(len(data.labels), device=data.labels.device)
        return TrustedImages(
            images=torch.cat([data.images, data.unlabelled]),
            labels=torch.cat([data.labels, self.labels]),
            trust=torch.cat([given, self.trust]),
        )


@dataclass(frozen=True)
class Guesses:
    """What is guessed of the pool: while choices are made, from the labels of `train` alone; and finally, by the same
    teachers, from all labels. Without validation images both are one."""

    choosing: PoolLabels
    final: PoolLabels


def unguessed(data: ReplicateData) -> PoolLabels:
    """Labels of the pool that nobody guessed, and nobody trusts."""
    labels = torch.zeros(len(data.unlabelled), dtype=torch.int64, device=data.labels.device)
    return PoolLabels(labels, labels.float(), NOBODY, nan, nan)


def label(data: ReplicateData, guessed: PoolLabels) -> LabelledImages:
    """All real images with their labels and how far to trust them, the pool's as `teach` guessed them."""
    if len(data.unlabelled) == 0:
        return LabelledImages(guessed.among(data), {"pool_share": 0.0})
    quality = {"pool_share": len(data.unlabelled) / (len(data.images) + len(data.unlabelled))}
    if guessed.teacher != NOBODY:
        quality["pseudo_label_trust"] = float(guessed.trust.mean())
    if not isnan(guessed.accuracy):
        quality["pseudo_label_accuracy"] = guessed.accuracy
    return LabelledImages(guessed.among(data), quality)


def learn(data: ReplicateData, seed: int) -> QuickClassifier:
    """The first teacher: a quick classifier that learned from the labelled images alone."""
    given = torch.ones(len(data.labels), device=data.labels.device)
    return fit(data.images, data.labels, given, data.classes, data.flip_ok, seed)


def teach(data: ReplicateData, seed: int) -> Guesses:
    """The best guess of the pool's labels, out of those of several teachers: who knows best is found on `validation`,
    then these teachers learn once more, from all labels.

    The first is a quick classifier, from `learn`. Label spreading holds a graph of all images in memory, and stands
    back where there are too many. On digits and clothes the mean of both was right more often than either. Another
    quick classifier then learns from the labelled images and, as far as the best guess so far is trusted, from the
    pool. `seed` decides the random numbers of both. The teacher of an empty pool is `NOBODY`.
    """
    if len(data.unlabelled) == 0:
        return Guesses(unguessed(data), unguessed(data))
    choices = list[PoolLabels]()

    def choose(guesses: Mapping[str, Guess]) -> PoolLabels:
        choices.append(_best(guesses, data))
        return choices[-1]

    chosen = _in_turn(data, seed, choose)
    if not len(data.validation_labels):
        return Guesses(chosen, chosen)
    earlier = iter(choices)

    def repeat(guesses: Mapping[str, Guess]) -> PoolLabels:
        choice = next(earlier)
        labels, trust = trusted(tempered(guesses[choice.teacher].pool, choice.temperature))
        return replace(choice, labels=labels, trust=trust)

    return Guesses(chosen, _in_turn(data.with_all_labels(), seed, repeat))


def _in_turn(data: ReplicateData, seed: int, pick: Callable[[Mapping[str, Guess]], PoolLabels]) -> PoolLabels:
    """What the last teachers say, who learn from the guess that was picked of the first ones'."""
    guesses = {"classifier": guess_with(learn(data, seed), data)}
    if len(data.images) + len(data.unlabelled) + len(data.validation_images) <= LARGEST_GRAPH:
        guesses["label_spreading"] = _spread(data)
        guesses["both"] = _together(*guesses.values())
    first = pick(guesses)
    real = first.among(data)
    student = fit(real.images, real.labels, real.trust, data.classes, data.flip_ok, seed)
    guesses["student"] = guess_with(student, data)
    guesses["student_and_teacher"] = _together(guesses["student"], guesses[first.teacher])
    return pick(guesses)


def _best(guesses: Mapping[str, Guess], data: ReplicateData) -> PoolLabels:
    """What the teacher says under which the validation labels are likeliest; without validation images, the last
    one's."""
    believed = [believe(name, guess, data) for name, guess in guesses.items()]
    return max(believed, key=lambda labels: labels.score) if len(data.validation_labels) else believed[-1]


def guess_with(classifier: QuickClassifier, data: ReplicateData) -> Guess:
    """What a classifier thinks."""
    return Guess(classifier.probabilities(data.unlabelled), classifier.probabilities(data.validation_images))


def believe(teacher: str, guess: Guess, data: ReplicateData) -> PoolLabels:
    """The teacher's labels, trusted as far as its hits on the validation images justify.

    Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017) makes the probabilities as sure
    as they are right there. Trust is what is left of the best guess's probability above that of chance, 0..1. Without
    validation images the teacher is taken at its word.
    """
    validation, probability = guess.validation, guess.pool
    accuracy, score, temperature = nan, nan, 1.0
    if len(validation):
        temperature = calibrate(validation, data.validation_labels)
        probability = tempered(guess.pool, temperature)
        score = float(log_likelihood(tempered(validation, temperature), data.validation_labels).mean())
        accuracy = float((validation.argmax(dim=1) == data.validation_labels).float().mean())
    return PoolLabels(*trusted(probability), teacher, score, accuracy, temperature)


def trusted(probability: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest classes int64 (N,) of probabilities (N, K), and how far to trust them, 0..1."""
    classes = probability.shape[1]
    confidence, labels = probability.max(dim=1)
    trust = (confidence - 1 / classes) / (1 - 1 / classes) if classes > 1 else confidence
    return labels, trust.clamp(0, 1)


def _spread(data: ReplicateData) -> Guess:
    images = torch.cat([data.validation_images, data.unlabelled])
    probability = spread_labels(data.images.cpu(), data.labels.cpu(), data.classes, images.cpu()).to(images.device)
    validation, pool = probability.split([len(data.validation_images), len(data.unlabelled)])
    return Guess(pool, validation)


def _together(*guesses: Guess) -> Guess:
    """The mean of several teachers' probabilities."""
    return Guess(*(torch.stack([getattr(each, of) for each in guesses]).mean(dim=0) for of in ("pool", "validation")))


def calibrate(probability: Tensor, labels: Tensor) -> float:
    """The temperature under which the true labels (V,) are likeliest by these probabilities (V, K)."""
    return max(TEMPERATURES.tolist(), key=lambda t: float(log_likelihood(tempered(probability, t), labels).mean()))


def tempered(probability: Tensor, temperature: float) -> Tensor:
    """The probabilities (N, K) of logits divided by `temperature`."""
    return (probability.clamp_min(1e-9).log() / temperature).softmax(dim=1)
