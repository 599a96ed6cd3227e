"""Convolutions that refine draws from the class Gaussians.

The Gaussian of a class gives every image its layout and colours, but its images are smeared: principal components know
no edges. A U-Net (Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015) adds
what is missing, at first nothing. So learning starts at the control `gaussian`, and spends all its steps on what a
Gaussian cannot have.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.dense import GaussianGenerator
from stages.generators.interface import Draws, Plan
from stages.generators.layers import limited
from stages.generators.moments import Moments
from stages.generators.network_config import Layers, NetworkConfig
from stages.generators.params import ConditionalParams, RefiningParams
from stages.generators.unet import UNet, noise_side
from stages.imaging.pixels import rounded
from stages.labelling.data import ReplicateData, TrustedImages

CHUNK = 1024  # images that are shrunk at a time
BLOCKS = {"deep": 2, "middle": 1}  # residual blocks of the U-Net; where its maps are small they cost little


class RefinedGaussian(nn.Module):
    """Draws to images (N, C, H, W) about [-1, 1]: from the class's Gaussian, and what the U-Net adds.

    latents: those of the Gaussian, and behind them one number for each pixel of the U-Net's maps. size: H and W. While
    it learns, it draws at the config's size; in evaluation mode it enlarges that to its own.
    """

    def __init__(self, config: NetworkConfig, size: int) -> None:
        super().__init__()
        self.size = size
        self.gaussian, self.refine = GaussianGenerator(config), UNet(config, config.channels, **BLOCKS)
        self.rank = config.latent_dim
        self.noise = noise_side(config.size)

    def start_from(self, moments: Moments) -> None:
        """Takes components and Gaussians."""
        self.gaussian.start_from(moments)

    def forward(self, draws: Draws) -> Tensor:
        noise = draws.latents[:, self.rank :].unflatten(1, (1, self.noise, self.noise))
        start = self.gaussian(draws)
        images = limited(start + self.refine(start, noise, draws.labels))
        if self.training or self.size == images.shape[-1]:
            return images
        return functional.interpolate(images, self.size, mode="bicubic")


class RefiningGenerator(AdversarialGenerator):
    """A GAN that starts from the class Gaussians and refines what they draw; a kind states who judges."""

    network: RefinedGaussian

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.latent_dim = self.config.latent_dim + noise_side(self.config.size) ** 2

    @staticmethod
    def layers(_params: Any) -> Layers:
        return "dense"  # the Gaussians lie in principal components

    @classmethod
    def learned_from(cls, _data: ReplicateData, real: TrustedImages, params: RefiningParams) -> TrustedImages:
        """The images at the size that the networks work at."""
        if real.images.shape[-1] <= params.drawn_size:
            return real
        shrunk = [rounded(_shrunk(each, params.drawn_size)) for each in real.images.split(CHUNK)]
        return replace(real, images=torch.cat(shrunk))

    @classmethod
    def study(
        cls, data: ReplicateData, real: TrustedImages, params: ConditionalParams, seed: int
    ) -> tuple[Plan, Moments | None]:
        plan, start = super().study(data, real, params, seed)
        return {**plan, "size": data.images.shape[-1]}, start

    def build(self) -> tuple[nn.Module, nn.Module]:
        return RefinedGaussian(self.config, self.plan["size"]), self.build_discriminator()

    def judge(self, images: Tensor, draws: Draws) -> Tensor:
        return super().judge(_shrunk(images, self.config.size), draws)

    def build_discriminator(self) -> nn.Module:
        """The untrained discriminator."""
        return self.Discriminator(self.config)

    def initialise(self, start: Moments | None) -> None:
        assert start is not None  # dense layers have one
        self.network.start_from(start)


def _shrunk(images: Tensor, size: int) -> Tensor:
    """Images (N, C, size, size), float32, of larger ones."""
    return functional.adaptive_avg_pool2d(images.float(), size)
