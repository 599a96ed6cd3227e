"""Batch norm under domain shift: images of either domain pass apart, and at the end the target's statistics count.

AdaBN: Li et al. 2016, arXiv:1603.04779. Normalised together, the statistics of a batch are those of neither domain, and
a classifier that was trained so sees single target images as it never saw any.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from stages.imaging.pixels import to_network_range

BATCH = 256  # images of the pool whose statistics are taken together


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

    @torch.no_grad()
    def adapt(self, model: nn.Module) -> None:
        """Gives a model's batch norm the mean and variance that the pool has under its weights."""
        count = -(-len(self.pool) // BATCH)
        # every count-th image, so that each part is like the whole pool, however that is sorted
        update_bn((to_network_range(self.pool[start::count]) for start in range(count)), model)


def in_passes(network: Callable[[Tensor], Tensor], images: Tensor, domains: Domains | None) -> Tensor:
    """What a network makes of a batch (N, C, H, W): all at once, or each domain by itself, in the same order."""
    if domains is None:
        return network(images)
    return torch.cat([network(part) for part in domains.apart(images)])
