"""The moving average of a network follows its recurrence."""

from copy import deepcopy

import torch
from torch import nn

from stages.imaging.networks import moving_average


def test_the_average_follows_its_recurrence_in_weights_and_buffers() -> None:
    network = nn.BatchNorm1d(4)
    average = moving_average(network, 0.6)
    expected = deepcopy(network.state_dict())
    random = torch.Generator().manual_seed(0)
    for update in range(8):
        with torch.no_grad():
            network.weight.normal_(generator=random)
        network(torch.randn(16, 4, generator=random))
        decay = 0.0 if update == 0 else min(0.6, (1 + update) / (10 + update))
        for name in ("weight", "running_mean", "running_var"):
            expected[name] = decay * expected[name] + (1 - decay) * network.state_dict()[name]
        average.update_parameters(network)
    for name in ("weight", "running_mean", "running_var"):
        assert torch.allclose(average.module.state_dict()[name], expected[name], atol=1e-6)
