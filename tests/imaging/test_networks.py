"""The moving average of a network follows its recurrence; an image's answer does not depend on the others."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from stages.imaging.networks import BATCH, in_batches, moving_average


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


def test_the_number_of_updates_is_never_read_from_the_networks_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """There it would have to be waited for: what `update_parameters` hands over is a copy on that device."""
    averages = []
    for spoilt in (False, True):
        torch.manual_seed(0)
        network = nn.Linear(3, 3)
        average = moving_average(network, 0.6)
        if spoilt:
            update = average.multi_avg_fn
            assert update is not None
            monkeypatch.setattr(average, "multi_avg_fn", lambda own, others, _n, f=update: f(own, others, None))
        for _ in range(3):
            with torch.no_grad():
                network.weight.add_(1)
            average.update_parameters(network)
        averages.append(average.module.weight)
    assert torch.equal(*averages)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """One whose kernels sum in another order for other sizes of a batch."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(512, 7)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (BATCH + 70, 1, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize("count", [1, 2, 63, BATCH - 1, BATCH, BATCH + 1])
def test_answers_do_not_depend_on_how_many_were_asked_for(network: nn.Module, images: torch.Tensor, count: int) -> None:
    whole = in_batches(network, images)
    assert torch.equal(whole[:count], in_batches(network, images[:count]))
    assert torch.equal(whole[-count:], in_batches(network, images[-count:]))


def test_answers_are_the_networks_own(network: nn.Module, images: torch.Tensor) -> None:
    answers = in_batches(network, images)
    assert not answers.requires_grad
    torch.testing.assert_close(answers, network(images / 127.5 - 1).detach(), rtol=1e-4, atol=1e-5)
    assert in_batches(network, images[:0]).shape == (0, 7)
