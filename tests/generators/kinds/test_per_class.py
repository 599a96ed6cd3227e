"""The classes share nothing: neither when images are drawn nor when the players learn."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stages.generators.interface import Feed, Players
from stages.generators.kinds import per_class
from stages.generators.kinds.per_class import LEAST_TRUST
from stages.generators.network_config import NetworkConfig
from stages.generators.objective import build_objective
from stages.generators.params import HingeParams
from stages.imaging.pixels import to_network_range
from stages.labelling.data import RealImages

OBJECTIVE = build_objective(HingeParams(kind="hinge"))
LABELS = torch.tensor([2, 0, 0, 1, 2, 1, 2])
State = dict[str, Tensor]


@pytest.fixture
def players(config: NetworkConfig, make_players: Callable[..., Players]) -> Players:
    return make_players(replace(config, family="per_class"))


@pytest.fixture
def latents(config: NetworkConfig) -> Tensor:
    return torch.randn(len(LABELS), config.latent_dim, generator=torch.Generator().manual_seed(3))


def copied(network: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def classes_changed(network: nn.Module, before: State) -> set[int]:
    """The classes whose own network has other parameters or buffers than before."""
    return {
        int(name.split(".")[1])
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }


def test_each_image_is_drawn_by_the_network_of_its_class(players: Players, latents: Tensor) -> None:
    generator = players.generator.eval()
    images = generator(latents, LABELS)
    for row, label in enumerate(LABELS.tolist()):
        alone = generator.networks[label](latents[[row]], torch.zeros(1, dtype=torch.int64))
        torch.testing.assert_close(images[[row]], alone)


def test_the_order_of_the_rows_does_not_matter(players: Players, latents: Tensor) -> None:
    generator, order = players.generator.eval(), torch.tensor([6, 3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(generator(latents[order], LABELS[order]), generator(latents, LABELS)[order])


def test_another_class_does_not_matter(players: Players, latents: Tensor) -> None:
    generator = players.generator.eval()
    before = generator(latents, LABELS)
    with torch.no_grad():
        for parameter in generator.networks[2].parameters():
            parameter.add_(1)
    changed = (generator(latents, LABELS) != before).flatten(1).any(dim=1)
    assert torch.equal(changed, LABELS == 2)


def test_one_step_teaches_the_players_of_one_class_and_every_class_has_its_turn(players: Players, feed: Feed) -> None:
    taught = set()
    for _ in range(12):
        generator, discriminator = copied(players.generator), copied(players.discriminator)
        per_class.step(players, feed, OBJECTIVE)
        changed = classes_changed(players.generator, generator)
        assert len(changed) == 1
        assert classes_changed(players.discriminator, discriminator) == changed
        taught |= changed
    assert taught == {0, 1, 2}


def test_players_see_trusted_images_of_their_class_only(players: Players, feed: Feed, real: RealImages) -> None:
    # Every image is filled with the number of its class, or with white where its label is not trusted.
    shade = torch.where(real.trust >= LEAST_TRUST, real.labels, 255).byte()
    assert (shade == 255).any()
    assert ((real.trust >= LEAST_TRUST) & (real.trust < 1)).any()
    seen: list[Tensor] = []
    real = replace(real, images=shade[:, None, None, None].expand_as(real.images))
    feed = replace(feed, real=real, augment=lambda images: seen.append(images) or images)
    for _ in range(8):
        seen.clear()
        before = copied(players.generator)
        per_class.step(players, feed, OBJECTIVE)
        (label,) = classes_changed(players.generator, before)
        of_class = to_network_range(torch.full((feed.batch_size, *real.images.shape[1:]), label, dtype=torch.uint8))
        assert torch.equal(seen[0][: feed.batch_size], of_class)


def test_a_class_without_a_trusted_image_has_no_turn(players: Players, feed: Feed, real: RealImages) -> None:
    real = replace(real, trust=torch.where(real.labels == 1, 0.4, real.trust.clamp(min=LEAST_TRUST)))
    before = copied(players.generator)
    for _ in range(12):
        per_class.step(players, replace(feed, real=real), OBJECTIVE)
    assert classes_changed(players.generator, before) == {0, 2}
