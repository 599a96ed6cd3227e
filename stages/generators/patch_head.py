"""How the places of maps are judged one by one, each as a part of an image of a class."""

import torch
from torch import Tensor, nn

from stages.generators.network_config import Bound


class PatchHead(nn.Module):
    """Maps (N, F, h, w), labels (N,) and trust in these (N,), 0..1, to logits (N, places), row by row of the maps.

    The projection of Miyato and Koyama (2018, eq. 5) at every place.
    """

    def __init__(self, features: int, classes: int, bound: Bound) -> None:
        super().__init__()
        self.psi = bound(nn.Conv2d(features, 1, 1))
        self.embed = bound(nn.Embedding(classes, features))

    def forward(self, maps: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
        alike = torch.einsum("nfhw,nf->nhw", maps, trust.unsqueeze(1) * self.embed(labels))
        return (self.psi(maps).squeeze(1) + alike).flatten(1)
