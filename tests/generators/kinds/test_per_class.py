"""The classes share nothing: neither when images are drawn nor when the players learn."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.batches import RandomFeed
from stages.generators.interface import Draws, Learner
from stages.generators.kinds.per_class import LEAST_TRUST
from stages.generators.network_config import NetworkConfig
from stages.imaging.pixels import to_network_range
from stages.labelling.data import TrustedImages
from tests.generators.toy import changed, copied, learner_of, random_moments, some_draws

LABELS = torch.tensor([2, 0, 0, 1, 2, 1, 2])


@pytest.fixture
def ours(make: Callable[..., AdversarialGenerator]) -> AdversarialGenerator:
    return make("per_class")


@pytest.fixture
def learner(ours: AdversarialGenerator) -> Learner:
    return learner_of(ours)


@pytest.fixture
def draws(config: NetworkConfig) -> Draws:
    return some_draws(LABELS, torch.randn(7, config.latent_dim, generator=torch.Generator().manual_seed(3)))


def rows_of(draws: Draws, rows: Tensor) -> Draws:
    return some_draws(draws.labels[rows], draws.latents[rows])


def classes_changed(network: nn.Module, before: dict[str, Tensor]) -> set[int]:
    """The classes whose own network has other parameters or buffers than before."""
    return {int(name.split(".")[1]) for name in changed(network, before)}


def test_each_image_is_drawn_by_the_network_of_its_class(ours: AdversarialGenerator, draws: Draws) -> None:
    network = ours.network.eval()
    images = network(draws)
    for row, label in enumerate(LABELS.tolist()):
        alone = network.networks[label](some_draws(torch.zeros(1, dtype=torch.int64), draws.latents[[row]]))
        torch.testing.assert_close(images[[row]], alone)


def test_each_image_is_judged_by_the_discriminator_of_its_class(ours: AdversarialGenerator, draws: Draws) -> None:
    random = torch.Generator().manual_seed(4)
    images = torch.rand(7, 1, 8, 8, generator=random) * 2 - 1
    logits = ours.eval().judge(images, draws)
    for row, label in enumerate(LABELS.tolist()):
        own = ours.discriminator.networks[label]
        alone = own.logits(own.trunk(images[[row]]), torch.zeros(1, dtype=torch.int64), torch.ones(1))
        torch.testing.assert_close(logits[[row]], alone)
    assert not logits.requires_grad


def test_the_order_of_the_rows_does_not_matter(ours: AdversarialGenerator, draws: Draws) -> None:
    network, order = ours.network.eval(), torch.tensor([6, 3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(network(rows_of(draws, order)), network(draws)[order])


def test_another_class_does_not_matter(ours: AdversarialGenerator, draws: Draws) -> None:
    network = ours.network.eval()
    before = network(draws)
    with torch.no_grad():
        for parameter in network.networks[2].parameters():
            parameter.add_(1)
    changed_rows = (network(draws) != before).flatten(1).any(dim=1)
    assert torch.equal(changed_rows, LABELS == 2)


def test_each_class_starts_from_its_own_gaussian(ours: AdversarialGenerator, config: NetworkConfig) -> None:
    moments = random_moments(config)
    for label in range(3):
        network = ours.network.networks[label]
        assert torch.equal(network.means, moments.means[[label]])
        assert torch.equal(network.factors, moments.factors[[label]])
        assert torch.equal(network.pixels.basis, moments.components.basis)
        assert torch.equal(ours.discriminator.networks[label].trunk.pixels.basis, moments.components.basis)


def test_what_is_compiled_are_the_networks_of_the_classes_and_learning_calls_these_very_modules(
    ours: AdversarialGenerator, feed: RandomFeed, learner: Learner
) -> None:
    """Wrapped as one, none would be called: learning goes around the whole."""
    names = {module: name for name, module in ours.named_modules()}
    compiled = [names[module] for module in ours.compiled()]
    expected = [f"{player}.networks.{label}" for label in range(3) for player in ("network", "discriminator")]
    assert compiled == [name + ".trunk" * name.startswith("discriminator") for name in expected]
    calls: list[str] = []
    for module in [*ours.compiled(), ours.network, ours.discriminator]:
        module.register_forward_pre_hook(lambda module, _: calls.append(names[module]))
    for _ in range(6):
        calls.clear()
        before = copied(ours.network)
        ours.learn(feed, learner)
        (label,) = classes_changed(ours.network, before)
        trunk = f"discriminator.networks.{label}.trunk"
        assert calls == [f"network.networks.{label}", trunk, trunk]


def test_one_step_teaches_the_players_of_one_class_and_every_class_has_its_turn(
    ours: AdversarialGenerator, feed: RandomFeed, learner: Learner
) -> None:
    taught = set()
    for _ in range(12):
        generator, discriminator = copied(ours.network), copied(ours.discriminator)
        ours.learn(feed, learner)
        now = classes_changed(ours.network, generator)
        assert len(now) == 1
        assert classes_changed(ours.discriminator, discriminator) == now
        taught |= now
    assert taught == {0, 1, 2}


def test_players_see_trusted_images_of_their_class_only(
    ours: AdversarialGenerator, feed: RandomFeed, real: TrustedImages, learner: Learner
) -> None:
    # Every image is filled with the number of its class, or with white where its label is not trusted.
    shade = torch.where(real.trust >= LEAST_TRUST, real.labels, 255).byte()
    assert (shade == 255).any()
    assert ((real.trust >= LEAST_TRUST) & (real.trust < 1)).any()
    seen: list[Tensor] = []
    real = replace(real, images=shade[:, None, None, None].expand_as(real.images))
    feed, learner = replace(feed, real=real), replace(learner, augment=lambda images: seen.append(images) or images)
    for _ in range(8):
        seen.clear()
        before = copied(ours.network)
        ours.learn(feed, learner)
        (label,) = classes_changed(ours.network, before)
        of_class = to_network_range(torch.full((feed.batch_size, *real.images.shape[1:]), label, dtype=torch.uint8))
        assert torch.equal(seen[0][: feed.batch_size], of_class)


def test_a_class_without_a_trusted_image_has_no_turn(
    ours: AdversarialGenerator, feed: RandomFeed, real: TrustedImages, learner: Learner
) -> None:
    real = replace(real, trust=torch.where(real.labels == 1, 0.4, real.trust.clamp(min=LEAST_TRUST)))
    before = copied(ours.network)
    for _ in range(12):
        ours.learn(replace(feed, real=real), learner)
    assert classes_changed(ours.network, before) == {0, 2}
