"""A training's state comes back to the last bit; the seed decides it, and nothing else."""

from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.batches import RandomFeed
from stages.generators.interface import Learner
from stages.generators.network_config import NetworkConfig
from stages.generators.params import BatchParams
from stages.generators.registry import kind
from stages.generators.state import TrainingState, start
from stages.labelling.data import TrustedImages
from tests.generators.toy import CONFIG as DENSE
from tests.generators.toy import HINGE, Memory, random_moments, toy_params

CONVOLUTIONAL = replace(DENSE, layers="convolutional", channels=3, size=12, components=0)
CASES = [("projection", DENSE), ("per_class", DENSE), ("auxiliary", CONVOLUTIONAL)]


def begun(name: str, config: NetworkConfig, seed: int, **changes: Any) -> TrainingState:
    plan = {"networks": asdict(config), "objective": HINGE}
    moments = random_moments(config) if config.layers == "dense" else None
    params = toy_params(name, layers=config.layers, **changes)
    return start(kind(name), plan, moments, params, seed, torch.device("cpu"))


def learn(state: TrainingState) -> None:
    """One step on random images, which asks for no more than the state."""
    assert isinstance(state.generator, AdversarialGenerator)
    config = state.generator.config
    images = torch.randint(256, (9, *config.image_shape), generator=state.random).byte()
    real = TrustedImages(images, torch.arange(9) % config.classes, torch.ones(9))
    plain = BatchParams(labelled_share=None, balanced=False)
    feed = RandomFeed(
        real=real,
        labelled=9,
        batch_size=8,
        params=plain,
        latent_dim=config.latent_dim,
        with_sources=False,
        random=state.random,
    )
    measures = state.generator.learn(feed, Learner(state.optimisers, lambda images: images, nullcontext))
    state.average.update_parameters(state.generator.network)
    state.step += 1
    state.sums = {name: state.sums.get(name, 0) + value for name, value in measures.items()}
    state.signs += measures["sureness"]


def filled(name: str, config: NetworkConfig) -> TrainingState:
    """A state in which nothing is at its first value."""
    state = begun(name, config, seed=3)
    for _ in range(2):
        learn(state)
    state.strength, state.rollbacks, state.diversity = 0.25, 1, 0.75
    state.history.append({"step": 1, "real_logit": 0.5})
    state.samples[1] = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    state.curve.append({"step": 1, "kid": 0.5})
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


@pytest.mark.parametrize(("name", "config"), CASES)
def test_a_kept_state_comes_back_whole_and_goes_on_alike(name: str, config: NetworkConfig) -> None:
    state, memory = filled(name, config), Memory()
    memory.save(state.pack())
    back = begun(name, config, seed=4)
    assert not alike(back.pack(), state.pack())
    back.unpack(memory.load() or {})
    assert alike(back.pack(), state.pack())
    for _ in range(2):
        learn(state)
        learn(back)
    assert alike(back.pack(), state.pack())


def test_nothing_that_changes_is_forgotten() -> None:
    state = begun("projection", DENSE, seed=3)
    packed = state.pack()
    kept = (
        packed.keys() | packed["plain"].keys() | {"generator", "optimisers", "average"}
    )  # these are among the tensors
    assert {field.name for field in fields(TrainingState)} <= kept
    assert len(packed["tensors"]) == 2 + len(state.optimisers), "none under another's name"
    assert packed["tensors"]["networks"].keys() == state.generator.state_dict().keys()
    assert state.optimisers.keys() == state.generator.players().keys()


def test_the_seed_decides_weights_and_draws() -> None:
    torch.manual_seed(1)
    one = begun("projection", DENSE, seed=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = (begun("projection", DENSE, seed=seed) for seed in (5, 6))
    assert torch.equal(before, torch.get_rng_state())
    assert alike(one.pack(), again.pack())
    assert not torch.equal(one.generator.network.input.weight, other.generator.network.input.weight)
    assert not torch.equal(one.random.get_state(), other.random.get_state())


def test_each_player_has_an_optimiser_of_its_own_with_its_own_learning_rate() -> None:
    rates = {"generator_learning_rate": 0.002, "discriminator_learning_rate": 0.003}
    state = begun("projection", DENSE, seed=5, **rates)
    for name, player in state.generator.players().items():
        (group,) = state.optimisers[name].param_groups
        assert group["lr"] == rates[f"{name}_learning_rate"]
        assert {id(parameter) for parameter in group["params"]} == {id(parameter) for parameter in player.parameters()}


def test_compiling_changes_no_name_of_what_is_kept_and_leaves_the_average_as_it_is() -> None:
    plain, compiled = (begun("projection", DENSE, seed=5, compile=each) for each in (False, True))
    assert alike(plain.pack(), compiled.pack())
    assert all(module._compiled_call_impl is not None for module in compiled.generator.compiled())
    assert all(module._compiled_call_impl is None for module in compiled.average.modules())


def test_the_logged_step_is_that_of_the_last_entry() -> None:
    state = begun("projection", DENSE, seed=0)
    assert state.logged_step == 0
    state.history += [{"step": 3}, {"step": 7}]
    assert state.logged_step == 7
