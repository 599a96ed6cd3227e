"""Classic augmentation moves images as it says, and changes each by itself."""

import pytest
import torch
from torch import Generator

from stages.downstream.params import ClassicParams
from stages.imaging.classic import classic, warp

STILL = ClassicParams(rotation_degrees=0, translation_pixels=0, zoom=0, brightness=0, contrast=0)


def pictures(count=64, channels=1, size=8, seed=0):
    return torch.rand(count, channels, size, size, generator=Generator().manual_seed(seed)) * 2 - 1


def seeded(seed=0):
    return Generator().manual_seed(seed)


def test_zero_strength_is_the_identity():
    images = pictures(channels=3, size=16)
    torch.testing.assert_close(classic(images, seeded(), STILL, flip_ok=False), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("field", [name for name in ClassicParams.model_fields if name != "translation_pixels"])
def test_each_change_differs_from_image_to_image(field):
    image = pictures(1).expand(32, -1, -1, -1)
    changed = classic(
        image, seeded(), STILL.model_copy(update={field: 0.4 if field != "rotation_degrees" else 20}), False
    )
    assert len(changed.flatten(1).unique(dim=0)) == 32


def test_warp_agrees_with_exact_moves():
    """Whole pixels, quarter turns and mirroring need no interpolation, so numpy-like moves give the same images."""
    images = pictures(4, size=8)

    def moved(angle=0.0, zoom=1.0, shift=(0.0, 0.0), mirror=1.0):
        one = torch.ones(len(images))
        return warp(images, angle * one, zoom * one, torch.tensor([shift]).expand(len(images), 2), mirror * one)

    torch.testing.assert_close(moved(shift=(1.0, 2.0))[..., 2:, 1:], images[..., :-2, :-1], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved(mirror=-1.0), images.flip(-1), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved(angle=torch.pi / 2), images.rot90(1, (-2, -1)), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved(zoom=2.0)[..., 2:6, 2:6].mean(), images[..., 3:5, 3:5].mean(), rtol=0, atol=0.3)


def test_rotation_keeps_lengths_in_images_that_are_not_square():
    images = torch.full((1, 1, 16, 32), -1.0)
    images[..., 8, 4:28] = 1.0
    turned = warp(images, torch.tensor([torch.pi / 2]), torch.ones(1), torch.zeros(1, 2), torch.ones(1))
    assert (turned[0, 0, :, 15:17].amax(dim=1) > -0.5).all()  # the bar now runs from top to bottom


def test_brightness_and_contrast_have_the_stated_size():
    grey = torch.zeros(4000, 1, 8, 8)
    brighter = classic(grey, seeded(), STILL.model_copy(update={"brightness": 0.2}), False).mean(dim=(1, 2, 3))
    assert brighter.abs().max() <= 0.4 + 1e-6
    assert brighter.std().item() == pytest.approx(0.4 / 3**0.5, rel=0.05)
    halves = torch.cat([torch.full((4000, 1, 8, 4), -0.5), torch.full((4000, 1, 8, 4), 0.5)], dim=3)
    stretched = classic(halves, seeded(), STILL.model_copy(update={"contrast": 0.3}), False).amax(dim=(1, 2, 3))
    assert stretched.min().item() == pytest.approx(0.35, abs=0.01)
    assert stretched.max().item() == pytest.approx(0.65, abs=0.01)
