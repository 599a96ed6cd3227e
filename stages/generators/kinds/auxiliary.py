"""A discriminator that also names the class: AC-GAN (Odena et al. 2017) with the loss of ReACGAN.

Kang et al., "Rebooting ACGAN: Auxiliary Classifier GANs with Stable Training" (2021), eq. 10: features on the unit
sphere are drawn to the proxy of their class and pushed from the batch's images of other classes (D2D-CE). AC-GAN's own
cross-entropy lets the gradient of easy images grow without bound.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.generators.adversarial import AdversarialGenerator, ConditionalDiscriminator
from stages.generators.network_config import NetworkConfig
from stages.generators.networks import build_trunk

# What the authors' code (StudioGAN) uses for CIFAR-10.
CLASS_WEIGHT = 0.5
TEMPERATURE = 0.5
POSITIVE_MARGIN = 0.98  # images nearer than this to their proxy are not drawn to it any more
NEGATIVE_MARGIN = 0.02  # images of two classes less alike than this are not pushed apart any more


def data_to_data_cross_entropy(embeddings: Tensor, proxies: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
    """D2D-CE of each image, (N,), at least 0.

    embeddings: (N, E), of unit length. proxies: (K, E), of unit length, one for each class. labels: (N,), 0..K-1.
    trust: (N,), 0..1, how much each image counts among those that others are pushed from.
    """
    positive = (embeddings * proxies[labels]).sum(dim=1)
    positive = (positive - POSITIVE_MARGIN).clamp(max=0) / TEMPERATURE
    negative = (embeddings @ embeddings.T - NEGATIVE_MARGIN).clamp(min=0) / TEMPERATURE
    negative = (negative + trust.log()).masked_fill(labels == labels[:, None], -torch.inf)
    return torch.cat([positive[:, None], negative], dim=1).logsumexp(dim=1) - positive


class AuxiliaryDiscriminator(ConditionalDiscriminator):
    """Judges images as images alone, and places them on a sphere around proxies of the classes."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.trunk = build_trunk(config)
        self.psi = config.bound(nn.Linear(self.trunk.features, 1))
        self.embed = config.bound(nn.Linear(self.trunk.features, self.trunk.features))
        self.proxies = nn.Parameter(torch.randn(config.classes, self.trunk.features))

    def logits(self, features: Tensor, _labels: Tensor, _trust: Tensor) -> Tensor:
        """Logits (N,) from features (N, F)."""
        return self.psi(features).squeeze(1)

    def class_losses(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """D2D-CE, each image's weighted by how far its label is to be trusted."""
        embeddings = functional.normalize(self.embed(features), dim=1)
        losses = data_to_data_cross_entropy(embeddings, functional.normalize(self.proxies, dim=1), labels, trust)
        return CLASS_WEIGHT * losses * trust


class Kind(AdversarialGenerator):
    """A GAN whose discriminator also names the class."""

    Discriminator = AuxiliaryDiscriminator
