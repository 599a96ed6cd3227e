"""Class probabilities for generated images: what a teacher sees in them, beside the class they were drawn for.

A classifier that learns from these learns where a generated image is in doubt (knowledge distillation: Hinton et al.,
"Distilling the Knowledge in a Neural Network", 2015). The teacher is an ensemble of small classifiers that learn as the
arm `classic` does, so that what the set's owner says of turns and tones serves them too. All else about them is as it
is here, whatever `train_downstream.classifier` says: so no image is drawn again when that changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from stages.downstream.augment import classic
from stages.downstream.params import ClassicParams, ClassifierParams
from stages.downstream.sampling import draw_order
from stages.downstream.training import Examples, derive_seeds, predict, train_classifier
from stages.labelling import pool
from stages.labelling.data import ReplicateData

MEMBERS = 3
CLASSIFIER = ClassifierParams(
    kind="cnn",
    width=16,
    steps=1000,
    batch_size=64,
    learning_rate=5e-3,
    weight_decay=0.01,
    label_smoothing=0.1,
    weight_averaging=0.0,
    checkpoints=1,
)


@dataclass(frozen=True)
class Teacher:
    """Classifiers that are asked together; their common answer is as sure as it is right on the validation images."""

    members: Sequence[nn.Sequential]
    temperature: float

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities, float32 (N, K) on the CPU, of uint8 images (N, C, H, W) on the teacher's device.

        On a CPU the same image gets the same bytes whatever images come with it.
        """
        return pool.tempered(self._mean(images), self.temperature)

    def _mean(self, images: Tensor) -> Tensor:
        return torch.stack([predict(member, images) for member in self.members]).mean(dim=0)


def fit_teacher(data: ReplicateData, strengths: ClassicParams, seed: int, guessed: pool.Guesses) -> Teacher:
    """A teacher that learned from all labelled images and, as far as their guessed labels are trusted, from the pool.

    One that learned without the validation images sets the temperature on these, then another learns from them too.
    Where there are none, the temperature is 1.
    """
    temperature = 1.0
    if len(data.validation_labels):
        seen = Teacher(_members(data, guessed.choosing, strengths, seed), 1.0).probabilities(data.validation_images)
        temperature = pool.calibrate(seen, data.validation_labels.cpu())
    return Teacher(_members(data.with_all_labels(), guessed.final, strengths, seed), temperature)


def _members(data: ReplicateData, guessed: pool.PoolLabels, strengths: ClassicParams, seed: int) -> list[nn.Sequential]:
    real = guessed.among(data)
    heard = real.trust > 0  # an image of no weight would still teach through batch norm
    images, labels, trust = real.images[heard], real.labels[heard], real.trust[heard]
    examples = Examples(images, one_hot(labels, data.classes).float(), trust)
    batches = (CLASSIFIER.steps, CLASSIFIER.batch_size)

    def changed(batch: Tensor, random: Generator) -> Tensor:
        return classic(batch, random, strengths, data.flip_ok)

    def member(number: int) -> nn.Sequential:
        seeds = derive_seeds(seed, number)
        random = Generator().manual_seed(seeds.order)
        order = draw_order(labels.cpu(), prod(batches), torch.ones(data.classes), random).view(batches)
        return train_classifier(examples, order, changed, None, CLASSIFIER, seeds).model

    return [member(number) for number in range(MEMBERS)]
