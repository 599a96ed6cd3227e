"""One step equals two plain steps of gradient descent, each player by its own loss, and leaves nothing else behind."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stages.generators.adversarial import adversarial_step
from stages.generators.interface import MEASURES, Batch, Feed, Players
from stages.generators.network_config import NetworkConfig
from stages.generators.objective import Objective, build_objective
from stages.generators.params import FamilyName, HingeParams, RelativisticParams

HINGE = build_objective(HingeParams(kind="hinge"))
RELATIVISTIC = build_objective(RelativisticParams(kind="relativistic", gradient_penalty=0.2))
RATE = 0.1
FAMILIES = pytest.mark.parametrize("family", ["projection", "auxiliary"])
OBJECTIVES = pytest.mark.parametrize(
    "objective", [HINGE, RELATIVISTIC, replace(RELATIVISTIC, penalty=0)], ids=["hinge", "relativistic", "no penalty"]
)
MakePlayers = Callable[..., Players]
State = dict[str, Tensor]


def copied(network: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network: nn.Module, before: State) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


def descend(network: nn.Module, loss: Tensor) -> list[Tensor]:
    """One step of gradient descent; the gradients."""
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter -= RATE * gradient
    return list(gradients)


def slope_penalty(discriminator: nn.Module, images: Tensor, batch: Batch) -> Tensor:
    """Half the mean squared length of the logit's gradient, image by image."""
    total = torch.zeros(())
    for image, label, trust in zip(images, batch.labels, batch.trust, strict=True):
        image = image.detach()[None].requires_grad_()
        logit = discriminator.logits(discriminator.trunk(image), label[None], trust[None])
        (gradient,) = torch.autograd.grad(logit.squeeze(), image, create_graph=True)
        total = total + gradient.square().sum()
    return total / 2 / len(images)


def plain_step(
    generator: nn.Module, discriminator: nn.Module, batch: Batch, objective: Objective
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The measures of a step, and the discriminator's gradients: real and fake images go each their own way."""

    def judge(images: Tensor) -> tuple[Tensor, Tensor]:
        features = discriminator.trunk(images)
        arguments = (features, batch.labels, batch.trust)
        return discriminator.logits(*arguments), discriminator.class_loss(*arguments)

    fake = generator(batch.latents, batch.labels)
    (real_logits, class_loss), (fake_logits, _) = judge(batch.real), judge(fake.detach())
    discriminator_loss = objective.discriminator(real_logits, fake_logits) + class_loss
    for images in (batch.real, fake):  # R1 and R2
        discriminator_loss = discriminator_loss + objective.penalty * slope_penalty(discriminator, images, batch)
    measures = {"real_logit": real_logits.mean(), "fake_logit": fake_logits.mean()}
    lead = real_logits - fake_logits if objective.generator_sees_real else real_logits
    measures["sureness"] = ((lead > 0).sum() - (lead < 0).sum()) / len(lead)
    gradients = descend(discriminator, discriminator_loss)
    (real_again, _), (fake_again, class_loss) = judge(batch.real), judge(fake)
    generator_loss = objective.generator(real_again, fake_again) + class_loss
    descend(generator, generator_loss)
    return measures | {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}, gradients


@FAMILIES
@OBJECTIVES
def test_steps_equal_plain_ones(
    config: NetworkConfig, make_players: MakePlayers, feed: Feed, family: FamilyName, objective: Objective
) -> None:
    players = make_players(replace(config, family=family), RATE, RATE)
    generator, discriminator = deepcopy(players.generator), deepcopy(players.discriminator)
    for batch in (feed.draw(), feed.draw()):
        expected, gradients = plain_step(generator, discriminator, batch, objective)
        measures = adversarial_step(players, batch, feed, objective)
        assert measures.tolist() == pytest.approx([expected[name].item() for name in MEASURES], abs=1e-5)
        for network, reference in ((players.generator, generator), (players.discriminator, discriminator)):
            torch.testing.assert_close(dict(network.state_dict()), dict(reference.state_dict()))
        # What the discriminator holds is the gradient of its own loss: the generator's left nothing.
        for parameter, gradient in zip(players.discriminator.parameters(), gradients, strict=True):
            held = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(held, gradient)


@OBJECTIVES
@pytest.mark.parametrize(("rates", "learner"), [((RATE, 0.0), "generator"), ((0.0, RATE), "discriminator")])
def test_only_the_player_with_a_learning_rate_learns(
    config: NetworkConfig,
    make_players: MakePlayers,
    feed: Feed,
    objective: Objective,
    rates: tuple[float, float],
    learner: str,
) -> None:
    players = make_players(config, *rates)
    before = {name: copied(getattr(players, name)) for name in ("generator", "discriminator")}
    adversarial_step(players, feed.draw(), feed, objective)
    for name, state in before.items():
        network = getattr(players, name)
        assert bool(changed(network, state) & dict(network.named_parameters()).keys()) == (name == learner)


@FAMILIES
def test_without_learning_rates_only_running_statistics_and_power_iterations_change(
    config: NetworkConfig, make_players: MakePlayers, feed: Feed, family: FamilyName
) -> None:
    players = make_players(replace(config, family=family, spectral=True), 0.0, 0.0)
    generator, discriminator = copied(players.generator), copied(players.discriminator)
    adversarial_step(players, feed.draw(), feed, HINGE)
    ends = {name.split(".")[-1] for name in changed(players.generator, generator)}
    assert ends == {"running_mean", "running_var"}
    assert {name.split(".")[-1] for name in changed(players.discriminator, discriminator)} == {"_u", "_v"}


@OBJECTIVES
def test_the_discriminator_is_left_as_it_was_found(
    config: NetworkConfig, make_players: MakePlayers, feed: Feed, objective: Objective
) -> None:
    players = make_players(config)
    adversarial_step(players, feed.draw(), feed, objective)
    for network in (players.generator, players.discriminator):
        assert all(module.training for module in network.modules())
        assert all(parameter.requires_grad for parameter in network.parameters())


@OBJECTIVES
def test_real_and_fake_share_one_power_iteration(
    config: NetworkConfig, make_players: MakePlayers, feed: Feed, objective: Objective
) -> None:
    players = make_players(replace(config, spectral=True))
    training: list[bool] = []
    players.discriminator.trunk.register_forward_hook(lambda trunk, _images, _features: training.append(trunk.training))
    adversarial_step(players, feed.draw(), feed, objective)
    assert training == [True] + [False] * (1 + objective.generator_sees_real)


@OBJECTIVES
def test_the_discriminator_sees_augmented_images_only(
    config: NetworkConfig, make_players: MakePlayers, feed: Feed, objective: Objective
) -> None:
    players = make_players(config)
    seen: list[Tensor] = []
    players.discriminator.trunk.register_forward_pre_hook(lambda _trunk, images: seen.extend(images))
    adversarial_step(players, feed.draw(), replace(feed, augment=lambda images: 0 * images + 0.25), objective)
    assert {len(images) for images in seen} == {24, 12}
    assert all((images == 0.25).all() for images in seen)


def test_the_generator_learns_through_the_augmentation(
    config: NetworkConfig, make_players: MakePlayers, feed: Feed
) -> None:
    batch, gradients = feed.draw(), []
    for scale in (1.0, 0.0):
        players = make_players(config)
        adversarial_step(players, batch, replace(feed, augment=lambda images, by=scale: images * by), HINGE)
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in players.generator.parameters()]))
    assert gradients[0].any()
    assert not gradients[1].any()
