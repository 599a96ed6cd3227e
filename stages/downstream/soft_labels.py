"""Class probabilities for generated images: what a teacher sees in them, beside the class they were drawn for.

A classifier that learns from these learns where a generated image is in doubt (knowledge distillation: Hinton et al.,
"Distilling the Knowledge in a Neural Network", 2015). The teacher is an ensemble of the arms' own classifier. It learns
as the arm `classic` does, so that what the set's owner says of turns and tones serves it too, but for longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import one_hot

from stages.downstream.augment import build_policy
from stages.downstream.params import TrainDownstreamParams
from stages.downstream.sampling import draw_order
from stages.downstream.training import Examples, derive_seeds, predict, train_classifier
from stages.labelling import pool
from stages.labelling.data import ReplicateData

MEMBERS = 3
STEPS = 1000  # or as many as an arm takes, where that is more


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


def fit_teacher(data: ReplicateData, params: TrainDownstreamParams, seed: int, guessed: pool.Guesses) -> Teacher:
    """A teacher that learned from all labelled images and, as far as their guessed labels are trusted, from the pool.

    One that learned without the validation images sets the temperature on these, then another learns from them too.
    Where there are none, the temperature is 1.
    """
    temperature = 1.0
    if len(data.validation_labels):
        seen = Teacher(_members(data, guessed.choosing, params, seed), 1.0).probabilities(data.validation_images)
        temperature = pool.calibrate(seen, data.validation_labels.cpu())
    return Teacher(_members(data.with_all_labels(), guessed.final, params, seed), temperature)


def _members(
    data: ReplicateData, guessed: pool.PoolLabels, params: TrainDownstreamParams, seed: int
) -> list[nn.Sequential]:
    real = guessed.among(data)
    heard = real.trust > 0  # an image of no weight would still teach through batch norm
    images, labels, trust = real.images[heard], real.labels[heard], real.trust[heard]
    examples = Examples(images, one_hot(labels, data.classes).float(), trust)
    settings = params.classifier.model_copy(update={"steps": max(STEPS, params.classifier.steps), "checkpoints": 1})
    policy, alike = build_policy("classic", params, data.flip_ok), torch.ones(data.classes)

    def member(number: int) -> nn.Sequential:
        seeds = derive_seeds(seed, number)
        order = Generator().manual_seed(seeds.order)
        shown = draw_order(labels.cpu(), settings.steps * settings.batch_size, alike, order)
        batches = shown.view(settings.steps, settings.batch_size)
        return train_classifier(examples, batches, policy, None, settings, seeds).model

    return [member(number) for number in range(MEMBERS)]
