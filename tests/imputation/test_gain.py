"""Gaps are filled from what is observed, which stays to the bit; what cannot be filled is told."""

import pytest
import torch

from stages.imputation import gain
from stages.imputation.gain import Incomplete, build_filler, complete, fit
from stages.plumbing.errors import UserError


def stripes(count: int, seed: int, height: int = 8, width: int = 8) -> Incomplete:
    """Grey images of one level each but for a little noise, a fifth of whose pixels is missing."""
    random = torch.Generator().manual_seed(seed)
    levels = torch.randint(30, 220, (count, 1, 1, 1), generator=random)
    images = levels + torch.randint(-5, 6, (count, 1, height, width), generator=random)
    return Incomplete(images.to(torch.uint8), torch.rand(count, 1, height, width, generator=random) < 0.2)


def ignore(_: int) -> None:
    """Report nothing."""


def test_what_is_filled_is_much_nearer_than_the_mean_and_the_rest_stays_to_the_bit() -> None:
    network, new = fit(stripes(200, 0), 120, 32, 0, ignore), stripes(60, 1)
    spoilt = Incomplete(torch.where(new.missing, 0, new.images), new.missing)
    filled = complete(network, spoilt, 0)
    assert torch.equal(filled[~new.missing], new.images[~new.missing])
    truth = new.images[new.missing].float()
    error = (filled[new.missing].float() - truth).square().mean().sqrt()
    assert error < 0.5 * (truth - truth.mean()).square().mean().sqrt()


def test_what_lies_in_a_gap_is_never_read() -> None:
    given = stripes(20, 0)
    other = Incomplete(torch.where(given.missing, 255 - given.images, given.images), given.missing)
    one, same = (complete(fit(each, 3, 8, 0, ignore), each, 0) for each in (given, other))
    assert torch.equal(one, same)


def test_one_seed_gives_the_same_bytes_and_another_others() -> None:
    given = stripes(20, 0)
    one, again, other = (complete(fit(given, 3, 8, seed, ignore), given, 0) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_images_need_not_be_square_nor_small(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_filler(3, 1, 8, 12)(torch.zeros(2, 3, 8, 12)).shape == (2, 1, 8, 12)
    monkeypatch.setattr(gain, "LARGEST_DENSE", 50)
    given = stripes(6, 0, 9, 14)
    filled = complete(fit(given, 2, 4, 0, ignore), given, 0)
    assert filled.shape == given.images.shape


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (torch.zeros(4, 1, 8, 8, dtype=torch.bool), "no image has a missing pixel"),
        ((torch.arange(4) == 2).view(4, 1, 1, 1).expand(4, 1, 8, 8), "all pixels of 1 image.* number 3"),
        (torch.eye(8, dtype=torch.bool).expand(4, 1, 8, 8), "a pixel is missing in every image"),
    ],
)
def test_what_cannot_be_filled_is_told_before_anything_is_learned(missing: torch.Tensor, told: str) -> None:
    with pytest.raises(UserError, match=told):
        fit(Incomplete(stripes(4, 0).images, missing), 1, 2, 0, ignore)
