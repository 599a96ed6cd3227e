"""A training's state comes back to the last bit, and its average follows its recurrence."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.generators.interface import MEASURES, Players
from stages.generators.network_config import NetworkConfig
from stages.generators.state import Snapshot, TrainingState, start, tensors
from tests.generators.toy import CONFIG as DENSE
from tests.generators.toy import Memory, random_moments, toy_params

CONVOLUTIONAL = replace(DENSE, family="auxiliary", layers="convolutional", channels=3, size=12, components=0)


def learn(state: TrainingState) -> None:
    """One step of both players that asks for no more than networks and random numbers."""
    count, config = 8, state.config
    latents = torch.randn(count, config.latent_dim, generator=state.random)
    labels = torch.randint(config.classes, (count,), generator=state.random)
    images = state.players.generator(latents, labels)
    features = state.players.discriminator.trunk(images)
    logits = state.players.discriminator.logits(features, labels, torch.ones(count))
    for optimizer in (state.players.generator_optimizer, state.players.discriminator_optimizer):
        optimizer.zero_grad()
    (logits - 1).square().mean().backward()
    state.players.generator_optimizer.step()
    state.players.discriminator_optimizer.step()
    state.average.update_parameters(state.players.generator)
    state.step += 1
    state.sums += torch.rand(len(MEASURES), generator=state.random)
    state.signs += torch.rand((), generator=state.random)


def filled(config: NetworkConfig) -> TrainingState:
    """A state in which nothing is at its first value."""
    state = start(config, random_moments(config), toy_params(), seed=3)
    for _ in range(2):
        learn(state)
    state.strength, state.rollbacks, state.diversity = 0.25, 1, 0.75
    state.history.append({"step": 1, "real_logit": 0.5})
    state.samples[1] = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    state.snapshots.append(Snapshot(1, tensors(state.average.module), {"kid": 0.5}, torch.tensor([-1.0, -2.0])))
    return state


def alike(one: Any, other: Any) -> bool:
    """Whether nested dictionaries and lists of tensors and numbers are equal to the bit, NaN to NaN."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return bool(one == other) or (one != one and other != other)


@pytest.mark.parametrize("config", [DENSE, CONVOLUTIONAL])
def test_a_kept_state_comes_back_whole_and_goes_on_alike(config: NetworkConfig) -> None:
    state, memory = filled(config), Memory()
    memory.save(state.pack())
    back = start(config, random_moments(config), toy_params(), seed=4)
    assert not alike(back.pack(), state.pack())
    back.unpack(memory.load() or {})
    assert alike(back.pack(), state.pack())
    for _ in range(2):
        learn(state)
        learn(back)
    assert alike(back.pack(), state.pack())


def test_nothing_that_changes_is_forgotten() -> None:
    packed = start(DENSE, random_moments(DENSE), toy_params(), seed=3).pack()
    kept = packed.keys() | packed["numbers"].keys() | {"players", "average"}  # these two are among the tensors
    assert {field.name for field in fields(TrainingState)} - {"config"} <= kept
    players = {field.name for field in fields(Players)}
    assert packed["tensors"].keys() == players | {"average"}


def test_the_seed_decides_weights_and_draws() -> None:
    torch.manual_seed(1)
    one = start(DENSE, random_moments(DENSE), toy_params(), seed=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = (
        start(DENSE, random_moments(DENSE), toy_params(), seed=5),
        start(DENSE, random_moments(DENSE), toy_params(), seed=6),
    )
    assert torch.equal(before, torch.get_rng_state())
    assert alike(one.pack(), again.pack())
    assert not torch.equal(one.players.generator.input.weight, other.players.generator.input.weight)
    assert not torch.equal(one.random.get_state(), other.random.get_state())


def test_the_logged_step_is_that_of_the_last_entry() -> None:
    state = start(DENSE, random_moments(DENSE), toy_params(), seed=0)
    assert state.logged_step == 0
    state.history += [{"step": 3}, {"step": 7}]
    assert state.logged_step == 7


def test_tensors_are_plain_copies() -> None:
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    copied = tensors(network)
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in copied.values())
    kept = copied["weight"].clone()
    with torch.no_grad():
        network.weight += 1
    assert torch.equal(copied["weight"], kept)
