"""The networks of both players, by the kind of their layers."""

from torch import nn

from stages.generators.convolutional import ConvolutionalGenerator, ConvolutionalTrunk
from stages.generators.dense import DenseGenerator, DenseTrunk
from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig


def build_generator(config: NetworkConfig, moments: Moments) -> nn.Module:
    """An untrained generator: latents (N, latent_dim) and labels (N,) to images (N, C, H, W), about [-1, 1].

    moments: where dense networks start from; convolutional ones don't look at them.
    """
    return DenseGenerator(config, moments) if config.layers == "dense" else ConvolutionalGenerator(config)


def build_trunk(config: NetworkConfig, moments: Moments) -> DenseTrunk | ConvolutionalTrunk:
    """The untrained part of a discriminator that turns images into features. moments: as for `build_generator`."""
    return DenseTrunk(config, moments) if config.layers == "dense" else ConvolutionalTrunk(config)
