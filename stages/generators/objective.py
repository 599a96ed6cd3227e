"""What the two players minimise: the hinge loss, or a relativistic loss with gradient penalties.

Logits have shape (N,), any range; `real` and `fake` lie side by side, row by row of the same class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """The losses of both players, each of (real, fake): (N,), one for each pair.

    `sureness`: the mean of them, a scalar in -1..1: how sure the discriminator is of the real images it learns from.
    `generator_sees_real`: whether the generator's loss depends on the real logits. `penalty`: weight of the gradient
    penalties in the discriminator's loss, 0 for none.
    """

    discriminator: Loss
    generator: Loss
    sureness: Loss
    generator_sees_real: bool
    penalty: float


def build_objective(params: Mapping[str, Any]) -> Objective:
    """The objective that the section `objective` of a generator asks for, as plain values."""
    if params["kind"] == "hinge":
        return Objective(
            partial(hinge, margin=params["margin"]),
            fooled,
            sureness=lambda real, _fake: real.sign().mean(),
            generator_sees_real=False,
            penalty=0,
        )
    return Objective(
        relativistic,
        lambda real, fake: relativistic(fake, real),
        # Only differences of logits mean anything here: all of them may rise together.
        sureness=lambda real, fake: (real - fake).sign().mean(),
        generator_sees_real=True,
        penalty=params["gradient_penalty"],
    )


def hinge(real: Tensor, fake: Tensor, margin: float = 1.0) -> Tensor:
    """max(0, margin - D(real)) + max(0, margin + D(fake)), (N,).

    Lim and Ye, "Geometric GAN" (2017), eq. 15; Miyato et al., "Spectral Normalization for Generative Adversarial
    Networks" (2018), eq. 16; both with a margin of 1. One of 1 / k is as if each logit were k times as large, as where
    spectral norm is scaled (Lin et al., "Why Spectral Normalization Stabilizes GANs", 2021).
    """
    return torch.relu(margin - real) + torch.relu(margin + fake)


def fooled(_: Tensor, fake: Tensor) -> Tensor:
    """-D(fake), (N,), the generator's part of the hinge loss (Miyato et al. 2018, eq. 17)."""
    return -fake


def relativistic(winner: Tensor, loser: Tensor) -> Tensor:
    """log(1 + exp(-(D(winner) - D(loser)))), (N,): whether each image of a pair seems realer than its other.

    The discriminator wants the real one to win, the generator the fake (Jolicoeur-Martineau 2019; Huang et al., "The
    GAN is dead; long live the GAN!", 2024, eq. 2).
    """
    return softplus(loser - winner)


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Half the squared gradient (N,) of each logit with respect to the image (of N, C, H, W) that it was computed from.

    On real images it is R1, on fakes R2 (Mescheder et al. 2018; Huang et al. 2024, eq. 4).
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)) / 2
