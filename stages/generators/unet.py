"""A small U-Net (Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.layers import ConditionalBatchNorm
from stages.generators.network_config import NetworkConfig

LARGEST_MAP = 32  # pixels a side; of larger images, each map's pixel stands for a block of theirs
FINE = 8  # maps of such images' own size, from which their pixels are made
HALVINGS = 2
GRID = 2  # numbers a side of a coarse map


def block_side(size: int) -> int:
    """Pixels a side of the blocks that images of `size` pixels are cut into for the U-Net: 1 up to 32 pixels."""
    return -(-size // LARGEST_MAP)


def noise_side(size: int) -> int:
    """Pixels a side of the noise map for images of `size` pixels."""
    block = block_side(size)
    return -(-size // (block * 2**HALVINGS)) * 2**HALVINGS


class CoarseMap(nn.Module):
    """Latents (N, inputs) to maps (N, 1, size, size) that change slowly: what a whole image is drawn from."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.numbers = nn.Linear(inputs, GRID**2)

    def forward(self, latents: Tensor, size: int) -> Tensor:
        return functional.interpolate(self.numbers(latents).unflatten(1, (1, GRID, GRID)), size, mode="bilinear")


class ResidualBlock(nn.Module):
    """Maps (N, F, H, W), and what two convolutions add to them, each behind a norm of the class's own.

    He et al., "Identity Mappings in Deep Residual Networks", 2016; with classes as in Brock et al., "Large Scale GAN
    Training for High Fidelity Natural Image Synthesis", 2019.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(ConditionalBatchNorm(width, classes) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        added = maps
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            added = convolution(_leaky(norm(added, labels)))
        return maps + added


class UNet(nn.Module):
    """Images (N, I, H, W), one noise map and labels to maps (N, C, H, W), which are 0 before it learns.

    inputs: I, what goes in for each pixel. C is the config's `channels`. deep, middle: residual blocks where the maps
    are smallest, and where they are twice as large.
    """

    def __init__(self, config: NetworkConfig, inputs: int, deep: int = 0, middle: int = 0) -> None:
        super().__init__()
        width, classes = config.width, config.classes
        self.block = block_side(config.size)
        self.input = nn.Conv2d(inputs * self.block**2 + 1, width, 3, padding=1)
        self.down = nn.ModuleList([_halve(width, 2 * width), _halve(2 * width, 4 * width)])
        self.bottom = nn.Conv2d(4 * width, 4 * width, 3, padding=1, bias=False)
        self.deep = nn.ModuleList(ResidualBlock(4 * width, classes) for _ in range(deep))
        self.middle = nn.ModuleList(ResidualBlock(2 * width, classes) for _ in range(middle))
        self.up = nn.ModuleList([_double(4 * width, 2 * width), _double(4 * width, width)])
        self.norms = nn.ModuleList(ConditionalBatchNorm(times * width, classes) for times in (2, 4, 4, 2, 1))
        self.last = nn.Conv2d(2 * width, width, 3, padding=1)
        # Pixels of a block have weights of their own; a last layer that is the same for all keeps blocks from showing.
        self.unfold = nn.Conv2d(width, FINE * self.block**2, 3, padding=1) if self.block > 1 else None
        self.output = nn.Conv2d(width if self.unfold is None else FINE, config.channels, 3, padding=1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, images: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        maps, size = self.cut(images), images.shape[-1]
        first = _leaky(self.input(torch.cat([maps, noise], dim=1)))
        second = _leaky(self.norms[0](self.down[0](first), labels))
        third = _leaky(self.norms[1](self.down[1](second), labels))
        third = third + _leaky(self.norms[2](self.bottom(third), labels))
        for block in self.deep:
            third = block(third, labels)
        hidden = _leaky(self.norms[3](self.up[0](third), labels))
        for block in self.middle:
            hidden = block(hidden, labels)
        hidden = _leaky(self.norms[4](self.up[1](torch.cat([hidden, second], dim=1)), labels))
        hidden = _leaky(self.last(torch.cat([hidden, first], dim=1)))
        if self.unfold is not None:
            hidden = _leaky(functional.pixel_shuffle(self.unfold(hidden), self.block))
        return self.output(hidden)[..., :size, :size]

    def cut(self, images: Tensor) -> Tensor:
        """Maps whose sides can be halved, of images (N, C, H, W): blocks of pixels as channels, the edge repeated."""
        missing = -images.shape[-1] % (self.block * 2**HALVINGS)
        padded = functional.pad(images, (0, missing, 0, missing), mode="replicate") if missing else images
        return functional.pixel_unshuffle(padded, self.block)


def _halve(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)


def _leaky(hidden: Tensor) -> Tensor:
    return functional.leaky_relu(hidden, 0.2)
