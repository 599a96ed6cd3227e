"""Arms: what each way of training is given, one replicate and one setting at a time, and the choice among settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from stages.downstream.augment import build_policy
from stages.downstream.params import ArmParams, PseudoLabels, Synthetic, TrainDownstreamParams
from stages.downstream.pseudo_labels import select_balanced
from stages.downstream.training import Trained, derive_seeds, draw_order, predict, train_classifier
from stages.plumbing.errors import UserError


@dataclass(frozen=True)
class ArmData:
    """What one replicate has. Images uint8 (N, C, H, W), labels int64 (N,). There are no test labels here."""

    train_images: Tensor
    train_labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    unlabelled_images: Tensor
    test_images: Tensor
    synthetic_images: Tensor | None
    synthetic_labels: Tensor | None
    classes: int
    flip_ok: bool


@dataclass(frozen=True)
class ArmResult:
    """What one training run came to.

    validation_score: balanced accuracy on `validation`, nan where its labels were trained on.
    test_probabilities: float32 (test images, classes).
    state: the classifier's tensors, contiguous, on the CPU.
    history: mean losses, {step, loss}.
    labels, synthetic_images, pseudo_labels, steps: how many real labels, synthetic images and pseudo-labelled images
        were at hand for training, and the optimiser steps taken.
    """

    validation_score: float
    test_probabilities: NDArray[np.float32]
    state: dict[str, Tensor]
    history: list[dict[str, float]]
    labels: int
    synthetic_images: int
    pseudo_labels: int
    steps: int


@dataclass(frozen=True)
class Part:
    """Images with labels that fill `per_batch` places of every batch."""

    images: Tensor
    labels: Tensor
    per_batch: int


def run_arm(
    arm: ArmParams, setting_index: int, data: ArmData, params: TrainDownstreamParams, replicate: int
) -> ArmResult:
    """Trains the classifier once: one arm, one of its settings, one replicate.

    Initial weights depend on the section's seed and the replicate alone, so arms are paired within a replicate.

    Raises:
        UserError: labels that do not fit the images, a class without labelled or without synthetic images, an empty pool.
    """
    check_data(arm, data)
    setting = arm.settings[setting_index]
    images, labels = labelled_images(arm, data)
    places = params.classifier.batch_size
    extra_labels = torch.empty(0, dtype=torch.int64)
    if isinstance(setting, Synthetic):
        assert data.synthetic_images is not None and data.synthetic_labels is not None  # by check_data
        extra_labels = data.synthetic_labels
        synthetic_places = round(setting.synthetic_share * places)
        parts = [Part(data.synthetic_images, extra_labels, synthetic_places)]
        if arm.real:
            parts.append(Part(images, labels, places - synthetic_places))
    elif isinstance(setting, PseudoLabels):
        teacher = fit([Part(images, labels, places)], arm, data, params, replicate)
        chosen, extra_labels = select_balanced(predict(teacher.model, data.unlabelled_images), setting.pool_share)
        pool = data.unlabelled_images[chosen.to(images.device)]
        parts = [Part(torch.cat([images, pool]), torch.cat([labels, extra_labels.to(labels.device)]), places)]
    else:
        parts = [Part(images, labels, places)]
    trained = fit(parts, arm, data, params, replicate)
    return ArmResult(
        validation_score=validation_score(arm, trained, data),
        test_probabilities=predict(trained.model, data.test_images).numpy(),
        state={name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()},
        history=trained.history,
        labels=len(labels) if arm.real else 0,
        synthetic_images=len(extra_labels) if isinstance(setting, Synthetic) else 0,
        pseudo_labels=len(extra_labels) if isinstance(setting, PseudoLabels) else 0,
        steps=params.classifier.steps,
    )


def fit(parts: Sequence[Part], arm: ArmParams, data: ArmData, params: TrainDownstreamParams, replicate: int) -> Trained:
    """Trains on batches that hold a fixed number of images of each part, each part in the arm's own sampling."""
    seeds = derive_seeds(params.seed, replicate)
    generator = Generator().manual_seed(seeds.order)
    steps, columns, offset = params.classifier.steps, [], 0
    for part in parts:
        order = draw_order(part.labels, steps * part.per_batch, arm.sampling, generator)
        columns.append(order.view(steps, part.per_batch) + offset)
        offset += len(part.labels)
    return train_classifier(
        torch.cat([part.images for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat(columns, dim=1),
        data.classes,
        build_policy(arm.augment, params, data.flip_ok),
        params.classifier,
        seeds,
    )
