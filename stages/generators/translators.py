"""Networks that carry an image from one domain to another, and begin as the identity: what they learn is what differs.

They differ in how much of its source a pixel of the result sees, which bounds what they can change.
"""

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.interface import Draws
from stages.generators.layers import limited

GRID = 2  # the latent's map, that many numbers a side and channel, enlarged to the image: shading
SMALLEST_MAP = 4  # pixels a side at which a translator that sees the whole image stops to halve it


class Translator(nn.Module, ABC):
    """Draws to images (N, C, H, W) about [-1, 1]: the source plus a residual, which is 0 before it learns.

    Latents are `latent_dim` numbers for the image and one for each pixel's noise.
    """

    def __init__(self, channels: int, size: int, latent_dim: int, width: int) -> None:
        super().__init__()
        self.size, self.latent_dim = size, latent_dim
        self.input = _convolution(channels + 1, width)
        self.output = _convolution(width, channels)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, draws: Draws) -> Tensor:
        assert draws.sources is not None  # kinds that start from the other domain get them
        latents, noise = draws.latents.split([self.latent_dim, self.size**2], dim=1)
        seen = torch.cat([draws.sources, noise.unflatten(1, (1, self.size, self.size))], dim=1)
        images = draws.sources + self.output(self.changed(self.input(seen), latents))
        return limited(images)

    @abstractmethod
    def changed(self, hidden: Tensor, latents: Tensor) -> Tensor:
        """Maps (N, width, H, W) from such maps, which 3 x 3 pixels went into, and latents (N, latent_dim)."""


class LocalTranslator(Translator):
    """Sees 5 x 5 pixels: changes tones, sharpness, noise and shading, and cannot redraw what an image shows."""

    def __init__(self, channels: int, size: int, latent_dim: int, width: int) -> None:
        super().__init__(channels, size, latent_dim, width)
        self.shading = nn.Linear(latent_dim, width * GRID**2)
        self.mixing = nn.Conv2d(width, width, 1)

    def changed(self, hidden: Tensor, latents: Tensor) -> Tensor:
        shading = self.shading(latents).unflatten(1, (-1, GRID, GRID))
        hidden = _leaky(hidden + functional.interpolate(shading, self.size, mode="bilinear"))
        return hidden + _leaky(self.mixing(hidden))


class DeepTranslator(Translator):
    """A U-Net (Ronneberger et al. 2015) with sums for joints: it halves the image once, and then sees at most 15 x 15
    pixels, or until it sees all of it."""

    def __init__(self, channels: int, size: int, latent_dim: int, width: int, whole: bool) -> None:
        super().__init__(channels, size, latent_dim, width)
        sides = [size, -(-size // 2)]
        while whole and sides[-1] > SMALLEST_MAP:
            sides.append(-(-sides[-1] // 2))
        widths = [width, *[2 * width] * (len(sides) - 1)]
        self.halving = nn.ModuleList(_convolution(*pair, stride=2) for pair in pairwise(widths))
        self.doubling = nn.ModuleList(
            nn.ConvTranspose2d(below, here, 4, stride=2, padding=1) for here, below in pairwise(widths)
        )
        self.shading = nn.Linear(latent_dim, 2 * width * GRID**2)
        self.middle = _convolution(2 * width, 2 * width)
        self.everywhere = nn.Linear(2 * width * sides[-1] ** 2, 2 * width * sides[-1] ** 2) if whole else None

    def changed(self, hidden: Tensor, latents: Tensor) -> Tensor:
        passed = [hidden]
        for halve in self.halving:
            passed.append(halve(_leaky(passed[-1])))
        lowest = passed.pop()
        shading = self.shading(latents).unflatten(1, (-1, GRID, GRID))
        hidden = _leaky(lowest + functional.interpolate(shading, lowest.shape[-1], mode="bilinear"))
        hidden = hidden + self.middle(hidden)
        if self.everywhere is not None:
            hidden = hidden + self.everywhere(hidden.flatten(1)).view_as(hidden)
        for double, beside in zip(reversed(self.doubling), reversed(passed), strict=True):
            rows, columns = beside.shape[2:]
            hidden = beside + double(_leaky(hidden))[..., :rows, :columns]
        return _leaky(hidden)


def build_translator(reach: str, channels: int, size: int, latent_dim: int, width: int) -> Translator:
    """The untrained translator of a `range`: local, regional or global."""
    if reach == "local":
        return LocalTranslator(channels, size, latent_dim, width)
    return DeepTranslator(channels, size, latent_dim, width, whole=reach == "global")


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="replicate")


def _leaky(hidden: Tensor) -> Tensor:
    return functional.leaky_relu(hidden, 0.2)
