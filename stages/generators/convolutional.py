"""Convolutional networks for images of 8 to 128 pixels, in the manner of DCGAN (Radford et al. 2016).

The maps start at 4 to 7 pixels and double until they cover the image; what they have too much is cut off around it.
Where the maps double, the channels halve, so that every layer does about the same work. There is no map as large as the
image itself but the image: on a CPU, moving such maps through memory took much of the time.
"""

from itertools import pairwise
from math import ceil

from torch import Tensor, nn, tanh
from torch.nn import functional

from stages.generators.interface import Draws
from stages.generators.layers import ConditionalBatchNorm
from stages.generators.network_config import NetworkConfig

LEAST_CHANNELS = 16
LARGEST_BASE = 7  # pixels
DENSE = 4  # units of the fully connected layers, as a multiple of the channels of the smallest maps


def base_and_doublings(size: int) -> tuple[int, int]:
    """Pixels of the smallest map, and how often it doubles until it covers `size` pixels."""
    count = 1
    while ceil(size / 2**count) > LARGEST_BASE:
        count += 1
    return ceil(size / 2**count), count


def channels_by_map(width: int, doublings: int) -> list[int]:
    """Channels of each map, from the smallest to that of half the image's size."""
    return [max(LEAST_CHANNELS, width // 2**count) for count in range(doublings)]


class ConvolutionalGenerator(nn.Module):
    """Latents and labels to images (N, C, H, W) in [-1, 1]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.size = config.size
        self.base, doublings = base_and_doublings(config.size)
        widths = channels_by_map(config.width, doublings)
        # No bias before a batch norm, which would take it out again.
        self.input = nn.Linear(config.latent_dim, DENSE * config.width, bias=False)
        self.input_norm = ConditionalBatchNorm(DENSE * config.width, config.classes)
        self.place = nn.Linear(DENSE * config.width, widths[0] * self.base**2, bias=False)
        self.norms = nn.ModuleList([ConditionalBatchNorm(width, config.classes) for width in widths])
        self.doubling = nn.ModuleList([_double(*sides, bias=False) for sides in pairwise(widths)])
        self.output = _double(widths[-1], config.channels)

    def forward(self, draws: Draws) -> Tensor:
        labels = draws.labels
        hidden = functional.relu(self.input_norm(self.input(draws.latents), labels))
        hidden = self.place(hidden).unflatten(1, (-1, self.base, self.base))
        hidden = functional.relu(self.norms[0](hidden, labels))
        for double, norm in zip(self.doubling, self.norms[1:], strict=True):
            hidden = functional.relu(norm(double(hidden), labels))
        return tanh(_centre(self.output(hidden), self.size))


class ConvolutionalTrunk(nn.Module):
    """Images (N, C, H, W) in [-1, 1] to the features (N, DENSE * width) that a discriminator judges by."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.features = DENSE * config.width
        base, doublings = base_and_doublings(config.size)
        widths = [*channels_by_map(config.width, doublings), config.channels][::-1]
        surplus = base * 2**doublings - config.size
        self.margin = (surplus // 2, surplus - surplus // 2) * 2
        self.halving = nn.ModuleList(
            [config.bound(nn.Conv2d(*sides, kernel_size=4, stride=2, padding=1)) for sides in pairwise(widths)]
        )
        # Reads every place by weights of its own: small images are mostly centred, and where something lies tells much.
        self.place = config.bound(nn.Linear(widths[-1] * base**2, self.features))
        self.last = config.bound(nn.Linear(self.features, self.features))

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.pad(images, self.margin)
        for halve in self.halving:
            hidden = functional.leaky_relu(halve(hidden), 0.2)
        hidden = functional.leaky_relu(self.place(hidden.flatten(1)), 0.2)
        return functional.leaky_relu(self.last(hidden), 0.2)


def _double(inputs: int, outputs: int, bias: bool = True) -> nn.ConvTranspose2d:
    """Kernel 4 at stride 2 gives every pixel as many contributions, so no checkerboard, at less than half the work of a
    3x3 convolution on the doubled map."""
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)


def _centre(images: Tensor, size: int) -> Tensor:
    start = (images.shape[-1] - size) // 2
    return images[..., start : start + size, start : start + size]
