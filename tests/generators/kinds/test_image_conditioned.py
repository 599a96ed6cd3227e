"""At its start a draw resembles its source as stated and is otherwise the Gaussian's; pairs are what is judged.

Convolutional networks start at the source, and know no class.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.batches import RandomFeed
from stages.generators.interface import Batch, Draws, Feed
from stages.generators.kinds.image_conditioned import LIKENESS, Kind
from stages.generators.moments import Moments
from stages.generators.quality import draw_classes
from stages.generators.training import train
from stages.labelling.data import ReplicateData, TrustedImages
from stages.labelling.pool import unguessed
from stages.plumbing.errors import UserError
from tests.generators.toy import Memory, OneBatch, learner_of, random_moments, some_draws, toy_params
from tests.labelling.toy import CLASSES, toy_data, toy_images

COUNT = 40_000


@pytest.fixture
def ours(make: Callable[..., AdversarialGenerator]) -> AdversarialGenerator:
    """Gaussians of full rank, so that every direction varies."""
    return make("image_conditioned", latent_dim=16).eval()


@pytest.fixture
def moments(ours: AdversarialGenerator) -> Moments:
    return random_moments(ours.config)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoded(images: Tensor, moments: Moments) -> Tensor:
    return (images.flatten(1) - moments.components.mean) @ moments.components.basis.T


def at_the_start(ours: AdversarialGenerator, moments: Moments, label: int) -> tuple[Tensor, Tensor]:
    """Components (N, D) of many sources, which are of the class, and of what is drawn from them."""
    own = moments.means[label] + normal(COUNT, 16, seed=1) @ moments.factors[label].T
    sources = (own @ moments.components.basis).unflatten(1, (1, 8, 8))
    draws = some_draws(torch.full((COUNT,), label), normal(COUNT, 16, seed=2), sources)
    with torch.no_grad():
        return own, encoded(ours.network(draws), moments)


@pytest.mark.parametrize("label", [0, 2])
def test_a_draw_has_the_classes_mean_and_covariance(ours: AdversarialGenerator, moments: Moments, label: int) -> None:
    _, drawn = at_the_start(ours, moments, label)
    covariance = moments.factors[label] @ moments.factors[label].T
    error = 5 * covariance.diagonal().max().item() / COUNT**0.5
    torch.testing.assert_close(drawn.mean(dim=0), moments.means[label], atol=error, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), covariance, atol=1.5 * error, rtol=0)


@pytest.mark.parametrize("label", [0, 2])
def test_a_draw_correlates_with_its_source_as_stated(ours: AdversarialGenerator, moments: Moments, label: int) -> None:
    own, drawn = at_the_start(ours, moments, label)
    for column in range(16):
        pair = torch.stack([own[:, column], drawn[:, column]]).corrcoef()
        assert pair[0, 1].item() == pytest.approx(LIKENESS, abs=5 * (1 - LIKENESS**2) / COUNT**0.5)


def test_what_is_learned_reads_the_source_too(ours: AdversarialGenerator, moments: Moments) -> None:
    """Beyond the start, to which a source adds a straight line: what a source changes depends on the latents."""
    ours.network.output.weight.data = normal(*ours.network.output.weight.shape, seed=3)
    labels, sources = torch.zeros(4, dtype=torch.int64), normal(4, 1, 8, 8, seed=4)
    for latents in (normal(4, 16, seed=5), normal(4, 16, seed=6)):
        with torch.no_grad():
            one, other = (ours.network(some_draws(labels, latents, each)) for each in (sources, sources.roll(1, 0)))
        shift = encoded(one - other, moments) - LIKENESS * encoded(sources - sources.roll(1, 0), moments)
        assert shift.abs().mean() > 0.1


def test_another_source_leads_to_another_image_of_it_alone(ours: AdversarialGenerator) -> None:
    labels, latents, sources = torch.arange(3), normal(3, 16, seed=5), normal(3, 1, 8, 8, seed=4)
    other = sources.clone()
    other[1] *= -1
    with torch.no_grad():
        one, changed = (ours.network(some_draws(labels, latents, each)) for each in (sources, other))
    assert (one != changed).flatten(1).any(dim=1).tolist() == [False, True, False]


def test_the_discriminator_judges_an_image_beside_its_source(ours: AdversarialGenerator) -> None:
    labels, images, sources = torch.arange(3), normal(3, 1, 8, 8, seed=1), normal(3, 1, 8, 8, seed=2)
    one, other = (
        ours.judge(images, some_draws(labels, normal(3, 16, seed=3), each)) for each in (sources, sources.roll(1, 0))
    )
    assert not torch.isclose(one, other, atol=1e-4).any()
    turned = ours.judge(sources, some_draws(labels, normal(3, 16, seed=3), images))
    assert not torch.isclose(one, turned, atol=1e-4).any(), "which of both is the source matters"


def test_its_logit_is_that_of_the_pair_and_of_the_class(ours: AdversarialGenerator) -> None:
    judge, labels, trust = ours.discriminator, torch.arange(3), torch.tensor([0.0, 0.5, 1.0])
    images, sources = normal(3, 1, 8, 8, seed=1), normal(3, 1, 8, 8, seed=2)
    logits = judge.logits(judge.features(images, sources), labels, trust)
    for row in range(3):
        own, beside = judge.trunk(images[[row]])[0], judge.trunk(sources[[row]])[0]
        weight = judge.psi.weight[0]
        expected = weight[: len(own)] @ own + weight[len(own) :] @ beside + judge.psi.bias[0]
        expected = expected + trust[row] * judge.embed.weight[row] @ own
        torch.testing.assert_close(logits[row], expected)


def test_real_and_fake_stand_beside_the_same_sources(ours: AdversarialGenerator, feed: Feed) -> None:
    seen, batch = list[Tensor](), feed.draw()
    batch = replace(batch, draws=replace(batch.draws, latents=normal(12, 16, seed=7)))
    ours.train().discriminator.trunk.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    ours.learn(OneBatch(batch), learner_of(ours))
    images, sources, fake, sources_again = seen
    assert torch.equal(images[:12], batch.real)
    assert torch.equal(sources, batch.draws.sources.repeat(2, 1, 1, 1))
    assert torch.equal(fake, images[12:])
    assert torch.equal(sources_again, batch.draws.sources)


def test_a_component_without_spread_stays_finite(ours: AdversarialGenerator) -> None:
    ours.network.pixels.deviations[3:] = 0
    sources = (ours.network.means[:3] @ ours.network.pixels.basis).unflatten(1, (1, 8, 8))
    images = ours.network.train()(some_draws(torch.arange(3), normal(3, 16, seed=1), sources))
    assert images.isfinite().all()


@pytest.fixture
def convolutional(make: Callable[..., AdversarialGenerator]) -> AdversarialGenerator:
    return make("image_conditioned", layers="convolutional", width=8)


def some_pairs(ours: AdversarialGenerator) -> Draws:
    return some_draws(torch.arange(3), normal(3, ours.latent_dim, seed=5), normal(3, 1, 8, 8, seed=4).clamp(-1, 1))


def test_convolutions_begin_with_the_source_itself(convolutional: AdversarialGenerator) -> None:
    draws = some_pairs(convolutional)
    assert torch.equal(convolutional.network(draws), draws.sources)


def test_convolutions_are_told_no_class_and_read_source_and_both_sorts_of_latents(
    convolutional: AdversarialGenerator,
) -> None:
    network, draws, judge = convolutional.eval().network, some_pairs(convolutional), convolutional.judge
    nn.init.normal_(network.refine.output.weight, generator=torch.Generator().manual_seed(6))
    images, other = network(draws), replace(draws, labels=draws.labels.roll(1))
    assert torch.equal(network(other), images)
    assert torch.equal(judge(images, other), judge(images, draws))
    assert not torch.equal(judge(images, replace(draws, sources=-draws.sources)), judge(images, draws))
    for places in (slice(None, convolutional.config.latent_dim), slice(convolutional.config.latent_dim, None)):
        latents = draws.latents.clone()
        latents[:, places] *= -1
        assert not torch.equal(network(replace(draws, latents=latents)), images)


@pytest.mark.parametrize("layers", ["dense", "convolutional"])
def test_it_learns_pairs_of_classes_that_have_one(
    make: Callable[..., AdversarialGenerator], feed: RandomFeed, layers: str
) -> None:
    """A class of one image, beside which there is no other, is left out of the batches."""
    ours, seen = make("image_conditioned", layers=layers, width=8), list[Tensor]()
    labels = feed.real.labels.clamp(max=1)
    labels[-1] = 2
    lonely = replace(feed, real=replace(feed.real, labels=labels), latent_dim=ours.latent_dim, batch_size=200)

    class Watched(Feed):
        labels = lonely.labels

        def draw(self, among: Tensor | None = None) -> Batch:
            batch = lonely.draw(among)
            seen.append(batch.labels)
            return batch

    ours.learn(Watched(), learner_of(ours))
    assert set(seen[0].tolist()) == {0, 1}


def test_one_image_a_class_is_enough_beside_other_classes() -> None:
    """Convolutions learn from pairs of these alone, and draw for one's own; dense networks know but their own."""
    one = of_each(1)
    strangers, labels = toy_images(2, seed=9)
    beside = replace(one, other_images=strangers.flip(3), other_labels=labels + CLASSES)
    params = toy_params("image_conditioned", layers="convolutional", width=8, steps=2)
    real = TrustedImages(one.images, one.labels, torch.ones(CLASSES))
    learned = Kind.learned_from(beside, real, params)
    assert torch.equal(learned.images, torch.cat([one.images, strangers.flip(3)]))
    assert learned.labels.tolist() == [0, 1, 2, *(labels + CLASSES).tolist()]
    made = train(beside, unguessed(beside), params, 0, lambda _: None, Memory())
    images, drawn = draw_classes(made.generator.network, made.generator, beside, 2, seed=0)
    assert drawn.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.shape[1:] == one.images.shape[1:]
    with pytest.raises(UserError, match=r"prepare\.other_classes"):
        train(one, unguessed(one), params, 0, lambda _: None, Memory())
    assert Kind.learned_from(beside, real, toy_params("image_conditioned")) is real


def of_each(count: int) -> ReplicateData:
    images, labels = toy_images(count, seed=0)
    return replace(toy_data(0, validation=0), images=images, labels=labels)
