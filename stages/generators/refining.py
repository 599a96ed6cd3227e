"""Convolutions that refine draws from the class Gaussians.

The Gaussian of a class gives every image its layout and colours, but its images are smeared: principal components know
no edges. A U-Net (Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015) adds
what is missing, at first nothing. So learning starts at the control `gaussian`, and spends all its steps on what a
Gaussian cannot have.
"""

from typing import Any

from torch import Tensor, nn

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.dense import GaussianGenerator
from stages.generators.interface import Draws, Plan
from stages.generators.layers import limited
from stages.generators.moments import Moments
from stages.generators.network_config import Layers, NetworkConfig
from stages.generators.unet import UNet, noise_side

BLOCKS = {"deep": 2, "middle": 1}  # residual blocks of the U-Net; where its maps are small they cost little


class RefinedGaussian(nn.Module):
    """Draws to images (N, C, H, W) about [-1, 1]: from the class's Gaussian, and what the U-Net adds.

    latents: those of the Gaussian, and behind them one number for each pixel of the U-Net's maps.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.gaussian, self.refine = GaussianGenerator(config), UNet(config, config.channels, **BLOCKS)
        self.rank = config.latent_dim
        self.noise = noise_side(config.size)

    def start_from(self, moments: Moments) -> None:
        """Takes components and Gaussians."""
        self.gaussian.start_from(moments)

    def forward(self, draws: Draws) -> Tensor:
        noise = draws.latents[:, self.rank :].unflatten(1, (1, self.noise, self.noise))
        start = self.gaussian(draws)
        return limited(start + self.refine(start, noise, draws.labels))


class RefiningGenerator(AdversarialGenerator):
    """A GAN that starts from the class Gaussians and refines what they draw; a kind states who judges."""

    network: RefinedGaussian

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.latent_dim = self.config.latent_dim + noise_side(self.config.size) ** 2

    @staticmethod
    def layers(_params: Any) -> Layers:
        return "dense"  # the Gaussians lie in principal components

    def build(self) -> tuple[nn.Module, nn.Module]:
        return RefinedGaussian(self.config), self.build_discriminator()

    def build_discriminator(self) -> nn.Module:
        """The untrained discriminator."""
        return self.Discriminator(self.config)

    def initialise(self, start: Moments | None) -> None:
        assert start is not None  # dense layers have one
        self.network.start_from(start)
