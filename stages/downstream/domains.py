"""Batch norm under domain shift: images of either domain pass apart, and at the end the target's statistics count.

AdaBN: Li et al. 2016, arXiv:1603.04779. Normalised together, the statistics of a batch are those of neither domain, and
a classifier that was trained so sees single target images as it never saw any.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.imaging.networks import adapt_batch_norm


@dataclass(frozen=True)
class Domains:
    """Which images of every batch are of which domain: its first `source` ones of the source, the others of the target.

    pool: images of the target, uint8 (N, C, H, W), at least one.
    """

    source: int
    pool: Tensor

    def apart(self, images: Tensor) -> list[Tensor]:
        """The batch's images of either domain; all together where one domain has a single image, or none, of which
        batch norm could not tell a spread."""
        parts = list(images.tensor_split([self.source]))
        return parts if min(map(len, parts)) > 1 else [images]

    def adapt(self, model: nn.Module) -> None:
        """Gives a model's batch norm the pool's statistics."""
        adapt_batch_norm(model, self.pool)


def in_passes(network: Callable[[Tensor], Tensor], images: Tensor, domains: Domains | None) -> Tensor:
    """What a network makes of a batch (N, C, H, W): all at once, or each domain by itself, in the same order."""
    if domains is None:
        return network(images)
    return torch.cat([network(part) for part in domains.apart(images)])
