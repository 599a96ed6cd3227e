"""A region is drawn anew for the class that is wanted, whatever the source's; all else stays to the bit."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.batches import RandomFeed, RegionFeed
from stages.generators.drawing import TrainedGenerator, sources_of
from stages.generators.interface import Draws
from stages.generators.requests import requests
from stages.generators.training import train
from stages.imaging.pixels import to_bytes
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError
from tests.generators.toy import Memory, OneBatch, feed_for, learner_of, toy_params
from tests.labelling.toy import hasty_fit, toy_data

Make = Callable[..., AdversarialGenerator]
SIDE = 12


@pytest.fixture
def ours(make: Make) -> AdversarialGenerator:
    """As if it had learned: weights all over."""
    made, random = make("infilling", channels=3, size=SIDE), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=random))
    return made.eval()


def some(made: AdversarialGenerator, count: int = 5) -> Draws:
    """Sources of all grey levels, each with another box."""
    random = torch.Generator().manual_seed(2)
    sources = torch.randint(256, (count, 3, SIDE, SIDE), generator=random) / 127.5 - 1
    masks = torch.zeros(count, 1, SIDE, SIDE)
    for row in range(count):
        masks[row, 0, row : row + 4, 3 : 6 + row] = 1
    labels = torch.arange(count) % 3
    return Draws(labels, torch.randn(count, made.latent_dim, generator=random), torch.zeros(count), sources, masks)


@torch.no_grad()
def drawn(made: AdversarialGenerator, draws: Draws, **changes: Tensor) -> Tensor:
    return to_bytes(made.network(replace(draws, **changes)))


def test_pixels_outside_the_region_are_the_sources_to_the_bit(ours: AdversarialGenerator) -> None:
    draws = some(ours)
    images, outside = drawn(ours, draws), (draws.masks == 0).expand(-1, 3, -1, -1)
    assert torch.equal(images[outside], to_bytes(draws.sources)[outside])
    assert (images != to_bytes(draws.sources))[~outside].float().mean() > 0.9


def test_nothing_of_what_was_in_the_region_is_read(ours: AdversarialGenerator) -> None:
    draws = some(ours)
    inside = draws.masks.bool().expand(-1, 3, -1, -1)
    assert torch.equal(drawn(ours, draws), drawn(ours, draws, sources=torch.where(inside, -0.9, draws.sources)))
    beside = torch.where(inside, draws.sources, draws.sources.roll(1, 0))
    assert not torch.equal(drawn(ours, draws)[inside], drawn(ours, draws, sources=beside)[inside])


def test_a_region_is_drawn_by_class_and_all_latents(ours: AdversarialGenerator) -> None:
    draws = some(ours)
    inside = draws.masks.bool().expand(-1, 3, -1, -1)
    plain = drawn(ours, draws)[inside]
    assert not torch.equal(plain, drawn(ours, draws, labels=(draws.labels + 1) % 3)[inside])
    for first, last in ((0, ours.config.latent_dim), (ours.config.latent_dim, None)):
        latents = draws.latents.clone()
        latents[:, first:last] *= -1
        assert not torch.equal(plain, drawn(ours, draws, latents=latents)[inside])


def test_the_judge_sees_the_region_beside_the_image(ours: AdversarialGenerator) -> None:
    draws = some(ours)
    images = draws.sources
    assert images is not None
    one, other = (ours.judge(images, each) for each in (draws, replace(draws, masks=draws.masks.roll(1, 0))))
    assert (one != other).all()


def test_real_and_drawn_images_go_through_augmentation_with_their_regions(make: Make, feed: RandomFeed) -> None:
    made, seen = make("infilling"), []
    batch = feed_for(made, feed).draw()
    learner = replace(learner_of(made), augment=lambda images: seen.append(images) or images.flip(3))
    made.discriminator.trunk.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    made.learn(OneBatch(batch), learner)
    both, judged, *_ = seen
    assert torch.equal(both[:, 1:], torch.cat([batch.masks, batch.draws.masks]))
    assert torch.equal(both[:12, :1], batch.real)
    assert torch.equal(judged, both.flip(3))


@pytest.mark.parametrize("weight", [0.0, 50.0])
def test_reconstruction_holds_a_real_region_to_what_was_there(make: Make, feed: RandomFeed, weight: float) -> None:
    made = make("infilling")
    made.plan = {**made.plan, "reconstruction": weight}
    batch = feed_for(made, feed).draw()
    own = replace(batch.draws, sources=batch.real, masks=batch.masks)

    def apart() -> float:
        with torch.no_grad():
            return float((made.network(own) - batch.real).abs().mean())

    before = apart()
    for _ in range(6):
        made.learn(OneBatch(batch), learner_of(made, 0.01, 0.0))
    assert (apart() < 0.95 * before) == bool(weight)


@pytest.fixture
def region_feed(feed: RandomFeed) -> RegionFeed:
    """Ten labelled images, of which 1, 2, 4 and 5 have regions: of the classes 1, 2, 1 and 2."""
    masks = torch.zeros(10, 1, 8, 8, dtype=torch.bool)
    for row in (1, 2, 4, 5):
        masks[row, 0, row, :] = True
    return RegionFeed(**vars(feed), masks=masks)


def row_of(images: Tensor, feed: RegionFeed) -> list[int]:
    return [
        next(row for row, own in enumerate(feed.real.images) if torch.equal(to_bytes(each), own)) for each in images
    ]


def test_an_image_has_its_own_region_or_that_of_its_class(region_feed: RegionFeed) -> None:
    for _ in range(4):
        batch = region_feed.draw()
        assert batch.masks is not None
        assert batch.draws.masks is not None
        assert batch.draws.sources is not None
        rows, starts = row_of(batch.real, region_feed), row_of(batch.draws.sources, region_feed)
        for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
            lender, fake = (int(each[number, 0, :, 0].nonzero()) for each in (batch.masks, batch.draws.masks))
            label = int(batch.labels[number])
            assert lender == row if row in (1, 2, 4, 5) else label in (0, int(region_feed.labels[lender]))
            assert start < 10, "sources are labelled images"
            assert fake == (start if start in (1, 2, 4, 5) else lender)


def planted(each: int = 12) -> ReplicateData:
    """Dim noise, and in class 1 a bright square, whose place is known; in class 0 nothing, and no region."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(each)
    images = torch.randint(60, 100, (2 * each, 1, 8, 8), generator=random)
    masks = torch.zeros(2 * each, 1, 8, 8, dtype=torch.bool)
    for row in range(each, 2 * each):
        top, left = torch.randint(1, 4, (2,), generator=random).tolist()
        images[row, 0, top : top + 3, left : left + 3] += 140
        masks[row, 0, top - 1 : top + 4, left - 1 : left + 4] = True
    images = images.to(torch.uint8)
    return ReplicateData(images, labels, images[:0], images[:0], labels[:0], 2, False, masks=masks)


def test_a_lesion_is_put_into_healthy_images_and_taken_out_of_ill_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=1))
    data = planted()
    params = toy_params(
        "infilling", steps=45, batch_size=16, width=8, latent_dim=2, generator_learning_rate=4e-3, ema_decay=0.9,
        discriminator_learning_rate=2e-3, reconstruction=10.0, log_every=45, samples_every=45,
        augment={"policies": [], "limit": 0.0},
    )  # fmt: skip
    made = train(data, pool.unguessed(data), params, 0, lambda _: None, Memory())
    brightest = []
    for label, asked in enumerate(requests([range(24)] * 2, 0, 0, sources_of(made.generator, data))):
        images = made.draw(asked, data.images, 1.0, scores=False, masks=data.masks).images
        rows, regions = asked.sources[:24], data.masks[torch.from_numpy(asked.masks[:24])].numpy()
        assert np.array_equal(images[~regions], data.images[torch.from_numpy(rows)].numpy()[~regions])
        other = (data.labels[torch.from_numpy(rows)] != label).numpy()
        assert other.any()
        inside = np.where(regions, images, 0)[other]
        brightest.append(inside.max(axis=(1, 2, 3)).mean())
    assert brightest[1] > 170 > 130 > brightest[0]


def test_without_any_region_it_says_so_before_it_learns() -> None:
    data = toy_data(0, validation=0)
    for none in (data, replace(data, masks=torch.zeros(15, 1, 8, 8, dtype=torch.bool))):
        with pytest.raises(UserError, match=r"prepare\.masks"):
            train(none, pool.unguessed(none), toy_params("infilling"), 0, lambda _: None, Memory())


def test_colour_that_would_change_the_region_is_refused() -> None:
    with pytest.raises(ValueError, match="colour does not go with kind: infilling"):
        toy_params("infilling", augment={"policies": ["colour"], "limit": 0.5})


def test_its_file_says_whose_region_was_drawn(make: Make) -> None:
    data = planted(3)
    made = TrainedGenerator("infilling", make("infilling", classes=2).eval())
    (asked, *_) = requests([range(6), range(6)], 0, 0, sources_of(made.generator, data))
    assert asked.masks is not None
    assert set(asked.masks.tolist()) <= {3, 4, 5}, "those that have a region"
