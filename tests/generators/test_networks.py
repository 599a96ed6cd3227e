"""Both kinds of layers make networks of the right shapes, which use all of an image, at every size."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from stages.generators.dense import DenseGenerator, DenseTrunk
from stages.generators.network_config import NetworkConfig
from stages.generators.networks import build_generator, build_trunk
from tests.generators.toy import random_moments, some_draws

CONFIG = NetworkConfig("dense", classes=4, channels=3, size=8, latent_dim=8, width=16, components=20, spectral=True)
LABELS = torch.arange(6) % CONFIG.classes
LAYERS = pytest.mark.parametrize("layers", ["dense", "convolutional"])
SHAPES = pytest.mark.parametrize(
    ("channels", "size"), [*((1, size) for size in (8, 9, 12, 16, 20, 28, 32, 47, 64, 128)), (3, 8), (3, 47), (3, 128)]
)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def bounded(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if parametrize.is_parametrized(layer)]


def make_generator(config: NetworkConfig) -> nn.Module:
    """As if it had been trained: a dense one's hidden layers add something."""
    generator = build_generator(config)
    if isinstance(generator, DenseGenerator):
        generator.start_from(random_moments(config))
        nn.init.normal_(generator.output.weight, generator=torch.Generator().manual_seed(1))
    return generator


def make_trunk(config: NetworkConfig) -> nn.Module:
    trunk = build_trunk(config)
    if isinstance(trunk, DenseTrunk):
        trunk.start_from(random_moments(config))
    return trunk


@LAYERS
@SHAPES
def test_generated_images_have_the_shape_of_the_data_and_use_all_latents(layers: str, channels: int, size: int) -> None:
    config = replace(CONFIG, layers=layers, channels=channels, size=size)
    latents = numbers(6, config.latent_dim).requires_grad_()
    images = make_generator(config)(some_draws(LABELS, latents))
    assert images.shape == (6, channels, size, size)
    assert (images.std(dim=0) > 0).all(), "a pixel that the latents do not reach"
    (gradient,) = torch.autograd.grad(images.square().sum(), latents)
    assert (gradient != 0).all(), "a latent that reaches no pixel"


def test_convolutions_stay_in_the_range_of_the_data() -> None:
    config = replace(CONFIG, layers="convolutional")
    assert make_generator(config)(some_draws(LABELS, 100 * numbers(6, config.latent_dim))).abs().max() <= 1


def test_an_untrained_dense_generator_draws_from_the_gaussian_of_each_class() -> None:
    config = replace(CONFIG, latent_dim=32)
    moments = random_moments(config)
    generator = build_generator(config).eval()
    generator.start_from(moments)
    for label in range(config.classes):
        draws = some_draws(torch.full((20_000,), label), numbers(20_000, config.latent_dim))
        images = generator(draws).detach()
        drawn = images.flatten(1) @ moments.components.basis.T
        torch.testing.assert_close(drawn.mean(dim=0), moments.means[label], atol=0.05, rtol=0)
        covariance = moments.factors[label] @ moments.factors[label].T
        torch.testing.assert_close(drawn.T.cov(), covariance, atol=0.06, rtol=0)


@LAYERS
@SHAPES
def test_features_come_from_every_pixel(layers: str, channels: int, size: int) -> None:
    trunk = make_trunk(replace(CONFIG, layers=layers, channels=channels, size=size))
    images = numbers(2, channels, size, size).requires_grad_()
    features = trunk(images)
    assert features.shape == (2, trunk.features)
    (gradient,) = torch.autograd.grad(features.sum(), images)
    assert (gradient != 0).any(dim=0).all()


@LAYERS
def test_an_image_to_be_kept_does_not_depend_on_those_beside_it(layers: str) -> None:
    generator = make_generator(replace(CONFIG, layers=layers))
    latents = numbers(6, CONFIG.latent_dim)
    generator(some_draws(LABELS, latents))
    generator.eval()
    alone = torch.cat([generator(some_draws(LABELS[[row]], latents[[row]])) for row in range(6)])
    torch.testing.assert_close(generator(some_draws(LABELS, latents)), alone)


def test_classes_of_convolutions_differ_only_by_their_gains_and_biases() -> None:
    generator = make_generator(replace(CONFIG, layers="convolutional")).eval()
    latents = numbers(4, CONFIG.latent_dim)
    one, other = (generator(some_draws(labels, latents)) for labels in (LABELS[:4], LABELS[:4].flip(0)))
    assert torch.equal(one, other)
    assert changed_by_gains_of(2, generator, latents) == [False, False, True, False]


def test_what_a_dense_generator_adds_to_the_gaussians_differs_only_by_gains_and_biases() -> None:
    alike = random_moments(CONFIG)
    alike = replace(alike, means=alike.means[:1].expand(4, -1), factors=alike.factors[:1].expand(4, -1, -1))
    generator = build_generator(CONFIG).eval()
    generator.start_from(alike)
    nn.init.normal_(generator.get_submodule("output").weight, generator=torch.Generator().manual_seed(1))
    latents = numbers(4, CONFIG.latent_dim)
    one, other = (generator(some_draws(labels, latents)) for labels in (LABELS[:4], LABELS[:4].flip(0)))
    assert torch.equal(one, other)
    assert changed_by_gains_of(2, generator, latents) == [False, False, True, False]


def changed_by_gains_of(label: int, generator: nn.Module, latents: Tensor) -> list[bool]:
    """Which of four images, one of each class, change when one class's gains turn about."""
    draws = some_draws(LABELS[:4], latents)
    before = generator(draws)
    with torch.no_grad():
        for name, weights in generator.named_parameters():
            if name.endswith(".gain.weight"):
                weights[label] *= -1
    return (generator(draws) != before).flatten(1).any(dim=1).tolist()


@LAYERS
def test_spectral_norm_bounds_every_layer_by_one(layers: str) -> None:
    trunk = make_trunk(replace(CONFIG, layers=layers))
    weighted = [layer for layer in trunk.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert bounded(trunk) == weighted
    with torch.no_grad():
        for layer in weighted:
            layer.parametrizations.weight.original.mul_(25)
        for _ in range(200):  # a power iteration at each call in training mode
            trunk(torch.zeros(1, *CONFIG.image_shape))
    trunk.eval()
    gains = [torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() for layer in weighted]
    assert gains == pytest.approx([1.0] * len(weighted), rel=2e-2)


@LAYERS
def test_without_spectral_norm_layers_are_left_as_they_are(layers: str) -> None:
    assert not bounded(make_trunk(replace(CONFIG, layers=layers, spectral=False)))


@LAYERS
def test_the_generator_is_never_bounded(layers: str) -> None:
    assert not bounded(make_generator(replace(CONFIG, layers=layers)))
