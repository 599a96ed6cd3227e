"""Mixing joins two images and, by the same share, their targets."""

import pytest
import torch
from torch import Generator

from stages.downstream.mixing import build_mixing

NAMES = ["mixup", "cutmix"]
COUNT, SIDE = 12, 8


def seeded(seed=0):
    return Generator().manual_seed(seed)


def batch():
    """Each image is flat, of a level of its own, and its target has a place of its own."""
    levels = torch.linspace(-1, 1, COUNT)
    return levels.view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE).clone(), torch.eye(COUNT)


@pytest.mark.parametrize("name", ["none", "classic", "randaugment", "trivialaugment"])
def test_other_policies_mix_nothing(name):
    assert build_mixing(name) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(5))
def test_targets_say_how_much_of_which_image_is_there(name, seed):
    images, targets = batch()
    mixed, shares = build_mixing(name)(images, targets, seeded(seed))
    assert mixed.shape == images.shape
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(COUNT))
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), shares @ images.mean(dim=(1, 2, 3)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_mixup_blends_whole_images_and_cutmix_keeps_pixels(seed):
    images, targets = batch()
    blended, _ = build_mixing("mixup")(images, targets, seeded(seed))
    assert all(len(image.unique()) == 1 for image in blended)
    cut, shares = build_mixing("cutmix")(images, targets, seeded(seed))
    for image, share in zip(cut, shares, strict=True):
        assert torch.isin(image, images[share > 0]).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_image_goes_in_as_often_as_before(name):
    """Twice, as one and as the other of a pair, so that each target's total is what it was, weights included."""
    images, targets = batch()
    weights = torch.arange(1.0, COUNT + 1)
    _, mixed = build_mixing(name)(images, targets * weights.unsqueeze(1), seeded())
    torch.testing.assert_close(mixed.sum(dim=0), weights)


def test_pairs_come_from_all_over_the_batch():
    images, targets = batch()
    mixed = torch.cat([build_mixing("cutmix")(images, targets, seeded(seed))[1] for seed in range(30)])
    pairs = {tuple(target.nonzero().flatten().tolist()) for target in mixed}
    assert len([pair for pair in pairs if len(pair) == 2]) > COUNT * 3


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_alone_decides_and_nothing_given_changes(name):
    images, targets = batch()
    mixing, state = build_mixing(name), torch.get_rng_state()
    first, same, other = (mixing(images, targets, seeded(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, batch()[0])
    assert torch.equal(targets, batch()[1])


def test_shares_follow_the_published_distributions():
    """Beta(.2, .2) has a variance of 1 / (4 * 1.4); Beta(1, 1) is uniform, but cut rectangles end at the border."""
    images, targets = batch()

    def shares(name):
        mixing, generator = build_mixing(name), seeded()
        return torch.stack([mixing(images, targets, generator)[1].amax(dim=1)[0] for _ in range(400)])

    assert (2 * (shares("mixup") - 0.5)).square().mean().item() == pytest.approx(1 / 1.4, abs=0.08)
    assert 0.6 < shares("cutmix").mean().item() < 0.9
