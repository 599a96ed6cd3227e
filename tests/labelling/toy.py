"""The smallest data that teachers can learn from, and a quick classifier that learns next to nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stages.labelling import soft_labels
from stages.labelling.data import ReplicateData
from stages.labelling.learning import Course
from stages.labelling.quick_classifier import QuickClassifier, fit

CLASSES = 3


def toy_images(each: int, seed: int, side: int = 8) -> tuple[Tensor, Tensor]:
    """Three classes of grey images, uint8 (N, 1, side, side): a bright band at the top, in the middle or at the end."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(each)
    images = torch.randint(0, 60, (len(labels), 1, side, side), generator=random)
    for row, label in enumerate(labels.tolist()):
        images[row, 0, 3 * label : 3 * label + 2] += 180
    return images.to(torch.uint8), labels


def toy_masks(labels: Tensor, side: int = 8) -> Tensor:
    """A box, bool (N, 1, side, side), in all images but every third."""
    masks = torch.zeros(len(labels), 1, side, side, dtype=torch.bool)
    masks[1::3, 0, 1 : side - 2, 1 : side - 3] = True
    masks[2::3, 0, 2 : side - 1, 3 : side - 1] = True
    return masks


def with_masks(data: ReplicateData) -> ReplicateData:
    """The same data with the regions of `toy_masks`."""
    labels = torch.cat([data.labels, data.validation_labels])
    return replace(data, masks=toy_masks(labels, data.images.shape[-1]))


def toy_data(pool: int, validation: int = 5, side: int = 8) -> ReplicateData:
    """Five labelled images of each class, `pool` unlabelled ones and `validation` others."""
    unlabelled, _ = toy_images(pool, 1, side)
    return ReplicateData(
        *toy_images(5, 0, side), unlabelled, *toy_images(validation, 2, side), classes=CLASSES, flip_ok=False
    )


def of_two_domains(data: ReplicateData) -> ReplicateData:
    """The same data with all labels, where validation images and pool are of a target domain."""
    return replace(data.with_all_labels(), from_source=len(data.labels))


def of_classes(data: ReplicateData, kept: int) -> ReplicateData:
    """The same data with the first classes alone."""
    labelled, validation = data.labels < kept, data.validation_labels < kept
    return replace(
        data,
        images=data.images[labelled],
        labels=data.labels[labelled],
        validation_images=data.validation_images[validation],
        validation_labels=data.validation_labels[validation],
        classes=kept,
    )


def hasty_fit(steps: int) -> Callable[..., QuickClassifier]:
    """The quick classifier's `fit`, after so few steps that it knows little."""

    def hasty(*arguments: Any, **keywords: Any) -> QuickClassifier:
        return fit(*arguments, **(keywords | {"steps": steps, "batch_size": 8}))

    return hasty


def taught_for(steps: int) -> Course:
    """How a teacher's classifiers learn, but for so many steps of few images."""
    return replace(soft_labels.COURSE, steps=steps, batch_size=16)
