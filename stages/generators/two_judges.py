"""A discriminator in two parts that share their first layers: one judges patches, the other the whole image.

Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017, section 3.2.2 (patches); both
compare image and class by projection (Miyato and Koyama 2018, eq. 5).
"""

import torch
from torch import Tensor, nn

from stages.generators.adversarial import ConditionalDiscriminator
from stages.generators.network_config import NetworkConfig
from stages.generators.patch_head import PatchHead

WHOLE_SIDE = 8  # pixels of the maps, at most, that the judge of the whole image reads
WHOLE_FEATURES = 128


class TwoJudges(ConditionalDiscriminator):
    """A row of logits for each image: the first judges the whole, the others patches."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        bound, width, classes = config.bound, config.width, config.classes
        self.trunk = nn.Sequential(
            bound(_halve(config.channels, 2 * width)),
            nn.LeakyReLU(0.2),
            bound(_halve(2 * width, 4 * width)),
            nn.LeakyReLU(0.2),
        )
        self.patch = nn.Sequential(bound(nn.Conv2d(4 * width, 4 * width, 3, padding=1)), nn.LeakyReLU(0.2))
        self.patch_head = PatchHead(4 * width, classes, bound)
        side, deeper = config.size // 2 // 2, list[nn.Module]()
        while side > WHOLE_SIDE:
            deeper += [bound(_halve(4 * width, 4 * width)), nn.LeakyReLU(0.2)]
            side //= 2
        self.whole = nn.Sequential(
            *deeper, nn.Flatten(), bound(nn.Linear(4 * width * side**2, WHOLE_FEATURES)), nn.LeakyReLU(0.2)
        )
        self.psi = bound(nn.Linear(WHOLE_FEATURES, 1))
        self.embed = bound(nn.Embedding(classes, WHOLE_FEATURES))

    def logits(self, features: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        """Logits (N, 1 + patches) from maps (N, F, h, w), labels (N,) and trust (N,)."""
        whole, patches = self.whole(features), self.patch_head(self.patch(features), labels, trust)
        everywhere = self.psi(whole) + (trust.unsqueeze(1) * self.embed(labels) * whole).sum(dim=1, keepdim=True)
        return torch.cat([everywhere, patches], dim=1)

    def together(self, values: Tensor) -> Tensor:
        """The whole image's value and the mean of its patches'."""
        return values[:, 0] + values[:, 1:].mean(dim=1)


def _halve(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)
