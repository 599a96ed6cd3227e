"""A batch is rows of the real images, drawn by the feed's own random numbers."""

from dataclasses import replace

import torch
from torch import Tensor

from stages.generators.interface import Batch, Feed
from stages.imaging.pixels import to_bytes
from stages.labelling.data import RealImages


def seeded(feed: Feed, seed: int = 0) -> Feed:
    return replace(feed, random=torch.Generator().manual_seed(seed))


def rows(batch: Batch, real: RealImages) -> Tensor:
    """Which of the real images these are, (N,)."""
    same = (to_bytes(batch.real)[:, None] == real.images).flatten(2).all(dim=2)
    assert (same.sum(dim=1) == 1).all()
    return same.int().argmax(dim=1)


def test_images_keep_their_labels_and_trust(feed: Feed, real: RealImages) -> None:
    batch = feed.draw()
    drawn = rows(batch, real)
    assert torch.equal(batch.labels, real.labels[drawn])
    assert torch.equal(batch.trust, real.trust[drawn])
    assert batch.latents.shape == (12, feed.latent_dim)


def test_every_image_has_its_turn(feed: Feed, real: RealImages) -> None:
    assert set(rows(replace(feed, batch_size=400).draw(), real).tolist()) == set(range(30))


def test_only_the_rows_asked_for_are_drawn(feed: Feed, real: RealImages) -> None:
    among = torch.tensor([3, 17, 28])
    batch = replace(feed, batch_size=100).draw(among)
    assert set(rows(batch, real).tolist()) == {3, 17, 28}


def test_a_batch_may_be_larger_than_the_set(feed: Feed) -> None:
    assert len(feed.draw(torch.tensor([4])).real) == 12


def test_batches_follow_the_random_numbers_of_the_feed_alone(feed: Feed) -> None:
    first = seeded(feed).draw()
    before = torch.random.get_rng_state()
    again = seeded(feed).draw()
    assert torch.equal(torch.random.get_rng_state(), before)
    for name in ("real", "labels", "trust", "latents"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.latents, seeded(feed, 1).draw().latents)
