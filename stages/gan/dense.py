"""Fully connected networks: for the smallest images they learn more per second than convolutions."""

from torch import Tensor, nn, tanh
from torch.nn import functional

from stages.gan.layers import ConditionalBatchNorm
from stages.gan.network_config import NetworkConfig


class DenseGenerator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) to images (N, C, H, W) in [-1, 1]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.shape = config.image_shape
        channels, height, width = config.image_shape
        # No bias before a batch norm, which would take it out again.
        self.input = nn.Linear(config.latent_dim, config.width, bias=False)
        self.input_norm = ConditionalBatchNorm(config.width, config.classes)
        self.hidden = nn.Linear(config.width, config.width, bias=False)
        self.hidden_norm = ConditionalBatchNorm(config.width, config.classes)
        self.output = nn.Linear(config.width, channels * height * width)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        hidden = functional.relu(self.input_norm(self.input(latents), labels))
        hidden = functional.relu(self.hidden_norm(self.hidden(hidden), labels))
        return tanh(self.output(hidden)).unflatten(1, self.shape)


class DenseTrunk(nn.Module):
    """Images (N, C, H, W) in [-1, 1] to the features (N, width) that a discriminator judges by."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, height, width = config.image_shape
        self.features = config.width
        self.input = config.bound(nn.Linear(channels * height * width, config.width))
        self.hidden = config.bound(nn.Linear(config.width, config.width))

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.input(images.flatten(1)), 0.2)
        return functional.leaky_relu(self.hidden(hidden), 0.2)
