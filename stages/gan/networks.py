"""The networks of both players: their layers, and the range of pixels they see."""

from torch import Tensor, nn

from stages.gan.convolutional import ConvolutionalGenerator, ConvolutionalTrunk
from stages.gan.dense import DenseGenerator, DenseTrunk
from stages.gan.network_config import NetworkConfig


def build_generator(config: NetworkConfig) -> nn.Module:
    """An untrained generator: latents (N, latent_dim) and labels (N,) to images (N, C, H, W) in [-1, 1]."""
    return DenseGenerator(config) if config.layers == "dense" else ConvolutionalGenerator(config)


def build_trunk(config: NetworkConfig) -> DenseTrunk | ConvolutionalTrunk:
    """The untrained part of a discriminator that turns images into features."""
    return DenseTrunk(config) if config.layers == "dense" else ConvolutionalTrunk(config)


def to_network_range(images: Tensor) -> Tensor:
    """Turn uint8 images, 0..255, into float32 in [-1, 1]."""
    return images.float().div_(127.5).sub_(1)


def to_bytes(images: Tensor) -> Tensor:
    """Turn images in [-1, 1] into uint8, 0..255."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).byte()
