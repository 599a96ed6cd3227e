"""Every kind a user may name is there, and does what the interface promises."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.generators import flips
from stages.generators.batches import RandomFeed
from stages.generators.drawing import TrainedGenerator, sources_of
from stages.generators.interface import Feed, Generator, LearningGenerator
from stages.generators.kinds import external, projected
from stages.generators.params import KINDS, AdversarialParams
from stages.generators.registry import kind
from stages.generators.requests import Requests, few_of_each_class, requests
from stages.generators.training import train
from stages.labelling import pool
from tests.generators.toy import (
    ADVERSARIAL,
    AUGMENTED,
    FORM,
    HINGE,
    JUDGING,
    LEARNING,
    RELATIVISTIC,
    Memory,
    feed_for,
    images_elsewhere,
    learner_of,
    small_backbone,
    toy_params,
)
from tests.labelling.toy import hasty_fit, of_two_domains, toy_data, with_masks

DATA = with_masks(replace(of_two_domains(toy_data(pool=4, validation=0)), form=FORM))
every_kind = pytest.mark.parametrize("name", KINDS)


Trained = Callable[[str], TrainedGenerator]


@pytest.fixture(scope="module")
def trained() -> Iterator[Trained]:
    """One of a kind, after the fewest steps."""
    fields = {"steps": 6, "log_every": 3, "samples_every": 6, "generator_learning_rate": 0.01}

    @cache
    def of(name: str) -> TrainedGenerator:
        params = toy_params(name, **(fields if name in LEARNING else {}))
        return train(DATA, pool.teach(DATA, 0).final, params, seed=0, report=lambda _: None, checkpoint=Memory())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external, "labelled_images", images_elsewhere)
        patch.setattr(projected, "open_backbone", small_backbone)
        for module in (pool, flips):
            patch.setattr(module, "fit", hasty_fit(steps=1))
        yield of


def asked(generator: Generator, seed: int = 3, **changes: object) -> Requests:
    """The first images of the class in the middle; changes: of the request's fields."""
    *_, batch, _ = requests([range(2)] * 3, seed, 0, sources_of(generator, DATA))
    return replace(batch, **changes)


def pixels(made: TrainedGenerator, request: Requests) -> np.ndarray:
    return made.draw(request, DATA.images, 1.0, scores=False, masks=DATA.masks).images


@every_kind
def test_its_plan_is_plain_json(trained: Trained, name: str) -> None:
    plan = trained(name).generator.plan
    assert json.loads(json.dumps(plan, allow_nan=False)) == plan


@every_kind
def test_one_built_from_plan_and_tensors_draws_the_same_bytes(trained: Trained, name: str, tmp_path: Path) -> None:
    made = trained(name)
    made.save(tmp_path)
    again = TrainedGenerator.open(tmp_path, torch.device("cpu"))
    assert isinstance(again.generator, kind(name))
    assert not again.generator.training
    for one in requests([range(2), range(1), range(1)], 3, 0, sources_of(made.generator, DATA)):
        ours, theirs = (each.draw(one, DATA.images, 0.9, scores=True, masks=DATA.masks) for each in (made, again))
        assert np.array_equal(ours.images, theirs.images)
        assert ours.scores.keys() == theirs.scores.keys()
        assert all(np.array_equal(ours.scores[each], theirs.scores[each]) for each in ours.scores)
    assert (again.name, again.history, again.curve, again.quality) == (
        name,
        made.history,
        made.curve,
        made.quality,
    )


@every_kind
def test_images_have_the_form_of_the_real_ones_and_differ(trained: Trained, name: str) -> None:
    images = pixels(trained(name), asked(trained(name).generator))
    assert images.shape == (2, 1, 8, 8)
    assert images.dtype == np.uint8
    assert not np.array_equal(images[0], images[1])


@every_kind
def test_the_class_asked_for_matters_unless_the_source_has_it(trained: Trained, name: str) -> None:
    generator = trained(name).generator
    one, other = asked(generator), asked(generator, labels=np.full(128, 2))
    inherited = generator.starts_from == "domain"
    assert np.array_equal(pixels(trained(name), one), pixels(trained(name), other)) == inherited


@every_kind
def test_latents_matter_where_there_are_any(trained: Trained, name: str) -> None:
    generator = trained(name).generator
    one, other = (pixels(trained(name), asked(generator, seed=seed)) for seed in (3, 4))
    assert np.array_equal(one, other) == (generator.latent_dim == 0)


@every_kind
def test_sources_matter_where_there_are_any(trained: Trained, name: str) -> None:
    generator = trained(name).generator
    request = asked(generator)
    assert (request.sources is not None) == (generator.starts_from != "noise")
    if request.sources is not None:
        other = replace(request, sources=request.sources[::-1].copy())
        assert not np.array_equal(pixels(trained(name), request), pixels(trained(name), other))


@every_kind
def test_what_is_told_of_it_is_finite(trained: Trained, name: str) -> None:
    made = trained(name)
    for record in (*made.history, *made.curve, made.quality):
        assert record
        assert all(math.isfinite(value) for value in record.values())
    assert {"kid", "recall", "confused"} <= made.quality.keys()
    assert [each["step"] for each in made.curve] == ([6] if name in LEARNING else [0])
    assert bool(made.history) == bool(made.samples) == (name in LEARNING)


@every_kind
def test_it_names_and_counts_its_images_only_if_they_are_there_already(trained: Trained, name: str) -> None:
    generator = trained(name).generator
    assert ("counts" in generator.plan) == (generator.names(0, [0]) is not None) == (name == "external")


def objective_of(params: dict[str, object]) -> str:
    return str(params["kind"])


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        (name, layers)
        for name in ADVERSARIAL
        for layers in ("dense", "convolutional")
        if layers == "dense" or issubclass(KINDS[name][0], AdversarialParams)
    ],
)
@pytest.mark.parametrize("objective", [HINGE, RELATIVISTIC], ids=objective_of)
def test_all_players_of_every_kind_learn(
    make: Callable[..., LearningGenerator], feed: RandomFeed, name: str, layers: str, objective: dict[str, object]
) -> None:
    generator = make(name, objective, layers=layers, spectral=objective == HINGE)
    before = {
        player: torch.nn.utils.parameters_to_vector(network.parameters()).clone()
        for player, network in generator.players().items()
    }
    measures = generator.learn(feed_for(generator, feed), learner_of(generator))
    assert measures.keys() == {"discriminator_loss", "generator_loss", "real_logit", "fake_logit", "sureness"}
    assert all(value.shape == () and value.isfinite() and not value.requires_grad for value in measures.values())
    for player, network in generator.players().items():
        after = torch.nn.utils.parameters_to_vector(network.parameters())
        assert after.isfinite().all()
        assert not torch.equal(after, before[player])


@pytest.mark.parametrize("name", JUDGING)
def test_a_kind_that_learns_draws_by_calling_its_network_and_says_what_it_draws_from(
    make: Callable[..., LearningGenerator], feed: RandomFeed, name: str
) -> None:
    generator = make(name)
    draws = feed_for(generator, feed).draw().draws
    assert generator.latent_dim == draws.latents.shape[1]
    assert generator.network(draws).shape == (12, 1, 8, 8)
    assert generator.judge(generator.network(draws), draws).shape == (12,)


def calls(generator: LearningGenerator, feed: Feed) -> tuple[dict[str, int], set[str]]:
    """How often a step calls each of the modules to compile, by name; and other networks that it calls, by name."""
    names = {module: name for name, module in generator.named_modules()}
    counted, others = {names[module]: 0 for module in generator.compiled()}, set[str]()

    def count(module: torch.nn.Module, *_: object) -> None:
        if names[module] in counted:
            counted[names[module]] += 1
        elif not any(names[module].startswith(f"{name}.") for name in counted):
            others.add(names[module])

    for module in generator.modules():
        module.register_forward_pre_hook(count)
    generator.learn(feed, learner_of(generator))
    return counted, others


@pytest.mark.parametrize("name", [name for name in AUGMENTED if name not in ("per_class", "single_image", "projected")])
def test_learning_calls_the_very_modules_that_are_compiled(
    make: Callable[..., LearningGenerator], feed: Feed, name: str
) -> None:
    generator = make(name)
    counted, others = calls(generator, feed_for(generator, feed))
    pairs = 2 if name == "image_conditioned" else 1  # its trunk reads the source too
    assert counted == {"network": 1, "discriminator.trunk": 2 * pairs}
    assert {other.split(".")[0] for other in others} == {"discriminator"}, "layers behind the trunk alone"


@pytest.mark.parametrize("name", LEARNING)
def test_the_first_of_each_class_are_pictured_while_it_learns(trained: Trained, name: str) -> None:
    generator = trained(name).generator
    request = few_of_each_class(3, 10, 0, sources_of(generator, DATA))
    assert request.wanted == 30
    assert trained(name).samples[6].shape == (3 * 8, 10 * 8, 1)
