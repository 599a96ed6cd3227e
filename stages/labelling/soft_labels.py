"""Class probabilities for generated images: what a teacher sees in them, beside the class they were drawn for.

A classifier that learns from these learns where a generated image is in doubt (knowledge distillation: Hinton et al.,
"Distilling the Knowledge in a Neural Network", 2015). The teacher is an ensemble of quick classifiers that read all
pixels and learn for longer than the one by whose eyes a GAN is judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.labelling import pool
from stages.labelling.data import ReplicateData
from stages.labelling.quick_classifier import QuickClassifier, fit

MEMBERS = 3
STEPS = 300
LARGEST_SIDE = 64  # pixels; larger images are averaged down to it


@dataclass(frozen=True)
class Teacher:
    """Classifiers that are asked together; their common answer is as sure as it is right on the validation images."""

    members: Sequence[QuickClassifier]
    temperature: float

    def probabilities(self, images: Tensor) -> Tensor:
        """Class probabilities, float32 (N, K), of uint8 images (N, C, H, W), each by itself, on the teacher's device.

        On a CPU the same image gets the same bytes whatever images come with it.
        """
        return pool.tempered(self._mean(images), self.temperature)

    def _mean(self, images: Tensor) -> Tensor:
        return torch.stack([member.probabilities(images) for member in self.members]).mean(dim=0)


def fit_teacher(data: ReplicateData, seed: int, guessed: pool.Guesses | None = None) -> Teacher:
    """A teacher that learned from all labelled images and, as far as their guessed labels are trusted, from the pool.

    `guessed`: the pool's labels, where they are known already; else `pool.teach` guesses them. One that learned without
    the validation images sets the temperature on these, then another learns from them too. Where there are none, the
    temperature is 1.
    """
    guessed, everything, temperature = guessed or pool.teach(data, seed), data.with_all_labels(), 1.0
    if len(data.validation_labels):
        seen = Teacher(_members(data, guessed.choosing, seed), 1.0).probabilities(data.validation_images)
        temperature = pool.calibrate(seen, data.validation_labels)
    return Teacher(_members(everything, guessed.final, seed), temperature)


def _members(data: ReplicateData, guessed: pool.PoolLabels, seed: int) -> list[QuickClassifier]:
    real, seeds = guessed.among(data), np.random.SeedSequence(seed).generate_state(MEMBERS).tolist()
    return [
        fit(
            real.images,
            real.labels,
            real.trust,
            data.classes,
            data.flip_ok,
            each,
            steps=STEPS,
            largest_side=LARGEST_SIDE,
        )
        for each in seeds
    ]
