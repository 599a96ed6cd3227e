"""Every family a user may name is there, and does what the interface promises."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch

from stages.generators.interface import MEASURES, Feed, Players
from stages.generators.network_config import NetworkConfig
from stages.generators.objective import build_objective
from stages.generators.params import FamilyName, HingeParams, Layers, RelativisticParams
from stages.generators.registry import FAMILIES

OBJECTIVES = [HingeParams(kind="hinge"), RelativisticParams(kind="relativistic", gradient_penalty=0.1)]


def test_every_family_that_params_know_is_registered() -> None:
    assert set(FAMILIES) == set(get_args(FamilyName))


@pytest.mark.parametrize("family", get_args(FamilyName))
@pytest.mark.parametrize("layers", get_args(Layers))
@pytest.mark.parametrize("params", OBJECTIVES, ids=lambda params: params.kind)
def test_both_players_of_every_family_learn(
    config: NetworkConfig,
    make_players: Callable[..., Players],
    feed: Feed,
    family: FamilyName,
    layers: Layers,
    params: HingeParams | RelativisticParams,
) -> None:
    objective = build_objective(params)
    players = make_players(replace(config, family=family, layers=layers, spectral=objective.spectral))
    networks = (players.generator, players.discriminator)
    before = [torch.nn.utils.parameters_to_vector(network.parameters()) for network in networks]
    measures = FAMILIES[family].step(players, feed, objective)
    assert measures.shape == (len(MEASURES),)
    assert measures.isfinite().all()
    assert not measures.requires_grad
    for network, old in zip(networks, before, strict=True):
        new = torch.nn.utils.parameters_to_vector(network.parameters())
        assert new.isfinite().all()
        assert not torch.equal(new, old)


@pytest.mark.parametrize("family", get_args(FamilyName))
def test_a_trained_family_draws_by_calling_its_generator(
    config: NetworkConfig, make_players: Callable[..., Players], family: FamilyName
) -> None:
    generator = make_players(replace(config, family=family)).generator
    images = generator(torch.randn(9, config.latent_dim), torch.arange(9) % config.classes)
    assert images.shape == (9, *config.image_shape)
