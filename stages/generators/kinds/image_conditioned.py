"""Another image of a real image's class: DAGAN in its thinnest form.

Antoniou, Storkey and Edwards, "Data Augmentation Generative Adversarial Networks" (2017): an encoder reads a source
image, noise decides what becomes of it, and the discriminator judges pairs, a source beside another real image of its
class or beside a generated one, so that copying the source is no way to win.
"""

import torch
from torch import Tensor, nn

from stages.generators.adversarial import AdversarialGenerator, ConditionalDiscriminator
from stages.generators.dense import DenseGenerator, DenseTrunk
from stages.generators.interface import Draws
from stages.generators.network_config import NetworkConfig

LIKENESS = 0.5  # correlation of source and image, in the components, before the network has learned anything


class SourceGenerator(DenseGenerator):
    """Starts from a draw of the class's Gaussian that is correlated with the source, and refines it.

    An encoder, the principal components, reads the source for both.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config, inputs=config.components)

    def forward(self, draws: Draws) -> Tensor:
        assert draws.sources is not None  # kinds that start from sources get them
        source, mean = self.pixels.encode(draws.sources.flatten(1)), self.means[draws.labels]
        # Both terms have the class's mean and covariance, and so has their mixture.
        apart = (self.components(draws) - mean) * (1 - LIKENESS**2) ** 0.5
        start = mean + LIKENESS * (source - mean) + apart
        scaled = (source - mean) / self.pixels.deviations.clamp_min(torch.finfo(source.dtype).tiny)
        return self.refined(start, torch.cat([draws.latents, scaled], dim=1), draws.labels)


class PairDiscriminator(ConditionalDiscriminator):
    """Judges an image beside its source: logit = psi(phi(x), phi(s)) + trust * <embed(y), phi(x)>."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.trunk = DenseTrunk(config)
        self.psi = config.bound(nn.Linear(2 * config.width, 1))
        self.embed = config.bound(nn.Embedding(config.classes, config.width))

    def features(self, images: Tensor, sources: Tensor | None) -> Tensor:
        """Features (N, 2 * width) of images and sources."""
        assert sources is not None  # kinds that start from sources get them
        return torch.cat([self.trunk(images), self.trunk(sources)], dim=1)

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, 2 * width), labels (N,) and trust (N,)."""
        own = features[:, : self.trunk.features]
        return self.psi(features).squeeze(1) + trust * (self.embed(labels) * own).sum(dim=1)


class Kind(AdversarialGenerator):
    """A GAN that starts from real images."""

    starts_from = "class"
    Discriminator = PairDiscriminator

    def build(self) -> tuple[nn.Module, nn.Module]:
        return SourceGenerator(self.config), PairDiscriminator(self.config)
