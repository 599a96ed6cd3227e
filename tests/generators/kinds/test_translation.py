"""A translator begins as the identity, sees as much as its range says and no label, and stops where labels say so."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stages.generators import flips
from stages.generators.batches import DomainFeed, RandomFeed
from stages.generators.drawing import TrainedGenerator, sources_of
from stages.generators.interface import Draws
from stages.generators.kinds.translation import LARGEST_DENSE, Kind
from stages.generators.requests import requests
from stages.generators.training import train
from stages.generators.translators import build_translator
from stages.imaging.pixels import to_bytes
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError
from tests.generators.toy import Memory, changed, copied, feed_for, learner_of, toy_params
from tests.labelling.toy import hasty_fit, of_two_domains, toy_data

REACH = {"local": 2, "regional": 7, "global": 15}
every_range = pytest.mark.parametrize("reach", REACH)
LATENT = 6


@pytest.fixture(autouse=True)
def hasty_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pool, flips):
        monkeypatch.setattr(module, "fit", hasty_fit(steps=2))


def translator(reach: str, size: int = 16, channels: int = 1, learned: bool = True) -> torch.nn.Module:
    """As it begins, or with weights all over."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = build_translator(reach, channels, size, LATENT, 8)
        if learned:
            for parameter in made.parameters():
                parameter.data.normal_(std=0.2)
    return made.eval()


def some(size: int = 16, channels: int = 1, count: int = 3) -> Draws:
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(count)
    latents = torch.randn(count, LATENT + size**2, generator=random)
    sources = torch.rand(count, channels, size, size, generator=random) * 2 - 1
    return Draws(labels, latents, torch.zeros_like(labels), sources)


@torch.no_grad()
def drawn(network: torch.nn.Module, draws: Draws, **changes: Tensor) -> Tensor:
    images: Tensor = network(replace(draws, **changes))
    return images


@every_range
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (15, 3), (28, 1), (64, 1)])
def test_it_begins_as_the_identity_at_any_size(reach: str, size: int, channels: int) -> None:
    draws = some(size, channels)
    assert draws.sources is not None
    assert torch.equal(
        to_bytes(drawn(translator(reach, size, channels, learned=False), draws)), to_bytes(draws.sources)
    )


@every_range
def test_a_pixel_sees_as_much_of_its_source_as_the_range_says(reach: str) -> None:
    network, draws = translator(reach), some()
    assert draws.sources is not None
    other = draws.sources.clone()
    other[:, :, 15, 0] *= -1
    differs = (drawn(network, draws) != drawn(network, draws, sources=other)).any(dim=(0, 1))
    rows, columns = differs.nonzero().T
    assert max(int((15 - rows).max()), int(columns.max())) == REACH[reach]


@every_range
def test_latent_noise_and_source_matter_and_the_label_does_not(reach: str) -> None:
    network, draws = translator(reach), some()
    assert draws.sources is not None
    plain = drawn(network, draws)
    for first, last in ((0, LATENT), (LATENT, None)):
        latents = draws.latents.clone()
        latents[:, first:last] += 1
        assert not torch.equal(drawn(network, draws, latents=latents), plain)
    assert not torch.equal(drawn(network, draws, sources=-draws.sources), plain)
    assert torch.equal(drawn(network, draws, labels=draws.labels.flip(0), index=draws.index + 1), plain)


@every_range
def test_an_image_does_not_depend_on_the_others_of_its_batch(reach: str) -> None:
    network, draws = translator(reach), some()
    assert draws.sources is not None
    sources, latents = draws.sources.clone(), draws.latents.clone()
    sources[1:] *= -1
    latents[1:] += 1
    one, other = drawn(network, draws), drawn(network, draws, sources=sources, latents=latents)
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def made(data: ReplicateData, checkpoint: Memory | None = None, **changes: object) -> TrainedGenerator:
    params = toy_params("translation", steps=6, log_every=3, samples_every=3, generator_learning_rate=0.01, **changes)
    return train(data, pool.unguessed(data), params, 0, lambda _: None, checkpoint or Memory())


def test_it_learns_the_same_whatever_the_labels() -> None:
    """Labels choose when to stop, and there is none of the target here."""
    data = of_two_domains(toy_data(12, validation=0))
    one, other = made(data), made(replace(data, labels=data.labels.roll(4)))
    weights = one.generator.network.state_dict()
    assert not changed(other.generator.network, weights)
    assert changed(one.generator.network, copied(Kind(one.generator.plan).network))


def test_images_start_from_labelled_ones_of_the_source_and_inherit_their_labels() -> None:
    data = of_two_domains(toy_data(4))
    kind = Kind(made(data).generator.plan)
    for asked in requests([range(40)] * 3, 0, 0, sources_of(kind, data)):
        assert asked.sources is not None
        assert (asked.sources < data.from_source).all()
        assert (data.labels[torch.from_numpy(asked.sources)].numpy() == asked.labels).all()
        assert len(set(asked.sources[:5])) == 5, "each has its turn"


@pytest.mark.parametrize("taught", ["more", "less"])
def test_the_translator_that_teaches_most_is_kept_as_far_back_as_the_start(
    monkeypatch: pytest.MonkeyPatch, taught: str
) -> None:
    """By what classifiers say: those that learned from untranslated images are half sure."""
    data, looks = of_two_domains(toy_data(4)), []

    def say(_: object, images: Tensor, __: Tensor) -> Tensor:
        looks.append(len(images))
        sure = 0.5 if len(looks) == 1 else 0.5 + (0.1 if taught == "more" else -0.1) * len(looks)
        labels = data.labels[data.of_target]
        own = sure + torch.linspace(0, 0.01 * len(looks), len(labels))[:, None]
        return ((1 - own) / (data.classes - 1)).repeat(1, data.classes).scatter(1, labels[:, None], own)

    monkeypatch.setattr(flips.Examiner, "taught", say)
    gan = made(data)
    assert gan.quality["kept_step"] == (6 if taught == "more" else 0)
    assert len(looks) == 3
    (asked, *_) = requests([range(5)] * 3, 0, 0, sources_of(gan.generator, data))
    images = gan.draw(asked, data.images, 1.0, scores=False).images
    assert (images == data.images[torch.from_numpy(asked.sources[:5])].numpy()).all() == (taught == "less")


@pytest.mark.parametrize("weights", [{"cycle": 1.0}, {"identity": 1.0}, {"cycle": 1.0, "identity": 1.0}], ids=str)
def test_ties_are_loose_at_the_start_and_hold_what_has_changed(
    make: Callable[..., Kind], feed: RandomFeed, weights: dict[str, float]
) -> None:
    def losses(change: float) -> list[float]:
        found = []
        for each in ({}, weights):
            ours = make("translation", **each)
            ours.network.output.bias.data += change
            found.append(
                float(ours.learn(feed_for(ours, replace(feed, random=seeded())), learner_of(ours))["generator_loss"])
            )
        return found

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(1)

    untied, tied = losses(0.0)
    assert tied == pytest.approx(untied)
    untied, tied = losses(-0.3)
    assert tied > untied + 0.05


def test_a_second_translator_finds_the_way_back_where_a_cycle_is_asked_for(
    make: Callable[..., Kind], feed: RandomFeed
) -> None:
    assert make("translation").way_back is None
    ours = make("translation", cycle=1.0)
    assert ours.way_back is not None
    before = copied(ours.way_back)
    ours.learn(feed_for(ours, feed), learner_of(ours))
    assert changed(ours.way_back, before)


@pytest.mark.parametrize("size", [LARGEST_DENSE, LARGEST_DENSE + 1, 128])
def test_its_discriminator_has_at_most_some_million_weights(size: int) -> None:
    plan = {"channels": 3, "size": size, "range": "local", "width": 8, "latent_dim": 6, "cycle": 0.0, "identity": 0.0}
    discriminator = Kind(plan).discriminator
    assert sum(parameter.numel() for parameter in discriminator.parameters()) < 3_000_000
    trust = torch.ones(2)
    images = torch.rand(2, 3, size, size)
    assert discriminator.logits(discriminator.features(images, None), trust.long(), trust).shape == (2,)


def test_a_set_without_a_target_or_without_a_class_in_the_source_is_refused_in_words() -> None:
    alone = toy_data(4)
    with pytest.raises(UserError, match=r"needs images of a target domain.*pool: true"):
        made(alone)
    with pytest.raises(UserError, match="needs images of a target domain"):
        made(replace(alone, unlabelled=alone.unlabelled[:0], from_source=len(alone.labels)))
    with pytest.raises(UserError, match="class 2 has no labelled image in the source domain"):
        made(replace(alone, from_source=10))


def test_target_and_source_are_drawn_each_by_itself(feed: RandomFeed) -> None:
    """All images of the target, and all of the source with their own labels, in no fixed pairs."""
    domains = DomainFeed(
        real=feed.real[10:],
        source=feed.real[:10],
        batch_size=600,
        latent_dim=LATENT,
        random=torch.Generator().manual_seed(0),
    )
    batch = domains.draw()
    assert batch.draws.sources is not None

    def row(images: Tensor, among: Tensor) -> Tensor:
        return (to_bytes(images)[:, None] == among).flatten(2).all(dim=2).int().argmax(dim=1)

    real, source = row(batch.real, feed.real.images), row(batch.draws.sources, feed.real.images)
    assert sorted(real.unique().tolist()) == list(range(10, 30))
    assert sorted(source.unique().tolist()) == list(range(10))
    assert torch.equal(batch.labels, feed.real.labels[real])
    assert torch.equal(batch.trust, feed.real.trust[real])
    assert torch.equal(batch.draws.labels, feed.real.labels[source])
    assert len(torch.stack([real, source]).unique(dim=1).T) > 150  # of 200 pairs
