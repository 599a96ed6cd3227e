"""What is needed to build a GAN's networks again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from stages.generators.moments import Moments

# Bounds a layer's gain (spectral norm), or leaves the layer as it is.
Bound = Callable[[nn.Module], nn.Module]
Layers = Literal["dense", "convolutional"]


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a kind's networks; plain values, so that it can be kept as JSON.

    `width`: units of a dense layer, or channels of a convolutional network where its maps are smallest.
    `components`: principal components that dense networks work in; 0 where layers are convolutional. `spectral`:
    whether the discriminator's layers have spectral norm (Miyato et al., "Spectral Normalization for Generative
    Adversarial Networks", 2018).
    """

    layers: Layers
    classes: int
    channels: int
    size: int
    latent_dim: int
    width: int
    components: int
    spectral: bool

    @classmethod
    def of(
        cls,
        layers: Layers,
        classes: int,
        images: Tensor,
        latent_dim: int,
        width: int = 0,
        *,
        moments: Moments | None = None,
        spectral: bool = False,
    ) -> "NetworkConfig":
        """Networks for such images (N, C, S, S); dense ones work in the components of these moments."""
        _, channels, size, _ = images.shape
        components = moments.means.shape[1] if moments else 0
        return cls(layers, classes, channels, size, latent_dim, width, components, spectral)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size

    @property
    def bound(self) -> Bound:
        return spectral_norm if self.spectral else lambda layer: layer
