"""A discriminator that compares image and class, by itself or as the base of others."""

from torch import Tensor, nn

from stages.generators.adversarial import ConditionalDiscriminator
from stages.generators.network_config import NetworkConfig
from stages.generators.networks import build_trunk


class ProjectionDiscriminator(ConditionalDiscriminator):
    """logit = psi(phi(x)) + trust * <embed(y), phi(x)>: at trust 0 the image is judged as an image alone.

    Miyato and Koyama, "cGANs with Projection Discriminator" (2018), eq. 5.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.trunk = build_trunk(config)
        self.psi = config.bound(nn.Linear(self.trunk.features, 1))
        self.embed = config.bound(nn.Embedding(config.classes, self.trunk.features))

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, F), labels (N,) and trust (N,)."""
        return self.psi(features).squeeze(1) + trust * (self.embed(labels) * features).sum(dim=1)
