"""The default family: one discriminator for all classes that projects its features on the class.

Miyato and Koyama, "cGANs with Projection Discriminator" (2018), eq. 5.
"""

from torch import Tensor, nn

from stages.generators.adversarial import ConditionalDiscriminator, adversarial_step, judge
from stages.generators.interface import Feed, Players
from stages.generators.moments import Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.networks import build_generator, build_trunk
from stages.generators.objective import Objective

__all__ = ["build", "judge", "step"]


class ProjectionDiscriminator(ConditionalDiscriminator):
    """logit = psi(phi(x)) + trust * <embed(y), phi(x)>: at trust 0 the image is judged as an image alone."""

    def __init__(self, config: NetworkConfig, moments: Moments) -> None:
        super().__init__()
        self.trunk = build_trunk(config, moments)
        self.psi = config.bound(nn.Linear(self.trunk.features, 1))
        self.embed = config.bound(nn.Embedding(config.classes, self.trunk.features))

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, F), labels (N,) and trust (N,)."""
        return self.psi(features).squeeze(1) + trust * (self.embed(labels) * features).sum(dim=1)

    def class_loss(self, features: Tensor, _labels: Tensor, _trust: Tensor) -> Tensor:
        """The projection alone tells classes apart."""
        return features.new_zeros(())


def build(config: NetworkConfig, moments: Moments) -> tuple[nn.Module, nn.Module]:
    """Untrained generator and discriminator."""
    return build_generator(config, moments), ProjectionDiscriminator(config, moments)


def step(players: Players, feed: Feed, objective: Objective) -> Tensor:
    """Learn from one batch; MEASURES (5,)."""
    return adversarial_step(players, feed.draw(), feed, objective)
