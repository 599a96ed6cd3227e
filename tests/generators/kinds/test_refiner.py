"""A refiner begins as the identity, is held to what was drawn, remembers what it made, and may be blind to labels."""

from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from stages.generators import training
from stages.generators.batches import DomainFeed
from stages.generators.drawing import TrainedGenerator, sources_of
from stages.generators.interface import Draws
from stages.generators.kinds import refiner
from stages.generators.params import RefinerParams
from stages.generators.requests import requests
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling import pool
from stages.labelling.data import ReplicateData, TrustedImages
from tests.generators.toy import Memory, changed, copied, learner_of, some_draws, toy_params
from tests.labelling.toy import of_two_domains, toy_data

DATA = of_two_domains(toy_data(1))
SOURCES = DATA.images[: DATA.from_source]
GUESSED = pool.PoolLabels(
    torch.zeros(len(DATA.unlabelled), dtype=torch.int64), torch.ones(len(DATA.unlabelled)), "", 0, 0
)
Make = Callable[..., refiner.Kind]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No classifier is needed: nothing that it judges is looked at here, and the last state is the one that is kept."""
    monkeypatch.setattr(training.quality.Judge, "measure", lambda *_: {"kid": 0.0})
    monkeypatch.setattr(pool, "learn", lambda *_: None)
    monkeypatch.setattr(training, "_examiner", lambda *_: None)


@pytest.fixture
def make() -> Make:
    def make(data: ReplicateData = DATA, **changes: Any) -> refiner.Kind:
        params = cast(RefinerParams, toy_params("refiner", **changes))
        plan, start = refiner.Kind.study(data, GUESSED.among(data), params, 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = refiner.Kind(plan)
        made.initialise(start)
        return made

    return make


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def draws_of(generator: refiner.Kind, images: Tensor) -> Draws:
    sources = to_network_range(images)
    return some_draws(torch.zeros(len(images), dtype=torch.int64), normal(len(images), generator.latent_dim), sources)


def feed_of(generator: refiner.Kind, guess: int = 0) -> DomainFeed:
    """Batches of 16, the target's images with this label."""
    source = TrustedImages(SOURCES, DATA.labels[: len(SOURCES)], torch.ones(len(SOURCES)))
    count = len(DATA.unlabelled)
    target = TrustedImages(DATA.unlabelled, torch.full((count,), guess), torch.ones(count))
    random = torch.Generator().manual_seed(1)
    return DomainFeed(real=target, source=source, batch_size=16, latent_dim=generator.latent_dim, random=random)


def trained(checkpoint: Memory | None = None, data: ReplicateData = DATA, **changes: Any) -> refiner.Kind:
    params = toy_params("refiner", **{"batch_size": 16, "steps": 60} | changes)
    made = training.train(data, GUESSED, params, 0, lambda _: None, checkpoint or Memory()).generator
    assert isinstance(made, refiner.Kind)
    return made


@torch.no_grad()
def change(generator: refiner.Kind) -> float:
    """Mean difference between sources and what the refiner makes of them, in grey levels."""
    refined = to_bytes(generator.network(draws_of(generator, SOURCES)))
    return float((refined.float() - SOURCES.float()).abs().mean())


def test_before_it_learns_it_leaves_an_image_as_it_is(make: Make) -> None:
    generator = make()
    draws = draws_of(generator, SOURCES)
    assert torch.equal(generator.network(draws), draws.sources)


@pytest.mark.parametrize("label", [0, 2])
def test_a_label_is_that_of_the_drawn_image(make: Make, label: int) -> None:
    made = TrainedGenerator("refiner", make().eval())
    wanted = [range(3 * (each == label)) for each in range(DATA.classes)]
    (asked,) = requests(wanted, 0, 0, sources_of(made.generator, DATA))
    assert asked.sources is not None
    assert DATA.labels[asked.sources].unique().tolist() == [label]
    assert asked.sources.max() < len(SOURCES), "only the source domain is drawn from"
    drawn = torch.from_numpy(made.draw(asked, DATA.images, 1.0, scores=True).images)
    assert torch.equal(drawn, DATA.images[asked.sources[:3]])


def test_the_greater_the_weight_the_less_is_changed() -> None:
    free, still = (change(trained(self_regularisation=weight, steps=25)) for weight in (0, 100))
    assert free > 10
    assert still < 2


def test_a_pixel_sees_a_part_of_the_drawn_image(make: Make) -> None:
    generator = make()
    torch.nn.init.normal_(generator.network.output.weight)
    sources = torch.zeros(1, 1, 31, 31, requires_grad=True)
    draws = some_draws(torch.zeros(1, dtype=torch.int64), normal(1, generator.latent_dim), sources)
    generator.network(draws)[0, 0, 15, 15].backward()
    assert sources.grad is not None
    assert sources.grad[0, 0].nonzero().amin(dim=0).tolist() == [9, 9]
    assert sources.grad[0, 0].nonzero().amax(dim=0).tolist() == [21, 21]


def test_a_patch_is_judged_by_its_own_pixels(make: Make) -> None:
    discriminator = make(width=8).discriminator.eval()
    labels, trust = torch.zeros(1, dtype=torch.int64), torch.ones(1)
    image = normal(1, 1, 32, 32).requires_grad_()
    logits = discriminator(image, labels, trust)
    assert logits.shape == (1, 256)
    logits[0, 8 * 16 + 8].backward()
    assert image.grad is not None
    reached = image.grad[0, 0].nonzero()
    assert (reached.amax(dim=0) - reached.amin(dim=0) + 1).tolist() == [7, 7]


@pytest.mark.parametrize("conditional", [True, False])
def test_only_a_conditional_one_looks_at_labels(make: Make, conditional: bool) -> None:
    after = []
    for guess in (0, 1):
        generator = make(conditional=conditional)
        feed, learner = feed_of(generator, guess), learner_of(generator)
        for _ in range(3):
            generator.learn(feed, learner)
        after.append(copied(generator))
    assert bool(changed(generator, after[0])) == conditional


def test_a_label_that_nobody_trusts_is_no_label(make: Make) -> None:
    discriminator = make().discriminator.eval()
    images, nobody = normal(4, 1, 8, 8), torch.zeros(4)
    one, other = (discriminator(images, torch.full((4,), label), nobody) for label in (0, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, discriminator(images, torch.zeros(4, dtype=torch.int64), nobody + 1))


def test_it_remembers_drawn_images_first_and_then_half_of_every_batch(make: Make) -> None:
    generator = make(history=40)
    known = {image.numpy().tobytes(): int(label) for image, label in zip(SOURCES, DATA.labels, strict=False)}
    for image, label in zip(generator.past, generator.past_labels, strict=True):
        assert known[image.numpy().tobytes()] == label
    torch.nn.init.normal_(generator.network.output.bias)
    feed, before = feed_of(generator), generator.past.clone()
    generator.learn(feed, learner_of(generator))
    assert (generator.past != before).flatten(1).any(dim=1).sum() == 8


def test_the_discriminator_sees_what_was_remembered(make: Make) -> None:
    after = []
    for shade in (0, 255):
        generator = make(history=40)
        generator.past.fill_(shade)
        generator.learn(feed_of(generator), learner_of(generator))
        after.append(copied(generator.discriminator))
    assert changed(generator.discriminator, after[0])


@pytest.mark.parametrize("history", [0, 3, 40])
def test_a_killed_training_remembers_and_ends_in_the_same_bytes(history: int) -> None:
    memory = Memory()
    settings = {"steps": 12, "checkpoint_every": 4, "history": history}
    whole = trained(memory, **settings)
    again = trained(Memory(memory.history[1]), **settings)
    assert not changed(again, copied(whole))
    if history:
        saved = Memory(memory.history[1]).load()
        assert saved is not None
        assert saved["tensors"]["networks"]["past"].shape == (history, 1, 8, 8)
