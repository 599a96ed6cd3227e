"""Tone curves change brightness, and nothing else."""

import pytest
import torch
from torch import Generator, Tensor

from stages.downstream.tone_curves import CURVED, KNOTS, curve, randomly_curved


def pictures(count: int, channels: int = 1) -> Tensor:
    return 2 * torch.rand(count, channels, 6, 6, generator=Generator().manual_seed(0)) - 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_straight_curve_leaves_or_inverts(sign: int) -> None:
    images = torch.cat([pictures(3, 3), torch.ones(1, 3, 6, 6), -torch.ones(1, 3, 6, 6)])
    straight = sign * torch.linspace(-1, 1, 7).expand(1, 1, -1)
    torch.testing.assert_close(curve(images, straight), sign * images, rtol=0, atol=1e-6)


def test_knots_are_the_values_at_even_levels() -> None:
    knots = torch.tensor([[[0.3, -0.7, 0.9]]])
    levels = torch.tensor([-1, -0.5, 0, 1.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(curve(levels, knots).flatten(), torch.tensor([0.3, -0.2, -0.7, 0.9]))


def test_each_channel_may_have_its_own() -> None:
    images = pictures(2, 2)
    knots = torch.stack([torch.linspace(-1, 1, 3), torch.zeros(3)]).unsqueeze(0)
    curved = curve(images, knots)
    torch.testing.assert_close(curved[:, 0], images[:, 0], rtol=0, atol=1e-6)
    assert (curved[:, 1] == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_random_curves_keep_shape_range_and_places(channels: int) -> None:
    images = pictures(200, channels)
    curved = randomly_curved(images, Generator().manual_seed(1))
    assert curved.shape == images.shape
    assert -1 <= float(curved.min()) < -0.5 < 0.5 < float(curved.max()) <= 1
    turned = randomly_curved(images.flip(-1), Generator().manual_seed(1))
    assert torch.equal(turned, curved.flip(-1))
    untouched = (curved == images).flatten(1).all(dim=1).float().mean()
    assert float(untouched) == pytest.approx(1 - CURVED, abs=0.1)


def test_random_curves_have_any_shape() -> None:
    """Of one ramp: some curves rise, some fall, most do both."""
    ramp = torch.linspace(-1, 1, KNOTS).view(1, 1, 1, -1).expand(2000, 1, 1, -1)
    steps = randomly_curved(ramp, Generator().manual_seed(0)).flatten(1).diff(dim=1)
    changed = steps[(steps != steps[0, 0]).any(dim=1)]
    rising, falling = (changed > 0).all(dim=1), (changed < 0).all(dim=1)
    assert falling.any()
    assert (~rising & ~falling).float().mean() > 0.5
