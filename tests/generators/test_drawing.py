from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.gan import toy
from torch import nn

from stages.generators.networks import build_generator
from stages.generators.plan import shards
from stages.generators.sampling import (
    BATCH,
    BLOCK,
    Samples,
    draw_latents,
    generate,
    image_seeds,
    load_generator,
    sample_grid,
)
from tests.generators.toy import random_moments

CONFIG = replace(toy.CONFIG, latent_dim=16)
SEEDS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40)


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_generator(CONFIG, random_moments(CONFIG)).eval()


def drawn(
    generator: nn.Module, counts: Sequence[int], seed: int = 4, replicate: int = 1, truncation: float = 1.0
) -> Samples:
    """All images of so many in each class."""
    return joined(list(generate(generator, CONFIG, list(map(range, counts)), seed, replicate, truncation)))


def joined(blocks: Sequence[Samples]) -> Samples:
    """All blocks as one."""
    return Samples(*(np.concatenate([getattr(block, each.name) for block in blocks]) for each in fields(Samples)))


def test_asking_for_more_changes_no_earlier_image(generator: nn.Module) -> None:
    few = drawn(generator, [3, 5, BATCH + 7])
    many = drawn(generator, [BATCH + 9, 40, 3 * BATCH])
    for label, count in enumerate([3, 5, BATCH + 7]):
        assert np.array_equal(few.images[few.labels == label], many.images[many.labels == label][:count])
        assert np.array_equal(few.seeds[few.labels == label], many.seeds[many.labels == label][:count])


@pytest.mark.parametrize("batches", [1, 3, BLOCK, 3 * BLOCK])
def test_shards_together_are_the_whole(generator: nn.Module, batches: int) -> None:
    counts = [BATCH + 9, 0, 2 * BATCH]
    wanted = shards(counts, batches)
    parts = [block for ranges in wanted for block in generate(generator, CONFIG, ranges, 4, 1, 1.0)]
    together, whole = joined(parts), drawn(generator, counts)
    assert len(wanted) == -(-4 // batches)
    assert all(np.array_equal(getattr(together, each.name), getattr(whole, each.name)) for each in fields(Samples))


def test_a_class_does_not_depend_on_the_others(generator: nn.Module) -> None:
    alone, together = drawn(generator, [0, 20, 0]), drawn(generator, [9, 20, 30])
    assert np.array_equal(alone.images, together.images[together.labels == 1])


def test_records_name_class_index_and_seed(generator: nn.Module) -> None:
    samples = drawn(generator, [2, 0, BATCH + 3])
    assert samples.images.shape == (BATCH + 5, 1, 8, 8)
    assert samples.images.dtype == np.uint8
    assert samples.labels.tolist() == [0, 0] + [2] * (BATCH + 3)
    assert samples.index.tolist() == [0, 1, *range(BATCH + 3)]
    assert len(set(samples.seeds.tolist())) == BATCH + 5


def test_images_are_drawn_when_they_are_asked_for(generator: nn.Module) -> None:
    calls: list[int] = []
    hook = generator.register_forward_hook(lambda *_: calls.append(1))
    blocks = generate(generator, CONFIG, [range(10**12), range(5), range(3)], seed=4, replicate=1, truncation=1.0)
    sizes = [len(next(blocks).images) for _ in range(3)]
    hook.remove()
    assert sizes == [BLOCK * BATCH] * 3
    assert len(calls) == 3 * BLOCK


def test_the_generator_sees_whole_batches_of_one_class(generator: nn.Module) -> None:
    seen: list[torch.Tensor] = []
    hook = generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    drawn(generator, [BATCH + 1, 0, 1])
    hook.remove()
    assert [labels.tolist() for labels in seen] == [[0] * BATCH, [0] * BATCH, [2] * BATCH]


def test_an_image_comes_back_from_its_seed_and_class_alone(generator: nn.Module) -> None:
    samples = drawn(generator, [0, 0, 6], truncation=0.7)
    with torch.no_grad():
        again = generator(draw_latents(samples.seeds[5:], 16) * 0.7, torch.tensor([2]))
    assert np.abs((again[0].clamp(-1, 1).numpy() + 1) * 127.5 - samples.images[5]).max() < 0.51


@pytest.mark.parametrize("other", [{"seed": 5}, {"replicate": 2}, {"truncation": 0.5}])
def test_seed_replicate_and_truncation_matter(generator: nn.Module, other: dict[str, float]) -> None:
    images = drawn(generator, [10, 10, 10]).images
    assert not np.array_equal(images, drawn(generator, [10, 10, 10], **other).images)  # type: ignore[arg-type]


def test_truncation_lowers_variety(generator: nn.Module) -> None:
    low, full = (drawn(generator, [200, 0, 0], truncation=each).images.std(axis=0).mean() for each in (0.2, 1.0))
    assert low < 0.5 * full


def test_latents_are_standard_normal_and_independent() -> None:
    latents = draw_latents(image_seeds(0, 0, 0, np.arange(20_000)), 16).numpy()
    assert stats.kstest(latents.ravel(), "norm").pvalue > 1e-3
    # Within a row, with the next row, and with the same image of another class
    other = draw_latents(image_seeds(0, 0, 1, np.arange(20_000)), 16).numpy()
    correlation = np.corrcoef(np.concatenate([latents[:-1], latents[1:], other[:-1]], axis=1).T)
    assert np.abs(correlation - np.eye(48)).max() < 5 / np.sqrt(20_000)
    squares = np.corrcoef((latents**2).T)
    assert np.abs(squares - np.eye(16)).max() < 5 / np.sqrt(20_000)


@pytest.mark.parametrize("first", [0, 2**62])
def test_neighbouring_seeds_give_unrelated_latents(first: int) -> None:
    latents = draw_latents(np.arange(first, first + 20_000), 16).numpy()
    assert stats.kstest(latents.ravel(), "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(np.concatenate([latents[:-1], latents[1:]], axis=1).T) - np.eye(32)).max() < 0.036


@given(SEEDS, st.integers(1, 200))
def test_a_row_of_latents_depends_on_its_own_seed_alone(seeds: list[int], latent_dim: int) -> None:
    together = draw_latents(np.array(seeds), latent_dim)
    assert together.shape == (len(seeds), latent_dim)
    assert together.isfinite().all()
    for row, seed in enumerate(seeds):
        assert torch.equal(together[row], draw_latents(np.array([seed]), latent_dim)[0])


def test_latents_are_those_of_the_published_stream() -> None:
    # The reference implementation's first words for seed 1234567 (Vigna, splitmix64.c)
    words = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    uniform = [((word >> 12) + 0.5) / 2**52 for word in words]
    assert draw_latents(np.array([1234567]), 3)[0].tolist() == pytest.approx(stats.norm.ppf(uniform), rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_an_images_seed_depends_on_its_own_index_alone(seed: int, index: list[int]) -> None:
    together = image_seeds(seed, 3, 1, np.array(index))
    assert together.min() >= 0
    assert together.tolist() == [image_seeds(seed, 3, 1, np.array([each]))[0] for each in index]


def test_a_generator_is_rebuilt_from_tensors_and_configuration(generator: nn.Module) -> None:
    rebuilt = load_generator(generator.state_dict(), CONFIG)
    assert np.array_equal(drawn(rebuilt, [4, 4, 4]).images, drawn(generator, [4, 4, 4]).images)
    assert not rebuilt.training


def test_the_grid_has_a_row_for_each_class(generator: nn.Module) -> None:
    grid = sample_grid(generator, CONFIG, columns=5, seed=0)
    assert grid.shape == (3 * 8, 5 * 8, 1)
    latents = draw_latents(image_seeds(0, 0, 0, np.arange(15)), 16)
    with torch.no_grad():
        images = generator(latents, torch.arange(3).repeat_interleave(5))
    expected = ((images[7, 0].clamp(-1, 1) + 1) * 127.5).round().numpy()
    assert np.array_equal(grid[8:16, 16:24, 0], expected)
