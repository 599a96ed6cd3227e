import numpy as np
import pytest
import torch
from scipy import stats

from stages.gan.networks import Generator, NetworkConfig, build_generator
from stages.gan.sampling import BATCH, draw_latents, generate, image_seeds, load_generator, sample_grid

CONFIG = NetworkConfig(classes=3, channels=1, height=8, width_pixels=8, latent_dim=16, width=32)


@pytest.fixture(scope="module")
def generator() -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_generator(CONFIG).eval()


def test_asking_for_more_changes_no_earlier_image(generator: Generator) -> None:
    few = generate(generator, [3, 5, BATCH + 7], seed=4, replicate=1, truncation=1.0)
    many = generate(generator, [BATCH + 9, 40, 3 * BATCH], seed=4, replicate=1, truncation=1.0)
    for label, count in enumerate([3, 5, BATCH + 7]):
        assert np.array_equal(few.images[few.labels == label], many.images[many.labels == label][:count])
        assert np.array_equal(few.seeds[few.labels == label], many.seeds[many.labels == label][:count])


def test_a_class_does_not_depend_on_the_others(generator: Generator) -> None:
    alone = generate(generator, [0, 20, 0], seed=4, replicate=1, truncation=1.0)
    together = generate(generator, [9, 20, 30], seed=4, replicate=1, truncation=1.0)
    assert np.array_equal(alone.images, together.images[together.labels == 1])


def test_records_name_class_index_and_seed(generator: Generator) -> None:
    samples = generate(generator, [2, 0, 3], seed=4, replicate=1, truncation=1.0)
    assert samples.images.shape == (5, 1, 8, 8)
    assert samples.images.dtype == np.uint8
    assert samples.labels.tolist() == [0, 0, 2, 2, 2]
    assert samples.index.tolist() == [0, 1, 0, 1, 2]
    assert len(set(samples.seeds.tolist())) == 5


def test_an_image_comes_back_from_its_seed_and_class_alone(generator: Generator) -> None:
    samples = generate(generator, [0, 0, 6], seed=4, replicate=1, truncation=0.7)
    with torch.no_grad():
        again = generator(draw_latents(samples.seeds[5:], 16) * 0.7, torch.tensor([2]))
    assert np.abs((again[0].numpy() + 1) * 127.5 - samples.images[5]).max() < 0.51


@pytest.mark.parametrize("other", [{"seed": 5}, {"replicate": 2}, {"truncation": 0.5}])
def test_seed_replicate_and_truncation_matter(generator: Generator, other: dict[str, float]) -> None:
    asked = {"seed": 4, "replicate": 1, "truncation": 1.0}
    images = generate(generator, [10, 10, 10], **asked).images  # type: ignore[arg-type]
    assert not np.array_equal(images, generate(generator, [10, 10, 10], **(asked | other)).images)  # type: ignore[arg-type]


def test_truncation_lowers_variety(generator: Generator) -> None:
    spread = [generate(generator, [200, 0, 0], 4, 1, truncation).images.std(axis=0).mean() for truncation in (0.2, 1)]
    assert spread[0] < 0.5 * spread[1]


def test_latents_are_standard_normal_and_independent() -> None:
    latents = draw_latents(image_seeds(0, 0, 0, 4000), 16).numpy()
    assert stats.kstest(latents.ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(np.concatenate([latents[:-1], latents[1:]], axis=1).T)
    assert np.abs(correlation - np.eye(32)).max() < 0.08


def test_a_generator_is_rebuilt_from_tensors_and_configuration(generator: Generator) -> None:
    rebuilt = load_generator(generator.state_dict(), CONFIG)
    ours, theirs = (generate(g, [4, 4, 4], 0, 0, 1.0).images for g in (generator, rebuilt))
    assert np.array_equal(ours, theirs)
    assert not rebuilt.training


def test_the_grid_has_a_row_for_each_class(generator: Generator) -> None:
    grid = sample_grid(generator, columns=5, seed=0)
    assert grid.shape == (3 * 8, 5 * 8, 1)
    latents = draw_latents(image_seeds(0, 0, 0, 15), 16)
    with torch.no_grad():
        images = generator(latents, torch.arange(3).repeat_interleave(5))
    expected = ((images[7, 0] + 1) * 127.5).round().numpy()
    assert np.array_equal(grid[8:16, 16:24, 0], expected)
