"""The networks of both players, by the kind of their layers."""

from stages.generators.convolutional import ConvolutionalGenerator, ConvolutionalTrunk
from stages.generators.dense import DenseGenerator, DenseTrunk
from stages.generators.network_config import NetworkConfig

Trunk = DenseTrunk | ConvolutionalTrunk


def build_generator(config: NetworkConfig) -> DenseGenerator | ConvolutionalGenerator:
    """An untrained generator: `Draws` to images (N, C, H, W), about [-1, 1]."""
    return DenseGenerator(config) if config.layers == "dense" else ConvolutionalGenerator(config)


def build_trunk(config: NetworkConfig) -> Trunk:
    """The untrained part of a discriminator that turns images into features."""
    return DenseTrunk(config) if config.layers == "dense" else ConvolutionalTrunk(config)
