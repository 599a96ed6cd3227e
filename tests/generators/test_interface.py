"""An update moves one player alone, down the mean of its losses, with the weights that the last update left."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from stages.generators.interface import Learner, LearningGenerator
from tests.generators.toy import HINGE, changed, copied, learner_of

RATE = 0.5


@pytest.fixture
def players() -> tuple[nn.Module, nn.Module]:
    """One network that draws and one that judges what it draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(3, 4), nn.Linear(4, 1)


@pytest.fixture
def learner(players: tuple[nn.Module, nn.Module]) -> Learner:
    return learner_of(_Both(players), RATE, RATE)


class _Both:
    """Two players by the names that learning rates have."""

    def __init__(self, networks: tuple[nn.Module, nn.Module]) -> None:
        self.networks = networks

    def players(self) -> dict[str, nn.Module]:
        return dict(zip(("generator", "discriminator"), self.networks, strict=True))


def losses(players: tuple[nn.Module, nn.Module]) -> Tensor:
    """One for each of 5 examples; they depend on both players."""
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    return players[1](players[0](inputs)).squeeze(1).square()


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_only_the_players_own_parameters_change_and_get_gradients(
    players: tuple[nn.Module, nn.Module], learner: Learner, player: str
) -> None:
    before = [copied(network) for network in players]
    learner.update(player, losses(players))
    for name, network, old in zip(("generator", "discriminator"), players, before, strict=True):
        mine = name == player
        assert (len(changed(network, old)) == 2) == mine
        assert all((parameter.grad is not None) == mine for parameter in network.parameters())


@pytest.mark.parametrize("which", [0, 1])
def test_the_mean_of_the_losses_is_descended(
    players: tuple[nn.Module, nn.Module], learner: Learner, which: int
) -> None:
    parameters = list(players[which].parameters())
    total = sum(losses(players)[row] for row in range(5)) / 5
    gradients = torch.autograd.grad(total, parameters)
    expected = [p.detach() - RATE * gradient for p, gradient in zip(parameters, gradients, strict=True)]
    mean = learner.update(("generator", "discriminator")[which], losses(players))
    assert mean.item() == pytest.approx(total.item())
    assert not mean.requires_grad
    torch.testing.assert_close([p.detach() for p in parameters], expected)


def test_a_gradient_of_the_step_before_is_forgotten(players: tuple[nn.Module, nn.Module], learner: Learner) -> None:
    learner.update("generator", losses(players) * 1000)
    (gradient,) = torch.autograd.grad(losses(players).mean(), [players[0].weight])
    learner.update("generator", losses(players))
    torch.testing.assert_close(players[0].weight.grad, gradient)


class Watched(SGD):
    """Notes whether autocast is on whenever it steps."""

    def __init__(self, parameters: object, lr: float) -> None:
        super().__init__(parameters, lr=lr)
        self.under_autocast: list[bool] = []

    def step(self, closure: None = None) -> None:
        self.under_autocast.append(torch.is_autocast_enabled("cpu"))
        super().step(closure)


def half() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def watched(generator: LearningGenerator, rate: float) -> Learner:
    optimisers = {name: Watched(player.parameters(), rate) for name, player in generator.players().items()}
    return Learner(optimisers, lambda images: images, half)


@pytest.mark.parametrize("objective", [HINGE, {"kind": "relativistic", "gradient_penalty": 0.2}])
@pytest.mark.parametrize("name", ["projection", "auxiliary", "per_class", "image_conditioned"])
def test_autocast_is_on_in_forward_passes_and_in_no_optimisers_step(
    make: Callable[..., LearningGenerator], feed: object, name: str, objective: dict[str, object]
) -> None:
    generator, seen = make(name, objective), []
    for module in generator.compiled():
        module.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    learner = watched(generator, 0.1)
    generator.learn(feed, learner)
    assert seen
    assert all(seen)
    assert [optimiser.under_autocast for optimiser in learner.optimisers.values()] == [[False], [False]]


class Outside(Learner):
    """The former way, which went wrong: one autocast around the whole step, whose cache keeps cast weights."""

    def __init__(self, inner: Learner) -> None:
        super().__init__(inner.optimisers, inner.augment, nullcontext)


def second_pass(make: Callable[..., LearningGenerator], feed: object, whole_step: bool) -> tuple[Tensor, Tensor]:
    """Logits of the discriminator as the generator's update saw them, and as its updated weights would give them."""
    generator, calls = make("projection"), []
    learner = watched(generator, 5.0)
    trunk = generator.discriminator.trunk
    trunk.register_forward_hook(lambda _, images, features: calls.append((images[0].detach(), features.detach())))
    if whole_step:
        with half():
            generator.learn(feed, Outside(learner))
    else:
        generator.learn(feed, learner)
    images, features = calls[1]
    calls.clear()
    with torch.no_grad(), half():
        return features, trunk(images)


def test_a_pass_after_an_update_sees_the_updated_weights_in_half_precision(
    make: Callable[..., LearningGenerator], feed: object
) -> None:
    seen, updated = second_pass(make, feed, whole_step=False)
    assert torch.equal(seen, updated)


def test_one_autocast_around_the_whole_step_would_keep_the_weights_of_before(
    make: Callable[..., LearningGenerator], feed: object
) -> None:
    seen, updated = second_pass(make, feed, whole_step=True)
    assert not torch.equal(seen, updated)
