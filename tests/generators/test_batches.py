"""A batch is rows of the real images, drawn by the feed's own random numbers, in the stated shares."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.generators.batches import RandomFeed
from stages.generators.interface import Batch
from stages.generators.params import BatchParams
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.data import TrustedImages


def seeded(feed: RandomFeed, seed: int = 0, **changes: Any) -> RandomFeed:
    return replace(feed, random=torch.Generator().manual_seed(seed), **changes)


def drawn_as(labelled_share: float | None = None, balanced: bool = False) -> BatchParams:
    return BatchParams(labelled_share=labelled_share, balanced=balanced)


def rows(images: Tensor, real: TrustedImages) -> Tensor:
    """Which of the real images these are, (N,)."""
    same = (to_bytes(images)[:, None] == real.images).flatten(2).all(dim=2)
    assert (same.sum(dim=1) == 1).all()
    return same.int().argmax(dim=1)


def test_images_keep_their_labels_and_trust(feed: RandomFeed, real: TrustedImages) -> None:
    batch = feed.draw()
    drawn = rows(batch.real, real)
    assert torch.equal(batch.labels, real.labels[drawn])
    assert torch.equal(batch.trust, real.trust[drawn])
    assert batch.draws.latents.shape == (12, feed.latent_dim)


def test_every_image_has_its_turn(feed: RandomFeed, real: TrustedImages) -> None:
    assert set(rows(replace(feed, batch_size=400).draw().real, real).tolist()) == set(range(30))


@pytest.mark.parametrize("params", [drawn_as(), drawn_as(0.5), drawn_as(balanced=True), drawn_as(0.5, True)])
def test_only_the_rows_asked_for_are_drawn(feed: RandomFeed, real: TrustedImages, params: BatchParams) -> None:
    among = torch.tensor([3, 17, 28])
    batch = replace(feed, batch_size=100, params=params).draw(among)
    assert set(rows(batch.real, real).tolist()) == {3, 17, 28}


def test_a_batch_may_be_larger_than_the_set(feed: RandomFeed) -> None:
    assert len(feed.draw(torch.tensor([4])).real) == 12


def tensors(batch: Batch) -> list[Tensor]:
    draws = batch.draws
    return [batch.real, batch.trust, draws.labels, draws.latents, *(() if draws.sources is None else (draws.sources,))]


@pytest.mark.parametrize("params", [drawn_as(), drawn_as(0.3, True)])
def test_batches_follow_the_random_numbers_of_the_feed_alone(feed: RandomFeed, params: BatchParams) -> None:
    first = seeded(feed, params=params).draw()
    before = torch.random.get_rng_state()
    again, other = (seeded(feed, seed, params=params).draw() for seed in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(map(torch.equal, tensors(first), tensors(again)))
    assert not any(map(torch.equal, tensors(first), tensors(other)))


def test_where_nothing_is_asked_for_rows_are_uniform_and_their_latents_normal(
    feed: RandomFeed, real: TrustedImages
) -> None:
    """The same draws as with two lines of PyTorch."""
    batch, random = seeded(feed, 5, with_sources=False).draw(), torch.Generator().manual_seed(5)
    drawn = torch.randint(30, (12,), generator=random)
    assert torch.equal(batch.real, to_network_range(real.images[drawn]))
    assert torch.equal(batch.draws.latents, torch.randn(12, feed.latent_dim, generator=random))
    assert batch.draws.sources is None


def feed_of(labelled: int, pool: int, batch_size: int, params: BatchParams, classes: int = 3) -> RandomFeed:
    """Images whose only pixel is their own number."""
    count = labelled + pool
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1)
    real = TrustedImages(images, torch.arange(count) % classes, torch.ones(count))
    return RandomFeed(
        real=real,
        labelled=labelled,
        batch_size=batch_size,
        params=params,
        latent_dim=2,
        with_sources=False,
        random=torch.Generator().manual_seed(0),
    )


def numbers(batch: Batch) -> Tensor:
    return to_bytes(batch.real).flatten().long()


@given(
    labelled=st.integers(1, 20),
    pool=st.integers(0, 20),
    batch_size=st.integers(2, 64),
    share=st.floats(0, 1, exclude_min=True),
    balanced=st.booleans(),
)
def test_each_batch_has_the_stated_share_of_labelled_images(
    labelled: int, pool: int, batch_size: int, share: float, balanced: bool
) -> None:
    """To the nearest image, and one at least; all of it where there is no pool."""
    feed = feed_of(labelled, pool, batch_size, drawn_as(share, balanced))
    for _ in range(2):
        drawn = numbers(feed.draw())
        assert len(drawn) == batch_size
        of_them = int((drawn < labelled).sum())
        if pool == 0:
            assert of_them == batch_size
        else:
            assert of_them >= 1
            assert of_them == 1 or abs(of_them - share * batch_size) <= 0.5


@pytest.mark.parametrize("balanced", [False, True])
def test_a_share_of_one_draws_no_pool(balanced: bool) -> None:
    assert (numbers(feed_of(5, 20, 200, drawn_as(1.0, balanced)).draw()) < 5).all()


def shares(feed: RandomFeed, of: slice = slice(None)) -> Tensor:
    """How often each class is drawn."""
    labels = torch.cat([feed.draw().labels[of] for _ in range(40)])
    return labels.bincount(minlength=3) / len(labels)


UNEQUAL = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)


@pytest.mark.parametrize(("balanced", "expected"), [(False, [0.6, 0.3, 0.1]), (True, [1 / 3] * 3)])
def test_balanced_batches_draw_all_classes_equally_often(balanced: bool, expected: list[float]) -> None:
    feed = feed_of(100, 0, 100, drawn_as(None, balanced))
    feed = replace(feed, real=replace(feed.real, labels=UNEQUAL))
    torch.testing.assert_close(shares(feed), torch.tensor(expected), atol=0.03, rtol=0)  # 4 standard errors


def test_labelled_and_pool_are_balanced_each_by_itself() -> None:
    feed = feed_of(100, 100, 100, drawn_as(0.5, balanced=True))
    feed = replace(feed, real=replace(feed.real, labels=torch.cat([UNEQUAL, UNEQUAL.flip(0)])))
    for half in (slice(50), slice(50, None)):
        torch.testing.assert_close(shares(feed, half), torch.full((3,), 1 / 3), atol=0.043, rtol=0)


def test_balanced_draws_within_a_class_are_uniform() -> None:
    feed = feed_of(100, 0, 100, drawn_as(balanced=True))
    feed = replace(feed, real=replace(feed.real, labels=UNEQUAL))
    drawn = torch.cat([numbers(feed.draw()) for _ in range(60)]).bincount(minlength=100)
    assert drawn.min() >= 1, "an image that is never drawn"
    assert drawn[90:].min() > 140  # of 200 on average
    assert drawn[90:].max() < 260


def test_a_source_is_another_image_of_the_class(feed: RandomFeed, real: TrustedImages) -> None:
    batch = replace(feed, batch_size=4000).draw()
    assert batch.draws.sources is not None
    own, sources = rows(batch.real, real), rows(batch.draws.sources, real)
    assert torch.equal(real.labels[sources], batch.labels)
    assert (own != sources).all()
    # every other image of the class is one, about equally often: 4000 / (30 * 9) = 15 times each
    pairs = torch.stack([own, sources], dim=1).unique(dim=0, return_counts=True)[1]
    assert len(pairs) == 30 * 9
    assert pairs.max() < 35


def test_an_image_that_is_alone_in_its_class_is_its_own_source(feed: RandomFeed, real: TrustedImages) -> None:
    labels = torch.ones(30, dtype=torch.int64)
    labels[7], labels[11], labels[23] = 0, 4, 4  # one alone, a class of two, and classes that have none
    batch = replace(feed, batch_size=1000, real=replace(real, labels=labels)).draw()
    assert batch.draws.sources is not None
    partner = dict(zip(rows(batch.real, real).tolist(), rows(batch.draws.sources, real).tolist(), strict=True))
    assert (partner[7], partner[11], partner[23]) == (7, 23, 11)


def test_kinds_that_start_from_noise_get_no_sources(feed: RandomFeed) -> None:
    assert replace(feed, with_sources=False).draw().draws.sources is None
