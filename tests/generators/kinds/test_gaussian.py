"""The control is the Gaussian from which GANs start, and nothing more."""

import pytest
import torch

from stages.generators.drawing import draw
from stages.generators.interface import Generator
from stages.generators.registry import kind
from stages.generators.requests import requests
from stages.generators.state import start
from stages.imaging.pixels import to_network_range
from stages.labelling.data import ReplicateData, TrustedImages
from tests.generators.toy import some_draws, toy_params
from tests.labelling.toy import CLASSES, toy_images


@pytest.fixture
def real() -> TrustedImages:
    """Labels of the second half are less and less trusted."""
    images, labels = toy_images(40, seed=0)
    return TrustedImages(images, labels, torch.linspace(2, 0, len(labels)).clamp(max=1) * 0.9 + 0.1)


def gaussian(real: TrustedImages, rank: int) -> Generator:
    plan, begin = kind("gaussian").study(_data(real), real, toy_params("gaussian", rank=rank), 0)
    made = kind("gaussian")(plan).eval()
    made.initialise(begin)
    return made


def _data(real: TrustedImages) -> ReplicateData:
    none, no_labels = real.images[:0], real.labels[:0]
    return ReplicateData(real.images, real.labels, none, none, no_labels, classes=CLASSES, flip_ok=False)


@pytest.mark.parametrize("rank", [4, 12])
def test_it_draws_what_the_projection_gan_draws_before_its_first_step(real: TrustedImages, rank: int) -> None:
    params = toy_params("projection", latent_dim=rank)
    plan, begin = kind("projection").study(_data(real), real, params, 0)
    gan = start(kind("projection"), plan, begin, params, seed=5, device=torch.device("cpu")).generator.eval()
    ours = gaussian(real, rank)
    assert ours.latent_dim == gan.latent_dim == rank
    for asked in requests([range(200)] * CLASSES, 7, 1):
        images = draw(ours.network, rank, asked, torch.empty(0))
        assert torch.equal(images, draw(gan.network, rank, asked, torch.empty(0)))
        assert images.float().std(dim=0).max() > 5, "images that differ"


def test_it_has_nothing_to_learn(real: TrustedImages) -> None:
    assert list(gaussian(real, 4).parameters()) == []


def test_its_classes_have_the_means_and_variances_of_the_real_images(real: TrustedImages) -> None:
    """Weighted by trust, in what the components keep; a class borrows little covariance where its images are many."""
    ours = gaussian(real, 60)
    for label in range(CLASSES):
        latents = torch.randn(20_000, 60, generator=torch.Generator().manual_seed(label))
        drawn = ours.network(some_draws(torch.full((20_000,), label), latents))
        own, trust = real.labels == label, real.trust[real.labels == label][:, None, None, None]
        basis = ours.network.pixels.basis
        pixels = to_network_range(real.images[own]).flatten(1)
        pixels = (pixels.mean(dim=0) + (pixels - pixels.mean(dim=0)) @ basis.T @ basis).unflatten(1, (1, 8, 8))
        mean = (pixels * trust).sum(dim=0) / trust.sum()
        torch.testing.assert_close(drawn.mean(dim=0), mean, atol=0.05, rtol=0)
        spread = ((pixels - mean).square() * trust).sum() / (trust.sum() - 1)
        assert drawn.var(dim=0).sum().item() == pytest.approx(spread.item(), rel=0.04)


def test_a_rank_of_one_varies_in_one_direction(real: TrustedImages) -> None:
    latents = torch.linspace(-2, 2, 9)[:, None]
    images = gaussian(real, 1).network(some_draws(torch.ones(9, dtype=torch.int64), latents)).flatten(1)
    assert torch.linalg.matrix_rank(images - images.mean(dim=0), atol=1e-3).item() == 1
