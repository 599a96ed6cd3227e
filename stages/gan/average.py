"""The exponential moving average of a generator, which draws better images than the generator of any single step.

Yazici et al., "The Unusual Effectiveness of Averaging in GAN Training" (2019). It does what `AveragedModel` of
torch.optim.swa_utils does; that one gathers its tensors anew at every step, which for a small network costs a twentieth
of the training.
"""

from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import nn


class MovingAverage:
    """The average of a network's parameters and buffers over its updates, as a network of its own, `module`.

    The decay grows to `decay` as (1 + n) / (10 + n), n counting updates: a constant one near 1 would keep the untrained
    weights for thousands of steps (TensorFlow's ExponentialMovingAverage has the same ramp). Counters and other whole
    numbers stay as they were at the start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0
        self._averages, self._currents = (
            [tensor for tensor in chain(each.parameters(), each.buffers()) if tensor.is_floating_point()]
            for each in (self.module, network)
        )

    @torch.no_grad()
    def update(self) -> None:
        """Takes the network, as it is now, into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        torch._foreach_lerp_(self._averages, self._currents, 1 - decay)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """The average and the number of updates."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to what `state_dict` gave."""
        self.module.load_state_dict(state["module"])
        self.updates = state["updates"]
