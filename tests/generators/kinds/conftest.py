"""Small players, and random images for them to learn from."""

from collections.abc import Callable

import pytest
import torch
from torch.optim import SGD

from stages.generators.interface import Feed, Players
from stages.generators.network_config import NetworkConfig
from stages.generators.registry import FAMILIES
from stages.labelling.data import RealImages
from tests.generators.toy import random_moments

MakePlayers = Callable[..., Players]


@pytest.fixture
def config() -> NetworkConfig:
    return NetworkConfig(
        "projection", "dense", classes=3, channels=1, size=8, latent_dim=6, width=12, components=16, spectral=False
    )


@pytest.fixture
def make_players() -> MakePlayers:
    """Players of a family, the same each time; plain gradient descent, so that every step can be told by hand."""

    def make(config: NetworkConfig, generator_rate: float = 0.1, discriminator_rate: float = 0.1) -> Players:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            generator, discriminator = FAMILIES[config.family].build(config, random_moments(config))
        return Players(
            generator,
            discriminator,
            SGD(generator.parameters(), lr=generator_rate),
            SGD(discriminator.parameters(), lr=discriminator_rate),
        )

    return make


@pytest.fixture
def real(config: NetworkConfig) -> RealImages:
    """30 random images of each class in turn, every other one with a given label, the rest less and less trusted."""
    random = torch.Generator().manual_seed(0)
    trust = torch.linspace(1, 0, 30)
    trust[::2] = 1
    return RealImages(
        images=torch.randint(256, (30, *config.image_shape), generator=random, dtype=torch.uint8),
        labels=torch.arange(30) % config.classes,
        trust=trust,
    )


@pytest.fixture
def feed(real: RealImages, config: NetworkConfig) -> Feed:
    """Batches of 12, not augmented."""
    return Feed(real, 12, config.latent_dim, lambda images: images, torch.Generator().manual_seed(1))
