"""Arms: what each way of training is given, one replicate and one setting at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from stages.downstream.augment import build_policy
from stages.downstream.params import ArmParams, PseudoLabels, Setting, Synthetic, TrainDownstreamParams
from stages.downstream.pseudo_labels import select_balanced
from stages.downstream.training import Trained, derive_seeds, draw_order, predict, train_classifier
from stages.gan import pool
from stages.gan.data import GanData
from stages.plumbing.errors import UserError

Source = Literal["real", "synthetic", "pseudo_labelled"]
Teacher = Literal["classifier", "ensemble"]

MORE_SYNTHETIC = "train the GAN for more steps, generate more images, or lower filter_memorized's alpha"
REAL_SHARE_WITH_POOL = 1 / 8  # of each batch; 1/4 and 1/2 were no better on digits


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

    validation_score: balanced accuracy on `validation`, None where its labels were trained on.
    test_probabilities: float32 (test images, classes).
    state: the classifier's tensors, contiguous, on the CPU.
    history: mean losses, {step, loss}.
    images: how many images the training had of each source: with real labels, synthetic, with pseudo-labels.
    steps: optimiser steps taken.
    """

    validation_score: float | None
    test_probabilities: NDArray[np.float32]
    state: dict[str, Tensor]
    history: list[dict[str, float]]
    images: dict[Source, int]
    steps: int


@dataclass(frozen=True)
class Part:
    """Labelled images of one source, which fill `places` places of every batch."""

    source: Source
    images: Tensor
    labels: Tensor
    places: int


@dataclass(frozen=True)
class PoolGuess:
    """Labels int64 (N,) guessed for the unlabelled pool, and the confidence in each (N,), 0..1; on the CPU."""

    labels: Tensor
    confidence: Tensor


def run_arm(arm: ArmParams, data: ArmData, params: TrainDownstreamParams, replicate: int) -> list[ArmResult]:
    """Trains the classifier once for each setting of the arm, on one replicate.

    Initial weights depend on the section's seed and the replicate alone, so arms are paired within a replicate.

    Raises:
        UserError: labels that do not fit the images, a class without real or synthetic images, an empty pool.
    """
    check_data(arm, data)
    guesses = {
        teacher: guess_pool(teacher, arm, data, params, replicate)
        for teacher in {setting.teacher for setting in arm.settings if isinstance(setting, PseudoLabels)}
    }
    results = []
    for setting in arm.settings:
        parts = batch_parts(arm, setting, data, params.classifier.batch_size, guesses)
        results.append(_result(arm, data, parts, fit(parts, arm, data, params, replicate), params))
    return results


def _result(
    arm: ArmParams, data: ArmData, parts: Sequence[Part], trained: Trained, params: TrainDownstreamParams
) -> ArmResult:
    return ArmResult(
        validation_score=validation_score(arm, trained, data),
        test_probabilities=predict(trained.model, data.test_images).numpy(),
        state={name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()},
        history=trained.history,
        images=dict.fromkeys(get_args(Source), 0) | {part.source: len(part.labels) for part in parts},
        steps=params.classifier.steps,
    )


def guess_pool(
    teacher: Teacher, arm: ArmParams, data: ArmData, params: TrainDownstreamParams, replicate: int
) -> PoolGuess:
    """What the teacher, who learns from the arm's labelled images alone, makes of the unlabelled pool."""
    if teacher == "ensemble":
        seen, seed = _pool_data(arm, data), derive_seeds(params.seed, replicate).initialisation
        guess = pool.teach(seen, pool.learn(seen, seed), seed)
        return PoolGuess(guess.labels.cpu(), guess.trust.cpu())
    trained = fit([_real(arm, data, params.classifier.batch_size)], arm, data, params, replicate)
    confidence, labels = predict(trained.model, data.unlabelled_images).max(dim=1)
    return PoolGuess(labels, confidence)


def _pool_data(arm: ArmParams, data: ArmData) -> GanData:
    """What the ensemble sees; validation images that the arm trains on can't choose among its members too."""
    held_out = slice(0 if arm.labels == "train_and_validation" else None)
    return GanData(
        *labelled_images(arm, data),
        data.unlabelled_images,
        data.validation_images[held_out],
        data.validation_labels[held_out],
        data.classes,
        data.flip_ok,
    )


def _real(arm: ArmParams, data: ArmData, places: int) -> Part:
    return Part("real", *labelled_images(arm, data), places)


def batch_parts(
    arm: ArmParams, setting: Setting, data: ArmData, places: int, guesses: Mapping[Teacher, PoolGuess]
) -> list[Part]:
    """What every batch of `places` images is made of; guesses are there for every teacher that a setting names."""
    if isinstance(setting, Synthetic):
        assert data.synthetic_images is not None  # by check_data
        assert data.synthetic_labels is not None
        drawn = round(setting.synthetic_share * places)
        synthetic = Part("synthetic", data.synthetic_images, data.synthetic_labels, drawn)
        return [_real(arm, data, places - drawn), synthetic] if arm.real else [synthetic]
    if isinstance(setting, PseudoLabels):
        guess, device = guesses[setting.teacher], data.unlabelled_images.device
        chosen = select_balanced(guess.labels, guess.confidence, data.classes, setting.pool_share)
        images, labels = data.unlabelled_images[chosen.to(device)], guess.labels[chosen].to(device)
        kept = max(1, round(REAL_SHARE_WITH_POOL * places))
        pool = Part("pseudo_labelled", images, labels, places - kept)
        return [_real(arm, data, kept), pool]
    return [_real(arm, data, places)]


def fit(parts: Sequence[Part], arm: ArmParams, data: ArmData, params: TrainDownstreamParams, replicate: int) -> Trained:
    """Trains on batches with a fixed number of images of each part, each part visited in the arm's own sampling."""
    seeds = derive_seeds(params.seed, replicate)
    generator = Generator().manual_seed(seeds.order)
    steps, columns, offset = params.classifier.steps, [], 0
    for part in parts:
        order = draw_order(part.labels, steps * part.places, arm.sampling, generator)
        columns.append(order.view(steps, part.places) + offset)
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


def labelled_images(arm: ArmParams, data: ArmData) -> tuple[Tensor, Tensor]:
    """The real images with labels that the arm may train on: `train`, with `validation` where the arm says so."""
    if arm.labels == "train":
        return data.train_images, data.train_labels
    return (
        torch.cat([data.train_images, data.validation_images]),
        torch.cat([data.train_labels, data.validation_labels]),
    )


def validation_score(arm: ArmParams, trained: Trained, data: ArmData) -> float | None:
    """Balanced accuracy on `validation`, on which an arm chooses; None where its labels were trained on."""
    if arm.labels == "train_and_validation":
        return None
    return balanced_accuracy(predict(trained.model, data.validation_images), data.validation_labels)


def balanced_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Mean over the classes that are there of the share predicted right (sklearn's `balanced_accuracy_score`)."""
    right = (probabilities.argmax(dim=1) == labels.cpu()).double()
    return float(torch.stack([right[labels.cpu() == label].mean() for label in labels.cpu().unique()]).mean())


def check_data(arm: ArmParams, data: ArmData) -> None:
    """Whether this replicate's images and labels can serve the arm.

    Raises:
        UserError: labels that do not fit the images, a class without real or synthetic images, an empty pool.
    """
    if arm.real:
        check_labels("train", data.train_images, data.train_labels, data.classes)
        check_every_class("train", data.train_labels, data.classes)
    check_labels("validation", data.validation_images, data.validation_labels, data.classes)
    if any(isinstance(setting, PseudoLabels) for setting in arm.settings) and not len(data.unlabelled_images):
        raise UserError(
            "pool_share needs unlabelled images, but the pool is empty: remove the arm, or let prepare set fewer "
            "images aside for other roles"
        )
    if arm.images == "data/filter_memorized":
        if data.synthetic_images is None or data.synthetic_labels is None or not len(data.synthetic_images):
            raise UserError("the arm needs synthetic images, but filter_memorized kept none: " + MORE_SYNTHETIC)
        check_labels("synthetic", data.synthetic_images, data.synthetic_labels, data.classes)
        check_every_class("synthetic", data.synthetic_labels, data.classes, hint=": " + MORE_SYNTHETIC)


def check_labels(role: str, images: Tensor, labels: Tensor, classes: int) -> None:
    """Whether there are images, and one label 0..classes-1 for each; else a UserError says what is wrong."""
    if len(images) != len(labels):
        raise UserError(f"{role}: {len(images)} images but {len(labels)} labels")
    if not len(labels):
        raise UserError(f"{role}: there are no images")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise UserError(f"{role}: labels range from {low} to {high}, allowed are 0 to {classes - 1}")


def check_every_class(role: str, labels: Tensor, classes: int, hint: str = "") -> None:
    """Whether every class has an image; else a UserError names those that have none."""
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise UserError(f"{role}: no image of class {', '.join(map(str, missing))}{hint}")
