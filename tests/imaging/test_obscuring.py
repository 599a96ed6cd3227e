"""A region is blurred, pixelated or blacked out, and all else stays to the bit."""

import pytest
import torch

from stages.imaging.obscuring import BLOCKS, Way, obscured

WAYS: list[Way] = ["blur", "pixels", "black"]
REGION = (slice(3, 23), slice(5, 29))


def images() -> torch.Tensor:
    return torch.randint(1, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def masks() -> torch.Tensor:
    """A box, a disc and nothing."""
    found = torch.zeros(3, 1, 32, 32, dtype=torch.bool)
    found[0, 0][REGION] = True
    across = torch.arange(32) - 15.5
    found[1, 0] = across[:, None] ** 2 + across**2 < 81
    return found


@pytest.mark.parametrize("way", WAYS)
def test_pixels_outside_the_region_stay_to_the_bit_and_those_inside_do_not(way: Way) -> None:
    before, region = images(), masks().expand(-1, 3, -1, -1)
    after = obscured(before, masks(), way)
    assert torch.equal(after[~region], before[~region])
    assert (after != before)[region].float().mean() > 0.9
    assert torch.equal(before, images()), "the input is left alone"


def test_black_is_black_and_blocks_are_few_and_a_blur_is_a_mean() -> None:
    black, blocks, blur = (
        obscured(images(), masks(), way)[0][:, *REGION].float() for way in ("black", "pixels", "blur")
    )
    assert not black.any()
    assert len(blocks.flatten(1).unique(dim=1).T) <= BLOCKS**2
    assert abs(blur.mean() - images()[0][:, *REGION].float().mean()) < 5
    assert blur.std() < 0.3 * images()[0][:, *REGION].float().std()


def test_even_a_single_pixel_can_be_a_region() -> None:
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[0, 0, 2, 3] = True
    for way in WAYS:
        assert obscured(images()[:1, :, :8, :8], mask, way).shape == (1, 3, 8, 8)
