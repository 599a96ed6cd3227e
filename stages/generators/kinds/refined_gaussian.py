"""Convolutions that refine draws from the class Gaussians.

The Gaussian of a class gives every image its layout and colours, but its images are smeared: principal components know
no edges. A U-Net (Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015) adds
what is missing, at first nothing. So learning starts at the control `gaussian`, and spends all its steps on what a
Gaussian cannot have. Two judges share their first layers: one sees patches (Isola et al., "Image-to-Image Translation
with Conditional Adversarial Networks", 2017, section 3.2.2), the other the whole image; both compare image and class by
projection (Miyato and Koyama 2018, eq. 5).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.adversarial import AdversarialGenerator, ConditionalDiscriminator
from stages.generators.dense import GaussianGenerator
from stages.generators.interface import Draws, Plan
from stages.generators.layers import ConditionalBatchNorm, limited
from stages.generators.moments import Moments
from stages.generators.network_config import Layers, NetworkConfig

LARGEST_MAP = 32  # pixels a side; of larger images, each map's pixel stands for a block of theirs
HALVINGS = 2
WHOLE_SIDE = 8  # pixels of the maps, at most, that the judge of the whole image reads
WHOLE_FEATURES = 128


def block_side(size: int) -> int:
    """Pixels a side of the blocks that images of `size` pixels are cut into for the U-Net: 1 up to 32 pixels."""
    return -(-size // LARGEST_MAP)


class UNet(nn.Module):
    """Images (N, C, H, W), one noise map and labels to a residual (N, C, H, W), which is 0 before it learns."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, classes = config.width, config.classes
        self.block = block_side(config.size)
        pixels = config.channels * self.block**2
        self.input = nn.Conv2d(pixels + 1, width, 3, padding=1)
        self.down = nn.ModuleList([_halve(width, 2 * width), _halve(2 * width, 4 * width)])
        self.bottom = nn.Conv2d(4 * width, 4 * width, 3, padding=1, bias=False)
        self.up = nn.ModuleList([_double(4 * width, 2 * width), _double(4 * width, width)])
        self.norms = nn.ModuleList(ConditionalBatchNorm(times * width, classes) for times in (2, 4, 4, 2, 1))
        self.last = nn.Conv2d(2 * width, width, 3, padding=1)
        self.output = nn.Conv2d(width, pixels, 3, padding=1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        maps, size = self.cut(images), images.shape[-1]
        first = _leaky(self.input(torch.cat([maps, noise], dim=1)))
        second = _leaky(self.norms[0](self.down[0](first), labels))
        third = _leaky(self.norms[1](self.down[1](second), labels))
        third = third + _leaky(self.norms[2](self.bottom(third), labels))
        hidden = _leaky(self.norms[3](self.up[0](third), labels))
        hidden = _leaky(self.norms[4](self.up[1](torch.cat([hidden, second], dim=1)), labels))
        hidden = _leaky(self.last(torch.cat([hidden, first], dim=1)))
        return functional.pixel_shuffle(self.output(hidden), self.block)[..., :size, :size]

    def cut(self, images: Tensor) -> Tensor:
        """Maps whose sides can be halved, of images (N, C, H, W): blocks of pixels as channels, the edge repeated."""
        missing = -images.shape[-1] % (self.block * 2**HALVINGS)
        padded = functional.pad(images, (0, missing, 0, missing), mode="replicate") if missing else images
        return functional.pixel_unshuffle(padded, self.block)


class RefinedGaussian(nn.Module):
    """Draws to images (N, C, H, W) about [-1, 1]: from the class's Gaussian, and what the U-Net adds.

    latents: those of the Gaussian, and behind them one number for each pixel of the U-Net's maps.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.gaussian, self.refine = GaussianGenerator(config), UNet(config)
        self.rank = config.latent_dim
        self.noise = noise_side(config.size)

    def start_from(self, moments: Moments) -> None:
        """Takes components and Gaussians."""
        self.gaussian.start_from(moments)

    def forward(self, draws: Draws) -> Tensor:
        noise = draws.latents[:, self.rank :].unflatten(1, (1, self.noise, self.noise))
        start = self.gaussian(draws)
        return limited(start + self.refine(start, noise, draws.labels))


def noise_side(size: int) -> int:
    """Pixels a side of the noise map for images of `size` pixels."""
    block = block_side(size)
    return -(-size // (block * 2**HALVINGS)) * 2**HALVINGS


class TwoJudges(ConditionalDiscriminator):
    """A row of logits for each image: the first judges the whole, the others patches."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        bound, width, classes = config.bound, config.width, config.classes
        self.trunk = nn.Sequential(
            bound(_halve(config.channels, 2 * width, bias=True)),
            nn.LeakyReLU(0.2),
            bound(_halve(2 * width, 4 * width, bias=True)),
            nn.LeakyReLU(0.2),
        )
        self.patch = nn.Sequential(bound(nn.Conv2d(4 * width, 4 * width, 3, padding=1)), nn.LeakyReLU(0.2))
        self.patch_psi = bound(nn.Conv2d(4 * width, 1, 1))
        self.patch_embed = bound(nn.Embedding(classes, 4 * width))
        side, deeper = config.size // 2 // 2, list[nn.Module]()
        while side > WHOLE_SIDE:
            deeper += [bound(_halve(4 * width, 4 * width, bias=True)), nn.LeakyReLU(0.2)]
            side //= 2
        self.whole = nn.Sequential(
            *deeper, nn.Flatten(), bound(nn.Linear(4 * width * side**2, WHOLE_FEATURES)), nn.LeakyReLU(0.2)
        )
        self.psi = bound(nn.Linear(WHOLE_FEATURES, 1))
        self.embed = bound(nn.Embedding(classes, WHOLE_FEATURES))

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N, 1 + patches) from maps (N, F, h, w), labels (N,) and trust (N,)."""
        patches, whole, trust = self.patch(features), self.whole(features), trust.unsqueeze(1)
        local = self.patch_psi(patches).squeeze(1)
        local = local + torch.einsum("nfhw,nf->nhw", patches, trust * self.patch_embed(labels))
        everywhere = self.psi(whole) + (trust * self.embed(labels) * whole).sum(dim=1, keepdim=True)
        return torch.cat([everywhere, local.flatten(1)], dim=1)

    def together(self, values: Tensor) -> Tensor:
        """The whole image's value and the mean of its patches'."""
        return values[:, 0] + values[:, 1:].mean(dim=1)


class Kind(AdversarialGenerator):
    """A GAN that starts from the class Gaussians and refines what they draw."""

    Discriminator = TwoJudges
    network: RefinedGaussian

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.latent_dim = self.config.latent_dim + noise_side(self.config.size) ** 2

    @staticmethod
    def layers(_params: Any) -> Layers:
        return "dense"  # the Gaussians lie in principal components

    def build(self) -> tuple[nn.Module, nn.Module]:
        return RefinedGaussian(self.config), TwoJudges(self.config)

    def initialise(self, start: Moments | None) -> None:
        assert start is not None  # dense layers have one
        self.network.start_from(start)


def _halve(inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _leaky(hidden: Tensor) -> Tensor:
    return functional.leaky_relu(hidden, 0.2)
