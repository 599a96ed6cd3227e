"""Missing pixels drawn as GAIN does (Yoon, Jordon and van der Schaar, "GAIN: Missing Data Imputation using Generative
Adversarial Nets", ICML 2018).

A generator fills what is missing, a discriminator says of every pixel whether it was observed, and a hint tells it of
most pixels, so that it learns from those it is not told of. The generator is held to what is observed besides (eq. 3 to
6, algorithm 1). Beyond the paper, some observed pixels are hidden from it in each step and it is held to them all the
same: held to what it is shown alone it learns nothing of what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.network_config import NetworkConfig
from stages.generators.unet import UNet, noise_side
from stages.imaging.networks import BATCH, moving_average
from stages.imaging.pixels import to_bytes, to_network_range
from stages.plumbing.errors import UserError

LARGEST_DENSE = 1024  # numbers in an image whose networks are fully connected
DENSE_WIDTH, MAPS = 256, 16
LEARNING_RATE, EMA_DECAY = 1e-3, 0.995
BETAS = (0.5, 0.999)
HINT = 0.9  # share of the pixels that the discriminator is told of; the paper's
HIDDEN = 0.3  # share of the observed pixels that are hidden in a step
RECONSTRUCTION = 1000.0  # weight of the squared error on observed pixels, hidden ones too (alpha in the paper)


@dataclass(frozen=True)
class Incomplete:
    """Images uint8 (N, C, H, W) of one size, and which of their pixels are missing, bool (N, 1, H, W)."""

    images: Tensor
    missing: Tensor

    def __len__(self) -> int:
        return len(self.images)


class DenseFiller(nn.Module):
    """Maps (N, inputs, H, W) to (N, outputs, H, W), fully connected."""

    def __init__(self, inputs: int, outputs: int, height: int, width: int) -> None:
        super().__init__()
        self.shape = outputs, height, width
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs * height * width, DENSE_WIDTH),
            nn.LeakyReLU(0.2),
            nn.Linear(DENSE_WIDTH, DENSE_WIDTH),
            nn.LeakyReLU(0.2),
            nn.Linear(DENSE_WIDTH, outputs * height * width),
        )

    def forward(self, maps: Tensor) -> Tensor:
        filled: Tensor = self.layers(maps)
        return filled.unflatten(1, self.shape)


class ConvolutionalFiller(nn.Module):
    """Maps (N, inputs, H, W) to (N, outputs, H, W): a U-Net on a square that holds them."""

    def __init__(self, inputs: int, outputs: int, height: int, width: int) -> None:
        super().__init__()
        self.side = max(height, width)
        config = NetworkConfig(
            "convolutional",
            classes=1,
            channels=outputs,
            size=self.side,
            latent_dim=0,
            width=MAPS,
            components=0,
            spectral=False,
        )
        self.network, self.noise = UNet(config, inputs), noise_side(self.side)

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[2:]
        square = functional.pad(maps, (0, self.side - width, 0, self.side - height), mode="replicate")
        still = maps.new_zeros(len(maps), 1, self.noise, self.noise)  # its own noise comes in with the maps
        labels = torch.zeros(len(maps), dtype=torch.int64, device=maps.device)
        filled: Tensor = self.network(square, still, labels)[..., :height, :width]
        return filled


def build_filler(inputs: int, outputs: int, height: int, width: int) -> nn.Module:
    """The untrained network for maps of this size."""
    dense = outputs * height * width <= LARGEST_DENSE
    return (DenseFiller if dense else ConvolutionalFiller)(inputs, outputs, height, width)


def fit(given: Incomplete, steps: int, batch_size: int, seed: int, report: Callable[[int], None]) -> nn.Module:
    """A network in evaluation mode that fills images like these; `seed` alone decides every random number.

    report: called after every step with its number.

    Raises:
        UserError: no pixel is missing, all of an image is, or a pixel is missing everywhere.
    """
    _check(given)
    channels, height, width = given.images.shape[1:]
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = build_filler(2 * channels + 1, channels, height, width)
        discriminator = build_filler(channels + 1, 1, height, width)
    average = moving_average(generator, EMA_DECAY)
    optimisers = [
        torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=BETAS, fused=True)
        for network in (generator, discriminator)
    ]
    for step in range(steps):
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 2 * (1 - step / steps))
        rows = torch.randint(len(given), (batch_size,), generator=draws)
        real, observed = to_network_range(given.images[rows]), (~given.missing[rows]).float()
        shown = observed * (torch.rand(observed.shape, generator=draws) >= HIDDEN).float()
        drawn = generator(_seen(real, shown, draws))
        completed = torch.where(shown > 0, real, drawn)
        told = torch.rand(observed.shape, generator=draws) < HINT
        hint = torch.where(told, shown, 0.5)
        _step(optimisers[1], _judged(discriminator(torch.cat([completed.detach(), hint], dim=1)), shown))
        logits = discriminator(torch.cat([completed, hint], dim=1))
        fooled = functional.softplus(-logits) * (1 - shown)
        apart = ((drawn - real).square() * observed).mean(dim=1, keepdim=True) / 4  # in shares of the range
        _step(optimisers[0], _mean(fooled, 1 - shown) + RECONSTRUCTION * _mean(apart, observed))
        average.update_parameters(generator)
        report(step + 1)
    network: nn.Module = average.module
    return network.eval()


@torch.no_grad()
def complete(network: nn.Module, given: Incomplete, seed: int) -> Tensor:
    """Images uint8 (N, C, H, W) without a gap; observed pixels are kept to the bit."""
    draws, filled = torch.Generator().manual_seed(seed), []
    for images, missing in zip(given.images.split(BATCH), given.missing.split(BATCH), strict=True):
        real, observed = to_network_range(images), (~missing).float()
        filled.append(torch.where(missing, to_bytes(network(_seen(real, observed, draws))), images))
    return torch.cat(filled)


def _seen(real: Tensor, shown: Tensor, draws: torch.Generator) -> Tensor:
    """What the generator reads: images with noise in their gaps, the noise, and where there is none."""
    noise = torch.rand(real.shape, generator=draws) * 0.02 - 0.01
    return torch.cat([real * shown + noise * (1 - shown), noise, shown], dim=1)


def _judged(logits: Tensor, shown: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, shown)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1)


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward(inputs=optimiser.param_groups[0]["params"])
    optimiser.step()


def _check(given: Incomplete) -> None:
    if not given.missing.any():
        raise UserError("no image has a missing pixel, so there is nothing to fill")
    lost = given.missing.flatten(1).all(dim=1)
    if lost.any():
        raise UserError(
            f"all pixels of {int(lost.sum())} image(s) are missing, the first of them number "
            f"{int(lost.nonzero()[0]) + 1}: leave such images out"
        )
    if given.missing.all(dim=0).any():
        raise UserError("a pixel is missing in every image: nothing can tell what belongs there, so crop it away")
