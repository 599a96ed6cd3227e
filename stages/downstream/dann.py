"""DANN: a critic learns to tell the domains by the features, and these to mislead it.

Ganin & Lempitsky 2015, arXiv:1409.7495: on the way back the critic's gradient is turned round.
"""

from math import exp

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.downstream.alignment import Term

HIDDEN = 64  # units of the critic's hidden layer
WARM_UP = 10.0  # gamma of the paper's section 4.1


class DomainCritic(Term):
    """The critic's loss, whose gradient reaches the features times -`weight`, which grows from 0 (section 4.1).

    features: how many each image has. seed: decides the critic's first weights.
    """

    def __init__(self, weight: float, features: int, seed: int) -> None:
        super().__init__()
        self._weight = weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.critic = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, source: Tensor, target: Tensor, progress: float) -> Tensor:
        """See `Term`."""
        strength = self._weight * (2 / (1 + exp(-WARM_UP * progress)) - 1)
        told = self.critic(reverse_gradient(torch.cat([source, target]), strength)).squeeze(1)
        truth = torch.cat([torch.ones_like(told[: len(source)]), torch.zeros_like(told[len(source) :])])
        return functional.binary_cross_entropy_with_logits(told, truth)


def reverse_gradient(features: Tensor, strength: float) -> Tensor:
    """The features as they are; their gradient is turned round and scaled by `strength`."""
    turned = features.view_as(features)  # another node of the graph, so that the hook stands before the critic alone
    if turned.requires_grad:
        turned.register_hook(lambda gradient: -strength * gradient)
    return turned
