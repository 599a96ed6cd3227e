"""The two players for small images: fully connected, conditioned on the class.

Generator: conditional batch norm (de Vries et al., "Modulating early visual processing by language", 2017).
Discriminator: class projection (Miyato and Koyama, "cGANs with Projection Discriminator", 2018, eq. 5) under spectral
norm (Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from stages.plumbing.errors import UserError

LARGEST_SIDE = 16


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build both networks again; plain integers, so that it can be kept as JSON."""

    classes: int
    channels: int
    height: int
    width_pixels: int
    latent_dim: int
    width: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width_pixels

    @property
    def pixels(self) -> int:
        return self.channels * self.height * self.width_pixels


def to_network_range(images: Tensor) -> Tensor:
    """Turn uint8 images, 0..255, into float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Turn images in [-1, 1] into uint8, 0..255."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class ConditionalBatchNorm(nn.Module):
    """Batch norm over features (N, F) with a gain and a bias of its own for each class."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.gain = nn.Embedding.from_pretrained(torch.ones(classes, features), freeze=False)
        self.bias = nn.Embedding.from_pretrained(torch.zeros(classes, features), freeze=False)
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        normal = functional.batch_norm(hidden, self.running_mean, self.running_var, training=self.training)
        return torch.addcmul(self.bias(labels), normal, self.gain(labels))


class Generator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) to images (N, C, H, W) in [-1, 1]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        # No bias before a batch norm, which would take it out again.
        self.input = nn.Linear(config.latent_dim, config.width, bias=False)
        self.input_norm = ConditionalBatchNorm(config.width, config.classes)
        self.hidden = nn.Linear(config.width, config.width, bias=False)
        self.hidden_norm = ConditionalBatchNorm(config.width, config.classes)
        self.output = nn.Linear(config.width, config.pixels)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        hidden = functional.relu(self.input_norm(self.input(latents), labels))
        hidden = functional.relu(self.hidden_norm(self.hidden(hidden), labels))
        return torch.tanh(self.output(hidden)).unflatten(1, self.config.image_shape)


class Discriminator(nn.Module):
    """Images (N, C, H, W) in [-1, 1] and labels (N,) to logits (N,), high for what seems real.

    logit = psi(phi(x)) + trust * <embed(y), phi(x)>; `trust` (N,), 0..1, is how far the label is to be believed: at 0
    the image is judged as an image alone.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.input = spectral_norm(nn.Linear(config.pixels, config.width))
        self.hidden = spectral_norm(nn.Linear(config.width, config.width))
        self.psi = spectral_norm(nn.Linear(config.width, 1))
        self.embed = spectral_norm(nn.Embedding(config.classes, config.width))

    def features(self, images: Tensor) -> Tensor:
        """phi(x), (N, width)."""
        hidden = functional.leaky_relu(self.input(images.flatten(1)), 0.2)
        return functional.leaky_relu(self.hidden(hidden), 0.2)

    def forward(self, images: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        features = self.features(images)
        return self.psi(features).squeeze(1) + trust * (self.embed(labels) * features).sum(dim=1)


def build_generator(config: NetworkConfig) -> Generator:
    """Build an untrained generator.

    Raises UserError for images larger than fully connected networks can draw.
    """
    if max(config.height, config.width_pixels) > LARGEST_SIDE:
        raise UserError(
            f"images are {config.height} x {config.width_pixels} pixels; the GAN draws at most "
            f"{LARGEST_SIDE} x {LARGEST_SIDE} so far: lower prepare's image size"
        )
    return Generator(config)
