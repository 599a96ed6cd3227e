"""Fully connected networks on principal components: for small images they learn more per second than convolutions."""

from torch import Tensor, baddbmm, nn
from torch.nn import functional

from stages.generators.layers import ConditionalBatchNorm
from stages.generators.moments import Components, Moments
from stages.generators.network_config import NetworkConfig


class DenseGenerator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) to images (N, C, H, W) about [-1, 1]; what lies beyond is to be cut off.

    The first latents draw from the class's Gaussian, and hidden layers that read all of them add what it misses: at
    first nothing.
    """

    deviations: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, config: NetworkConfig, moments: Moments) -> None:
        super().__init__()
        self.shape = config.image_shape
        # No bias before a batch norm, which would take it out again.
        self.input = nn.Linear(config.latent_dim, config.width, bias=False)
        self.input_norm = ConditionalBatchNorm(config.width, config.classes)
        self.hidden = nn.Linear(config.width, config.width, bias=False)
        self.hidden_norm = ConditionalBatchNorm(config.width, config.classes)
        self.output = nn.Linear(config.width, config.components)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.pixels = _Pixels(moments.components)
        self.register_buffer("deviations", moments.components.deviations.clone())
        self.register_buffer("means", moments.means.clone())
        self.register_buffer("factors", moments.factors.clone())

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        first = latents[:, : self.factors.shape[2], None]
        start = baddbmm(self.means[labels].unsqueeze(2), self.factors[labels], first).squeeze(2)
        hidden = functional.relu(self.input_norm(self.input(latents), labels))
        hidden = functional.relu(self.hidden_norm(self.hidden(hidden), labels))
        return self.pixels.decode(start + self.output(hidden) * self.deviations).unflatten(1, self.shape)


class DenseTrunk(nn.Module):
    """Images (N, C, H, W) about [-1, 1] to the features (N, width) that a discriminator judges by."""

    def __init__(self, config: NetworkConfig, moments: Moments) -> None:
        super().__init__()
        self.features = config.width
        self.pixels = _Pixels(moments.components)
        self.input = config.bound(nn.Linear(config.components, config.width))
        self.hidden = config.bound(nn.Linear(config.width, config.width))

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.input(self.pixels.encode(images.flatten(1))), 0.2)
        return functional.leaky_relu(self.hidden(hidden), 0.2)


class _Pixels(nn.Module):
    """Between pixels (N, P) and principal components (N, D)."""

    mean: Tensor
    basis: Tensor

    def __init__(self, components: Components) -> None:
        super().__init__()
        self.register_buffer("mean", components.mean.clone())
        self.register_buffer("basis", components.basis.clone())

    def encode(self, pixels: Tensor) -> Tensor:
        return functional.linear(pixels - self.mean, self.basis)

    def decode(self, components: Tensor) -> Tensor:
        return self.mean.addmm(components, self.basis)
