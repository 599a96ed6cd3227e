"""A GAN of its own for every class, as in the study of liver lesions by Frid-Adar et al. (2018).

The classes share nothing but the components in which dense networks start and the covariances they borrow: what one
learns helps no other. It is here because the medical literature uses it.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from stages.generators.adversarial import adversarial_step
from stages.generators.adversarial import judge as judge_class
from stages.generators.interface import Feed, Players
from stages.generators.kinds.projection import ProjectionDiscriminator
from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.networks import build_generator
from stages.generators.objective import Objective

LEAST_TRUST = 0.5  # an unlabelled image joins the class that it more likely than not belongs to


class PerClassGenerator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) to images (N, C, H, W) in [-1, 1], each by its class's network."""

    def __init__(self, config: NetworkConfig, moments: Moments) -> None:
        super().__init__()
        self.shape = config.image_shape
        alone = replace(config, classes=1)
        self.networks = nn.ModuleList(
            [build_generator(alone, moments.of_class(label)) for label in range(config.classes)]
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        images = latents.new_empty(len(latents), *self.shape)
        for label in labels.unique().tolist():
            rows = labels == label
            images[rows] = self.networks[label](latents[rows], torch.zeros_like(labels[rows])).to(images.dtype)
        return images


class PerClassDiscriminator(nn.Module):
    """One unconditional discriminator for each class."""

    def __init__(self, config: NetworkConfig, moments: Moments) -> None:
        super().__init__()
        alone = replace(config, classes=1)
        self.networks = nn.ModuleList(
            [ProjectionDiscriminator(alone, moments.of_class(label)) for label in range(config.classes)]
        )


def build(config: NetworkConfig, moments: Moments) -> tuple[nn.Module, nn.Module]:
    """Untrained generator and discriminator."""
    return PerClassGenerator(config, moments), PerClassDiscriminator(config, moments)


def judge(discriminator: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Logits (N,) of images (N, C, H, W) in [-1, 1], each by the discriminator of its class (N,)."""
    logits = images.new_empty(len(images))
    for label in labels.unique().tolist():
        rows = labels == label
        of_class = discriminator.get_submodule(f"networks.{label}")
        logits[rows] = judge_class(of_class, images[rows], torch.zeros_like(labels[rows]))
    return logits


def step(players: Players, feed: Feed, objective: Objective) -> Tensor:
    """Let the players of one class, drawn at random, learn from one batch of it; MEASURES (5,)."""
    labels, trust, random = feed.real.labels, feed.real.trust, feed.random
    present = labels[trust >= LEAST_TRUST].unique()
    label = int(present[torch.randint(len(present), (1,), generator=random, device=labels.device)])
    batch = feed.draw(((labels == label) & (trust >= LEAST_TRUST)).nonzero().squeeze(1))
    # Labels of 0 and no trust: a projection that is not looked at leaves an unconditional discriminator.
    batch = replace(batch, labels=torch.zeros_like(batch.labels), trust=torch.zeros_like(batch.trust))
    of_class = replace(
        players,
        generator=players.generator.get_submodule(f"networks.{label}"),
        discriminator=players.discriminator.get_submodule(f"networks.{label}"),
    )
    return adversarial_step(of_class, batch, feed, objective)
