"""Few-shot images, changed as two images of another class differ: augmentation that needs no network."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from stages.downstream.arm_data import Labelled

VERSIONS = 20  # of each few-shot image


def with_pixel_deltas(
    real: Labelled, few: Sequence[bool], share: float, seed: int, others: Labelled | None = None
) -> Labelled:
    """The labelled images, and VERSIONS changed ones of every image of a few-shot class.

    A changed one is x + share (a - b), clipped, where a and b are different images of one class with many labels, which
    is drawn anew for each.

    few: which classes are few-shot (K,); the others have two images or more. others: further classes that have, for
    their differences alone.
    """
    generator = Generator().manual_seed(seed)
    given = real if others is None or not len(others.labels) else real.beside(others)
    shots = torch.tensor(few)[real.labels].nonzero().squeeze(1).repeat(VERSIONS)
    many = [label for label in given.labels.unique().tolist() if label >= len(few) or not few[label]]
    bases = [(given.labels == label).nonzero().squeeze(1) for label in many]
    chosen = torch.randint(len(bases), (len(shots),), generator=generator).tolist()
    pairs = torch.stack([bases[i][torch.randperm(len(bases[i]), generator=generator)[:2]] for i in chosen])
    first, second = (_signed(given.images, pairs[:, side]) for side in range(2))
    changed = _signed(real.images, shots) + share * (first - second)
    images = changed.round().clamp(0, 255).to(torch.uint8)
    return replace(
        real,
        images=torch.cat([real.images, images]),
        labels=torch.cat([real.labels, real.labels[shots]]),
        of_target=torch.cat([real.of_target, real.of_target[shots]]),
    )


def _signed(images: Tensor, rows: Tensor) -> Tensor:
    return images[rows.to(images.device)].float()
