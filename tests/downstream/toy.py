"""What a classifier learns from, out of images and labels; and a replicate's data with changes."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from stages.downstream.arm_data import ArmData
from stages.downstream.training import Examples

CLASSES = 3
FIELDS = {"train_images": "images", "train_labels": "labels", "unlabelled_images": "unlabelled"}


def examples(images: Tensor, labels: Tensor, weights: Tensor | None = None, classes: int = CLASSES) -> Examples:
    """Examples with these labels, all of weight 1 unless others are given."""
    return Examples(images, one_hot(labels, classes).float(), torch.ones(len(labels)) if weights is None else weights)


def changed(data: ArmData, **changes: Any) -> ArmData:
    """The data with other images or labels of a role (`train_images`, ...), or other synthetic ones."""
    own = {name: changes.pop(name) for name in ("test_images", "synthetic") if name in changes}
    seen = replace(data.seen, **{FIELDS.get(name, name): value for name, value in changes.items()})
    return replace(data, seen=seen, **own)
