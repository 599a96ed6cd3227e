"""The networks of both players, by the kind of their layers."""

from torch import nn

from stages.gan.convolutional import ConvolutionalGenerator, ConvolutionalTrunk
from stages.gan.dense import DenseGenerator, DenseTrunk
from stages.gan.network_config import NetworkConfig


def build_generator(config: NetworkConfig) -> nn.Module:
    """An untrained generator: latents (N, latent_dim) and labels (N,) to images (N, C, H, W) in [-1, 1]."""
    return DenseGenerator(config) if config.layers == "dense" else ConvolutionalGenerator(config)


def build_trunk(config: NetworkConfig) -> DenseTrunk | ConvolutionalTrunk:
    """The untrained part of a discriminator that turns images into features."""
    return DenseTrunk(config) if config.layers == "dense" else ConvolutionalTrunk(config)
