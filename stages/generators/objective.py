"""What the two players minimise: the hinge loss, or a relativistic loss with gradient penalties.

Logits have shape (N,), any range; `real` and `fake` lie side by side, row by row of the same class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from stages.generators.params import HingeParams, RelativisticParams

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """The losses of both players, each of (real, fake).

    `sureness`: also of (real, fake), -1..1: how sure the discriminator is of the real images it learns from.
    `generator_sees_real`: whether the generator's loss depends on the real logits. `penalty`: weight of the gradient
    penalties in the discriminator's loss, 0 for none. `spectral`: whether the discriminator needs spectral norm.
    """

    discriminator: Loss
    generator: Loss
    sureness: Loss
    generator_sees_real: bool
    penalty: float
    spectral: bool


def build_objective(params: HingeParams | RelativisticParams) -> Objective:
    """The objective that params ask for."""
    if isinstance(params, HingeParams):
        return Objective(
            hinge,
            fooled,
            sureness=lambda real, _fake: real.sign().mean(),
            generator_sees_real=False,
            penalty=0,
            spectral=True,
        )
    return Objective(
        relativistic,
        lambda real, fake: relativistic(fake, real),
        # Only differences of logits mean anything here: all of them may rise together.
        sureness=lambda real, fake: (real - fake).sign().mean(),
        generator_sees_real=True,
        penalty=params.gradient_penalty,
        spectral=False,
    )


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Mean of max(0, 1 - D(real)) plus mean of max(0, 1 + D(fake)).

    Lim and Ye, "Geometric GAN" (2017), eq. 15; Miyato et al., "Spectral Normalization for Generative Adversarial
    Networks" (2018), eq. 16.
    """
    return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()


def fooled(_: Tensor, fake: Tensor) -> Tensor:
    """Mean of -D(fake), the generator's part of the hinge loss (Miyato et al. 2018, eq. 17)."""
    return -fake.mean()


def relativistic(winner: Tensor, loser: Tensor) -> Tensor:
    """Mean of log(1 + exp(-(D(winner) - D(loser)))): whether each image of a pair seems realer than its other.

    The discriminator wants the real one to win, the generator the fake (Jolicoeur-Martineau 2019; Huang et al., "The
    GAN is dead; long live the GAN!", 2024, eq. 2).
    """
    return softplus(loser - winner).mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Half the mean squared gradient of the logits with respect to images (N, C, H, W) that they were computed from.

    On real images it is R1, on fakes R2 (Mescheder et al. 2018; Huang et al. 2024, eq. 4).
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2
