"""Fully connected networks on principal components: for small images they learn more per second than convolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.interface import Draws
from stages.generators.layers import ConditionalBatchNorm
from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig


class PrincipalComponents(nn.Module):
    """Between pixels (N, P) and D principal components (N, D), blank until it starts from moments."""

    mean: Tensor
    basis: Tensor
    deviations: Tensor

    def __init__(self, pixels: int, components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("basis", torch.zeros(components, pixels))
        self.register_buffer("deviations", torch.zeros(components))

    def start_from(self, moments: Moments) -> None:
        """Takes the images' components."""
        for name, value in vars(moments.components).items():
            self.get_buffer(name).copy_(value)

    def encode(self, pixels: Tensor) -> Tensor:
        """Components (N, D) of pixels (N, P)."""
        return functional.linear(pixels - self.mean, self.basis)

    def decode(self, components: Tensor) -> Tensor:
        """Pixels (N, P) of components (N, D)."""
        return self.mean.addmm(components, self.basis)


class GaussianGenerator(nn.Module):
    """Draws from the Gaussian of each class in principal components: images (N, C, H, W), about [-1, 1].

    latents: of which the first R, the rank of the Gaussians, are used.
    """

    means: Tensor
    factors: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.shape = config.image_shape
        channels, height, width = config.image_shape
        self.pixels = PrincipalComponents(channels * height * width, config.components)
        rank = min(config.components, config.latent_dim)
        self.register_buffer("means", torch.zeros(config.classes, config.components))
        self.register_buffer("factors", torch.zeros(config.classes, config.components, rank))

    def start_from(self, moments: Moments) -> None:
        """Takes components and Gaussians."""
        self.pixels.start_from(moments)
        self.means.copy_(moments.means)
        self.factors.copy_(moments.factors)

    def components(self, draws: Draws) -> Tensor:
        """What is drawn, as components (N, D)."""
        first = draws.latents[:, : self.factors.shape[2]]
        # What each latent comes to in every class costs less than a copy of the factors for every image.
        everywhere = functional.linear(first, self.factors.flatten(0, 1)).unflatten(1, self.means.shape)
        own = torch.take_along_dim(everywhere, draws.labels[:, None, None], dim=1).squeeze(1)
        return self.means[draws.labels] + own

    def forward(self, draws: Draws) -> Tensor:
        return self.pixels.decode(self.components(draws)).unflatten(1, self.shape)


class DenseGenerator(GaussianGenerator):
    """Draws from the class's Gaussian, and hidden layers that read all latents add what it misses: at first nothing.

    What lies beyond [-1, 1] is to be cut off.
    """

    def __init__(self, config: NetworkConfig, inputs: int = 0) -> None:
        """inputs: numbers that the hidden layers read beside the latents."""
        super().__init__(config)
        # No bias before a batch norm, which would take it out again.
        self.input = nn.Linear(config.latent_dim + inputs, config.width, bias=False)
        self.input_norm = ConditionalBatchNorm(config.width, config.classes)
        self.hidden = nn.Linear(config.width, config.width, bias=False)
        self.hidden_norm = ConditionalBatchNorm(config.width, config.classes)
        self.output = nn.Linear(config.width, config.components)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def refined(self, start: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Images from components (N, D) to start from and what the hidden layers read (N, latent_dim + inputs)."""
        hidden = functional.relu(self.input_norm(self.input(inputs), labels))
        hidden = functional.relu(self.hidden_norm(self.hidden(hidden), labels))
        return self.pixels.decode(start + self.output(hidden) * self.pixels.deviations).unflatten(1, self.shape)

    def forward(self, draws: Draws) -> Tensor:
        return self.refined(self.components(draws), draws.latents, draws.labels)


class DenseTrunk(nn.Module):
    """Images (N, C, H, W) about [-1, 1] to the features (N, width) that a discriminator judges by."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.features = config.width
        channels, height, width = config.image_shape
        self.pixels = PrincipalComponents(channels * height * width, config.components)
        self.input = config.bound(nn.Linear(config.components, config.width))
        self.hidden = config.bound(nn.Linear(config.width, config.width))

    def start_from(self, moments: Moments) -> None:
        """Takes the images' components."""
        self.pixels.start_from(moments)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.input(self.pixels.encode(images.flatten(1))), 0.2)
        return functional.leaky_relu(self.hidden(hidden), 0.2)
