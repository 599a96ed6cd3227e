"""What is noted of an image is a function of the image alone, and says what it claims."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.gan import toy
from torch import nn

from stages.generators.network_config import NetworkConfig
from stages.generators.registry import FAMILIES
from stages.generators.sampling import BATCH, Samples, draw_latents, generate
from stages.generators.scoring import load_discriminator, score
from stages.imaging.pixels import to_network_range
from tests.generators.toy import random_moments


@pytest.fixture(params=sorted(FAMILIES))
def config(request: pytest.FixtureRequest) -> NetworkConfig:
    return replace(toy.CONFIG, family=request.param, latent_dim=16)


@pytest.fixture
def players(config: NetworkConfig) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator, discriminator = FAMILIES[config.family].build(config, random_moments(config))
    # A fresh projection is zero in places: let the discriminator tell images apart.
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return generator.eval(), discriminator.eval()


def drawn(generator: nn.Module, config: NetworkConfig, counts: list[int]) -> Samples:
    (samples,) = generate(generator, config, list(map(range, counts)), seed=0, replicate=0, truncation=0.5)
    return samples


def rows(samples: Samples, chosen: slice) -> Samples:
    return Samples(samples.images[chosen], samples.labels[chosen], samples.index[chosen], samples.seeds[chosen])


def test_scores_are_the_discriminators_and_the_latents(
    config: NetworkConfig, players: tuple[nn.Module, nn.Module]
) -> None:
    samples = drawn(players[0], config, [5, 3, 4])
    scores = score(players[1], config, samples)
    images, labels = to_network_range(torch.from_numpy(samples.images)), torch.from_numpy(samples.labels)
    with torch.no_grad():
        expected = FAMILIES[config.family].judge(players[1], images, labels).numpy()
    np.testing.assert_allclose(scores.realness, expected, rtol=1e-4, atol=1e-5)
    assert scores.realness.std() > 0
    np.testing.assert_allclose(scores.latent_norm, draw_latents(samples.seeds, 16).norm(dim=1), rtol=1e-6)


def test_an_images_score_does_not_depend_on_how_many_there_are(
    config: NetworkConfig, players: tuple[nn.Module, nn.Module]
) -> None:
    samples = drawn(players[0], config, [BATCH + 9, 0, 0])
    together, alone = (score(players[1], config, each) for each in (samples, rows(samples, slice(0, 3))))
    np.testing.assert_array_equal(together.realness[:3], alone.realness)
    assert len(together.realness) == BATCH + 9


def test_a_discriminator_is_rebuilt_from_its_tensors(
    config: NetworkConfig, players: tuple[nn.Module, nn.Module]
) -> None:
    samples = drawn(players[0], config, [4, 4, 4])
    rebuilt = load_discriminator(players[1].state_dict(), config)
    assert not rebuilt.training
    np.testing.assert_array_equal(score(rebuilt, config, samples).realness, score(players[1], config, samples).realness)
