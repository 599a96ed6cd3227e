"""One step equals two plain steps of gradient descent, each player by its own loss, and leaves nothing else behind."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.generators.adversarial import AdversarialGenerator, ConditionalDiscriminator
from stages.generators.interface import Batch, Feed, Learner
from stages.generators.objective import Objective
from stages.labelling import pool
from tests.generators.toy import HINGE, RELATIVISTIC, OneBatch, changed, copied, learner_of, toy_params
from tests.labelling.toy import toy_data

RATE = 0.1
NAMES = pytest.mark.parametrize("name", ["projection", "auxiliary", "image_conditioned"])
OBJECTIVES = pytest.mark.parametrize(
    "objective",
    [HINGE, RELATIVISTIC | {"gradient_penalty": 0.2}, RELATIVISTIC | {"gradient_penalty": 0.0}],
    ids=["hinge", "relativistic", "no penalty"],
)
Make = Callable[..., AdversarialGenerator]


def descend(network: nn.Module, loss: Tensor) -> list[Tensor]:
    """One step of gradient descent; the gradients."""
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter -= RATE * gradient
    return list(gradients)


def of_row(batch: Batch, row: int) -> tuple[Tensor | None, Tensor, Tensor]:
    """Source, label and trust of one image."""
    one = slice(row, row + 1)
    sources = batch.draws.sources
    return None if sources is None else sources[one], batch.labels[one], batch.trust[one]


def slope_penalty(discriminator: ConditionalDiscriminator, images: Tensor, batch: Batch) -> Tensor:
    """Half the mean squared length of the logit's gradient, image by image."""
    total = torch.zeros(())
    for row, image in enumerate(images):
        image = image.detach()[None].requires_grad_()
        source, label, trust = of_row(batch, row)
        logit = discriminator.logits(discriminator.features(image, source), label, trust)
        (gradient,) = torch.autograd.grad(logit.squeeze(), image, create_graph=True)
        total = total + gradient.square().sum()
    return total / 2 / len(images)


def plain_step(
    generator: nn.Module, discriminator: ConditionalDiscriminator, batch: Batch, objective: Objective
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The measures of a step, and the discriminator's gradients: real and fake images go each their own way."""

    def judge(images: Tensor) -> tuple[Tensor, Tensor]:
        features = discriminator.features(images, batch.draws.sources)
        arguments = (features, batch.labels, batch.trust)
        return discriminator.logits(*arguments), discriminator.class_losses(*arguments).mean()

    fake = generator(batch.draws)
    (real_logits, class_loss), (fake_logits, _) = judge(batch.real), judge(fake.detach())
    discriminator_loss = objective.discriminator(real_logits, fake_logits).mean() + class_loss
    for images in (batch.real, fake):  # R1 and R2
        discriminator_loss = discriminator_loss + objective.penalty * slope_penalty(discriminator, images, batch)
    measures = {"real_logit": real_logits.mean(), "fake_logit": fake_logits.mean()}
    lead = real_logits - fake_logits if objective.generator_sees_real else real_logits
    measures["sureness"] = ((lead > 0).sum() - (lead < 0).sum()) / len(lead)
    gradients = descend(discriminator, discriminator_loss)
    (real_again, _), (fake_again, class_loss) = judge(batch.real), judge(fake)
    generator_loss = objective.generator(real_again, fake_again).mean() + class_loss
    descend(generator, generator_loss)
    return measures | {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}, gradients


@NAMES
@OBJECTIVES
def test_steps_equal_plain_ones(make: Make, feed: Feed, name: str, objective: dict[str, Any]) -> None:
    ours = make(name, objective)
    generator, discriminator = deepcopy(ours.network), deepcopy(ours.discriminator)
    learner = learner_of(ours, RATE, RATE)
    for batch in (feed.draw(), feed.draw()):
        expected, gradients = plain_step(generator, discriminator, batch, ours.objective)
        measures = ours.learn(OneBatch(batch), learner)
        assert {name: value.item() for name, value in measures.items()} == pytest.approx(
            {name: value.item() for name, value in expected.items()}, abs=1e-5
        )
        for network, reference in ((ours.network, generator), (ours.discriminator, discriminator)):
            torch.testing.assert_close(dict(network.state_dict()), dict(reference.state_dict()))
        # What the discriminator holds is the gradient of its own loss: the generator's left nothing.
        for parameter, gradient in zip(ours.discriminator.parameters(), gradients, strict=True):
            held = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(held, gradient)


@OBJECTIVES
@pytest.mark.parametrize(("rates", "who"), [((RATE, 0.0), "generator"), ((0.0, RATE), "discriminator")])
def test_only_the_player_with_a_learning_rate_learns(
    make: Make, feed: Feed, objective: dict[str, Any], rates: tuple[float, float], who: str
) -> None:
    ours = make("projection", objective)
    before = {name: copied(player) for name, player in ours.players().items()}
    ours.learn(feed, learner_of(ours, *rates))
    for name, player in ours.players().items():
        assert bool(changed(player, before[name]) & dict(player.named_parameters()).keys()) == (name == who)


@NAMES
def test_without_learning_rates_only_running_statistics_and_power_iterations_change(
    make: Make, feed: Feed, name: str
) -> None:
    ours = make(name, HINGE, spectral=True)
    generator, discriminator = copied(ours.network), copied(ours.discriminator)
    ours.learn(feed, learner_of(ours, 0.0, 0.0))
    ends = {each.split(".")[-1] for each in changed(ours.network, generator)}
    assert ends == {"running_mean", "running_var"}
    assert {each.split(".")[-1] for each in changed(ours.discriminator, discriminator)} == {"_u", "_v"}


@OBJECTIVES
def test_the_players_are_left_as_they_were_found(make: Make, feed: Feed, objective: dict[str, Any]) -> None:
    ours = make("projection", objective)
    ours.learn(feed, learner_of(ours))
    assert all(module.training for module in ours.modules())
    assert all(parameter.requires_grad for parameter in ours.parameters())


@OBJECTIVES
def test_real_and_fake_share_one_power_iteration(make: Make, feed: Feed, objective: dict[str, Any]) -> None:
    ours, training = make("projection", objective, spectral=True), list[bool]()
    ours.discriminator.trunk.register_forward_hook(lambda trunk, *_: training.append(trunk.training))
    ours.learn(feed, learner_of(ours))
    assert training == [True] + [False] * (1 + ours.objective.generator_sees_real)


def augmenting(learner: Learner, augment: Callable[[Tensor], Tensor]) -> Learner:
    return replace(learner, augment=augment)


@OBJECTIVES
def test_the_discriminator_sees_augmented_images_only(make: Make, feed: Feed, objective: dict[str, Any]) -> None:
    ours, seen = make("projection", objective), list[Tensor]()
    ours.discriminator.trunk.register_forward_pre_hook(lambda _trunk, images: seen.extend(images))
    ours.learn(feed, augmenting(learner_of(ours), lambda images: 0 * images + 0.25))
    assert {len(images) for images in seen} == {24, 12}
    assert all((images == 0.25).all() for images in seen)


def test_real_and_fake_are_augmented_in_one_go(make: Make, feed: Feed) -> None:
    """So that they go through the same: neither is told by it."""
    ours, sizes = make("projection"), list[int]()
    ours.learn(feed, augmenting(learner_of(ours), lambda images: sizes.append(len(images)) or images))
    assert sizes == [24]


def test_the_generator_learns_through_the_augmentation(make: Make, feed: Feed) -> None:
    batch, gradients = feed.draw(), []
    for scale in (1.0, 0.0):
        ours = make("projection")
        ours.learn(OneBatch(batch), augmenting(learner_of(ours), lambda images, by=scale: images * by))
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in ours.network.parameters()]))
    assert gradients[0].any()
    assert not gradients[1].any()


def test_judging_is_the_discriminators_logit_at_full_trust_and_teaches_nothing(make: Make, feed: Feed) -> None:
    ours, batch = make("projection"), feed.draw()
    logits = ours.eval().judge(batch.real, batch.draws)
    expected = ours.discriminator.logits(ours.discriminator.trunk(batch.real), batch.labels, torch.ones(12))
    assert torch.equal(logits, expected)
    assert not logits.requires_grad


def test_plans_bound_the_discriminator_where_the_objective_is_hinge_and_dense_networks_start_from_components() -> None:
    data = toy_data(pool=3)
    real = pool.label(data, pool.PoolLabels(torch.zeros(9, dtype=torch.int64), torch.zeros(9), "", 0.0, 0.0)).real
    for layers in ("dense", "convolutional"):
        for objective in (HINGE, RELATIVISTIC):
            plan, start = AdversarialGenerator.study(data, real, toy_params(layers=layers, objective=objective), 0)
            networks = plan["networks"]
            assert networks["spectral"] == (objective == HINGE)
            assert plan["objective"] == objective
            assert (networks["components"] > 0) == (start is not None) == (layers == "dense")
            assert start is None or networks["components"] == start.means.shape[1]
