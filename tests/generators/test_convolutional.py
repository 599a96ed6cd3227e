"""The maps of the convolutional networks cover an image of any size, evenly and in the same place."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.convolutional import (
    LARGEST_BASE,
    LEAST_CHANNELS,
    ConvolutionalGenerator,
    ConvolutionalTrunk,
    base_and_doublings,
    channels_by_map,
)
from stages.generators.network_config import NetworkConfig
from tests.generators.toy import some_draws


def config(size: int) -> NetworkConfig:
    return NetworkConfig("convolutional", 2, 1, size, latent_dim=5, width=16, components=0, spectral=False)


@given(st.integers(8, 128))
def test_maps_cover_the_image_by_the_fewest_doublings(size: int) -> None:
    base, doublings = base_and_doublings(size)
    assert 4 <= base <= LARGEST_BASE
    assert (base - 1) * 2**doublings < size <= base * 2**doublings
    assert doublings == 1 or size > LARGEST_BASE * 2 ** (doublings - 1)


@given(st.integers(8, 4096), st.integers(1, 5))
def test_channels_halve_down_to_the_fewest(width: int, doublings: int) -> None:
    channels = channels_by_map(width, doublings)
    assert len(channels) == doublings
    assert channels[0] == max(width, LEAST_CHANNELS)
    for above, below in pairwise(channels):
        assert below == max(above // 2, LEAST_CHANNELS)


@pytest.mark.parametrize("size", [9, 20, 47])
def test_what_the_generator_cuts_off_is_what_the_discriminator_puts_around(size: int) -> None:
    generator, margin = ConvolutionalGenerator(config(size)), ConvolutionalTrunk(config(size)).margin
    maps: list[Tensor] = []
    generator.output.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    images = generator(some_draws(torch.arange(4) % 2, torch.randn(4, 5)))
    assert torch.equal(images, functional.pad(maps[0], [-edge for edge in margin]).tanh())
    assert abs(margin[0] - margin[1]) <= 1, "the image lies in the middle"


def test_doubling_gives_every_pixel_as_many_contributions() -> None:
    output = ConvolutionalGenerator(config(16)).output
    nn.init.ones_(output.weight)
    inside = output(torch.ones(1, output.in_channels, 8, 8))[..., 1:-1, 1:-1]
    assert torch.equal(inside, inside[..., :1, :1].expand_as(inside))
