"""Each source has a pyramid, which learns in its turn, scale by scale, and whose fixed noise gives the source back."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.generators import quality
from stages.generators.batches import RandomFeed
from stages.generators.drawing import sources_of
from stages.generators.interface import Draws, Generator
from stages.generators.kinds import single_image
from stages.generators.kinds.single_image import Kind, Pyramid
from stages.generators.requests import requests
from stages.generators.scales import sides
from stages.generators.training import train
from stages.imaging.pixels import to_bytes
from stages.labelling import pool
from stages.plumbing.errors import UserError
from tests.generators.toy import Memory, changed, copied, feed_for, learner_of, toy_params
from tests.labelling.toy import hasty_fit, of_classes, toy_data

DATA = toy_data(0, validation=0)
Make = Callable[..., Kind]


def learn(kind: Kind, feed: RandomFeed) -> dict[str, float]:
    """A step, by how much each parameter and buffer that it changed was changed at most."""
    before = copied(kind)
    kind.learn(feed_for(kind, feed), learner_of(kind))
    now = kind.state_dict()
    return {name: float((now[name] - before[name]).abs().max()) for name in changed(kind, before)}


def pyramid_of(kind: Generator, number: int) -> Pyramid:
    found = kind.network.get_submodule(f"each.{number}")
    assert isinstance(found, Pyramid)
    return found


def pyramids(names: dict[str, float]) -> set[str]:
    return {name.split(".")[2] for name in names if name.startswith("network.each.")}


def test_fixed_noise_gives_back_the_image_that_was_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=1))
    monkeypatch.setattr(quality, "SAMPLES", 20)
    data = of_classes(DATA, 1)
    fields = {"images_per_class": 1, "width": 16, "batch_size": 2, "ema_decay": 0.9, "generator_learning_rate": 1e-2}

    def error(steps: int) -> float:
        section = toy_params("single_image", steps=steps, reconstruction=50.0, **fields)
        made = train(data, pool.unguessed(data), section, 0, lambda _: None, Memory()).generator
        with torch.no_grad():
            given = to_bytes(pyramid_of(made, 0).reconstruction(1))
        return float((given.float() - data.images[:1].float()).square().mean().sqrt())

    assert error(60) < 25 < 60 < error(1), "of 255 levels"


def test_sources_take_turns_and_each_changes_its_own_networks(make: Make, feed: RandomFeed) -> None:
    kind = make("single_image")
    assert len(kind.network.each) == 6
    for turn in (0, 1, 2):
        names = learn(kind, feed)
        assert pyramids(names) == {str(turn)}
        assert {name.split(".")[1] for name in names if name.startswith("discriminators.")} == {str(turn)}


def test_scales_learn_from_coarse_to_fine_and_older_ones_at_a_tenth_of_the_rate(
    make: Make, feed: RandomFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = learn(make("single_image", steps=24), feed)
    assert "network.each.0.bodies.0.0.weight" in early
    assert not any("bodies.1." in name for name in early)

    def late(share: float) -> dict[str, float]:
        monkeypatch.setattr(single_image, "OLDER", share)
        feed.random.manual_seed(1)
        kind = make("single_image", steps=24)  # four for each of six sources: two at each scale
        kind.done.fill_(2 * 6)
        return learn(kind, feed)

    slow, fast = late(0.1), late(1.0)
    for name in ("bodies.0.0.weight", "head.weight"):
        assert slow[f"network.each.0.{name}"] == pytest.approx(0.1 * fast[f"network.each.0.{name}"], rel=1e-3)
    for name in ("bodies.1.4.weight", "tail.weight"):
        assert slow[f"network.each.0.{name}"] == fast[f"network.each.0.{name}"] > 0


def test_a_scale_that_has_not_learned_enlarges_what_comes_from_the_one_before() -> None:
    torch.manual_seed(0)
    pyramid = Pyramid(1, [4, 8], width=8, maps=2)
    latents = torch.randn(2, 2 * (16 + 64))
    other = torch.cat([latents[:, :32], torch.randn(2, 128)], dim=1)
    assert torch.equal(pyramid(latents, 1), pyramid(other, 1))
    assert pyramid(latents, 0).shape == (2, 1, 4, 4)
    torch.nn.init.normal_(pyramid.get_parameter("bodies.1.4.weight"))
    assert not torch.equal(pyramid(latents, 1), pyramid(other, 1))


def test_only_the_first_images_of_a_class_are_sources_and_each_is_drawn_by_its_own_pyramid() -> None:
    plan, start = Kind.study(DATA, None, toy_params("single_image", images_per_class=2), 0)  # type: ignore[arg-type]
    kind = Kind(plan)
    kind.initialise(start)
    sources = sources_of(kind, DATA)
    assert sources is not None
    assert np.flatnonzero(sources.labels >= 0).tolist() == plan["sources"] == [0, 1, 5, 6, 10, 11]
    (_, asked, _) = requests([range(3)] * 3, 0, 0, sources)
    assert asked.sources is not None
    assert asked.sources[:4].tolist() == [5, 6, 5, 6]
    rows = torch.from_numpy(asked.sources)
    draws = Draws(
        torch.from_numpy(asked.labels), torch.randn(128, kind.latent_dim), rows, DATA.images[rows] / 127.5 - 1
    )
    assert kind.network.owners(draws)[:4].tolist() == [2, 3, 2, 3]
    alone = pyramid_of(kind, 3).variants(draws.latents[[1]], kind.plan["rearrangement"])
    torch.testing.assert_close(kind.network(draws)[1:2], alone)
    assert torch.equal(kind.network.owners(replace(draws, labels=torch.zeros_like(rows))) // 2, torch.zeros_like(rows))


def test_rearrangement_leads_from_the_layout_of_the_image_to_noise_alone() -> None:
    torch.manual_seed(0)
    pyramid, latents = Pyramid(1, [4, 8], width=8, maps=2), torch.randn(3, 2 * (16 + 64))
    assert torch.equal(pyramid.variants(latents, 1.0), pyramid(latents, 1))
    kept = pyramid.variants(latents, 0.0)  # and the finer scale, which has not learned, adds nothing
    torch.testing.assert_close(kept, pyramid.reconstruction(1).expand_as(kept))
    halfway = pyramid.variants(latents, 0.5) - kept
    assert 0 < halfway.square().mean() < (pyramid(latents, 1) - kept).square().mean()


def test_scales_end_at_the_image_and_a_coarsest_that_is_too_small_is_refused() -> None:
    assert sides(28, 4) == [7, 11, 18, 28]
    assert sides(64, 5)[-1] == 64
    assert sides(8, 1) == [8]
    with pytest.raises(UserError, match=r"scales: 3 leaves 3 x 3 of 8 x 8 pixels at the coarsest scale.*lower it"):
        sides(8, 3)
