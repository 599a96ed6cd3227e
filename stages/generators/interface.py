"""What a family of GANs is to the training: how its players are built, and how they learn from one batch.

A family is a module with the three functions of `Family`, and one line in `registry.py`. A trained family draws by
calling its generator, whatever is inside; what a generator needs beside latents and labels it keeps as buffers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.objective import Objective
from stages.imaging.pixels import to_network_range
from stages.labelling.data import RealImages

# What a step returns, in this order. `sureness` is the objective's: under the hinge loss the mean sign of the real
# logits, r_t of Karras et al. 2020, eq. 1.
MEASURES = ("discriminator_loss", "generator_loss", "real_logit", "fake_logit", "sureness")


@dataclass(frozen=True)
class Batch:
    """Real images (N, C, H, W) in [-1, 1] with labels and trust (N,), and latents (N, latent_dim) for as many fakes."""

    real: Tensor
    labels: Tensor
    trust: Tensor
    latents: Tensor


@dataclass(frozen=True)
class Feed:
    """Draws the batches of one step; `augment` is what the discriminator's images go through, real and fake alike."""

    real: RealImages
    batch_size: int
    latent_dim: int
    augment: Callable[[Tensor], Tensor]
    random: torch.Generator

    def draw(self, among: Tensor | None = None) -> Batch:
        """A batch of random rows, with replacement: of all images, or of the rows `among` (M,)."""
        count, device = len(self.real.images if among is None else among), self.real.images.device
        rows = torch.randint(count, (self.batch_size,), generator=self.random, device=device)
        rows = rows if among is None else among[rows]
        return Batch(
            real=to_network_range(self.real.images[rows]),
            labels=self.real.labels[rows],
            trust=self.real.trust[rows],
            latents=torch.randn(self.batch_size, self.latent_dim, generator=self.random, device=device),
        )


@dataclass
class Players:
    """Both networks and their optimisers."""

    generator: nn.Module
    discriminator: nn.Module
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer


class Family(Protocol):
    """One kind of GAN."""

    def build(self, config: NetworkConfig, moments: Moments) -> tuple[nn.Module, nn.Module]:
        """Untrained generator (latents, labels -> images about [-1, 1]) and discriminator."""

    def step(self, players: Players, feed: Feed, objective: Objective) -> Tensor:
        """Let the discriminator, then the generator, learn from one batch; return MEASURES, shape (5,)."""

    def judge(self, discriminator: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Logits (N,), high for what seems real, of images (N, C, H, W) in [-1, 1] of these classes (N,)."""
