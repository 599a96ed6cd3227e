import pytest
import torch

from stages.gan.objective import discriminator_loss, generator_loss


def test_hinge_losses_equal_hand_computed_values() -> None:
    real = torch.tensor([2.0, 0.5, -1.0])  # max(0, 1 - r): 0, 0.5, 2
    fake = torch.tensor([-3.0, 0.0])  # max(0, 1 + f): 0, 1
    assert discriminator_loss(real, fake).item() == pytest.approx(2.5 / 3 + 0.5)
    assert generator_loss(fake).item() == pytest.approx(1.5)


def test_the_discriminator_learns_nothing_beyond_its_margins() -> None:
    real = torch.tensor([1.5, 0.0], requires_grad=True)
    fake = torch.tensor([-1.5, 0.0], requires_grad=True)
    discriminator_loss(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [0.0, -0.5]
    assert fake.grad.tolist() == [0.0, 0.5]


def test_the_generator_is_rewarded_for_fooling_however_far() -> None:
    fake = torch.tensor([-9.0, 9.0], requires_grad=True)
    generator_loss(fake).backward()
    assert fake.grad is not None
    assert fake.grad.tolist() == [-0.5, -0.5]
