"""Two classes that are easy to tell apart, as benchmarks take them."""

import torch
from torch import Tensor

from benchmarks import parameters
from benchmarks.gan_sets import GanSet
from stages.labelling import pool
from stages.labelling.data import ReplicateData


def make_data(per_class: int = 40, channels: int = 1, side: int = 8, pool: int = 0, seed: int = 0) -> ReplicateData:
    """Two classes, dark above light and light above dark, with a brightness of its own for each image and half.

    All else is empty but a pool of the second class alone.
    """
    random = torch.Generator().manual_seed(seed)

    def draw(labels: Tensor) -> Tensor:
        dark, light = torch.randint(20, 60, (2, len(labels), 1, 1, 1), generator=random)
        upper = torch.arange(side).view(1, 1, side, 1) < side // 2
        bright = upper == labels.view(-1, 1, 1, 1).bool()
        return torch.where(bright, 255 - light, dark).expand(-1, channels, side, side).to(torch.uint8)

    labels = torch.tensor([0, 1]).repeat_interleave(per_class)
    nothing, no_label = torch.empty(0, channels, side, side, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
    return ReplicateData(
        images=draw(labels),
        labels=labels,
        unlabelled=draw(torch.ones(pool, dtype=torch.int64)),
        validation_images=nothing,
        validation_labels=no_label,
        classes=2,
        flip_ok=True,
    )


def make_set() -> GanSet:
    """Images to learn from, others that set the filter's threshold, and others to test on; a classifier learns fast."""
    data, calibration, test = (make_data(seed=seed) for seed in range(3))
    random = torch.Generator().manual_seed(0)
    for each in (data, calibration, test):
        # without noise all images of a class would look alike to the filter
        each.images.add_(torch.randint(20, each.images.shape, generator=random, dtype=torch.uint8))
    few_steps = {"train_downstream.classifier.steps": 30, "train_gan.generators.gan.steps": 20}
    return GanSet(
        name="halves",
        data=data,
        guessed=pool.teach(data, 0),
        calibration_images=calibration.images,
        test_images=test.images,
        test_labels=test.labels,
        params=parameters.load(few_steps),
    )
