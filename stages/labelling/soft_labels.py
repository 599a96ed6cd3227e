"""Class probabilities for generated images: what a teacher sees in them, beside the class they were drawn for.

A classifier that learns from these learns where a generated image is in doubt (knowledge distillation: Hinton et al.,
"Distilling the Knowledge in a Neural Network", 2015). The teacher is an ensemble of small classifiers that learn under
classic augmentation, so that what the set's owner says of turns and tones serves them too. All else about them is as it
is here: so no image is drawn again when another classifier is chosen for the arms.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from stages.downstream.params import ClassicParams
from stages.imaging.classic import classic
from stages.imaging.cnn import build_cnn
from stages.imaging.networks import predict
from stages.labelling import pool
from stages.labelling.data import ReplicateData, TrustedImages
from stages.labelling.learning import Course, learn

MEMBERS = 3
WIDTH = 16
COURSE = Course(steps=1000, batch_size=64, learning_rate=5e-3, weight_decay=0.01)


@dataclass(frozen=True)
class Teacher:
    """Classifiers that are asked together; their common answer is as sure as it is right on the validation images."""

    members: Sequence[nn.Module]
    temperature: float

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities, float32 (N, K) on the CPU, of uint8 images (N, C, H, W) on the teacher's device.

        On a CPU the same image gets the same bytes whatever images come with it.
        """
        seen = torch.stack([predict(member, images) for member in self.members])
        return pool.tempered(seen.mean(dim=0), self.temperature)


def fit_teacher(data: ReplicateData, strengths: ClassicParams, seed: int, guessed: pool.Guesses) -> Teacher:
    """A teacher that learned from all labelled images and, as far as their guessed labels are trusted, from the pool.

    One that learned without the validation images sets the temperature on these, then another learns from them too.
    Where there are none, the temperature is 1.
    """

    def members(own: ReplicateData, labels: pool.PoolLabels) -> list[nn.Module]:
        return fit_members(labels.among(own), own.classes, own.flip_ok, strengths, seed)

    temperature = 1.0
    if len(data.validation_labels):
        seen = Teacher(members(data, guessed.choosing), 1.0).probabilities(data.validation_images)
        temperature = pool.calibrate(seen, data.validation_labels.cpu())
    return Teacher(members(data.with_all_labels(), guessed.final), temperature)


def fit_members(
    real: TrustedImages, classes: int, flip_ok: bool, strengths: ClassicParams, seed: int
) -> list[nn.Module]:
    """A teacher's classifiers, in evaluation mode: of float32 (N, C, H, W) in [-1, 1] to logits (N, classes)."""

    def seen(batch: Tensor, random: Generator) -> Tensor:
        return classic(batch, random, strengths, flip_ok)

    seeds = np.random.SeedSequence(seed).generate_state(MEMBERS).tolist()
    channels, size = real.images.shape[1:3]
    return [learn(lambda: build_member(channels, size, classes), real, seen, COURSE, each) for each in seeds]


def build_member(channels: int, size: int, classes: int) -> nn.Module:
    """One of a teacher's classifiers, which knows nothing yet."""
    return build_cnn(channels, size, classes, WIDTH).to(memory_format=torch.channels_last)  # a tenth faster on a CPU
