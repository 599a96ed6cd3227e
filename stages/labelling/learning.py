"""How small classifiers learn from images whose labels are trusted more or less, whatever their network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.imaging.pixels import to_network_range
from stages.labelling.data import TrustedImages

WARM_UP = 0.2  # share of the steps
LABEL_SMOOTHING = 0.1
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Course:
    """How long a classifier learns, and how fast. learning_rate: the highest."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float


def learn(
    build: Callable[[], Network],
    real: TrustedImages,
    seen: Callable[[Tensor, Generator], Tensor],
    course: Course,
    seed: int,
) -> Network:
    """The network that `build` makes, once it has learned to name the images' classes, in evaluation mode.

    AdamW with a one-cycle learning rate (Smith and Topin, "Super-Convergence", 2018) and label smoothing. All classes
    that have an image are drawn equally often, and their images with equal chances. Trust scales an image's loss; at
    least one image has some.

    seen: what the network sees of a batch float32 (N, C, H, W) in [-1, 1], and with which random numbers. seed: decides
    the first weights, the order and the random numbers.
    """
    images, labels, trust = real.images, real.labels, real.trust
    first_weights, order, augmentation = np.random.SeedSequence(seed).generate_state(3).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first_weights)  # modules draw their first weights from the global generator alone
        model = build().to(images.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=course.learning_rate, weight_decay=course.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, course.learning_rate, total_steps=course.steps + 1, pct_start=WARM_UP
    )
    generator = Generator(images.device).manual_seed(augmentation)
    drawn = _draw_balanced(labels, trust, course.steps * course.batch_size, order).to(images.device)

    for rows in drawn.split(course.batch_size):
        logits = model(seen(to_network_range(images[rows]), generator))
        losses = functional.cross_entropy(logits, labels[rows], label_smoothing=LABEL_SMOOTHING, reduction="none")
        optimizer.zero_grad()
        (losses * trust[rows]).mean().backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _draw_balanced(labels: Tensor, trust: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` rows of images that are trusted at all, all classes alike; int64, on the CPU.

    An image of no trust would still teach through batch norm. Drawn on the CPU, the rows are the same on any device.
    """
    usable = trust.cpu().nonzero().squeeze(1)
    own = labels.cpu()[usable]
    chances = 1 / own.bincount()[own]
    return usable[torch.multinomial(chances, count, replacement=True, generator=Generator().manual_seed(seed))]
