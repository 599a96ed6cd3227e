"""What is released of images: how far one of them reaches, and what is left where noise is little or much."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch

from stages.generators import private_moments
from stages.generators.frequencies import cosine_basis
from stages.generators.moments import Moments
from stages.generators.private_moments import Released, cut, gaussians, release, sums_of
from stages.imaging.pixels import to_network_range
from stages.labelling.data import TrustedImages
from tests.generators.toy import toy_params
from tests.labelling.toy import CLASSES, toy_images


def real(per_class: int = 400, seed: int = 0) -> TrustedImages:
    images, labels = toy_images(per_class, seed)
    return TrustedImages(images, labels, torch.ones(len(images)))


def released(images: TrustedImages, noise: float, seed: int = 0, **changes: Any) -> Released:
    params: Any = toy_params("private_gaussian", frequencies=8, **changes)
    return release(images, CLASSES, params, noise, torch.Generator().manual_seed(seed))


def moments(noise: float, seed: int = 0, **changes: Any) -> Moments:
    return gaussians(released(real(), noise, seed, clip=1.0, **changes), rank=64)


def test_the_basis_is_orthonormal_and_that_of_all_frequencies_loses_nothing() -> None:
    few, everything = cosine_basis(3, 8, 4), cosine_basis(3, 8, 99)
    assert few.shape == (3 * 4 * 4, 3 * 8 * 8)
    torch.testing.assert_close(few @ few.T, torch.eye(len(few)), atol=1e-5, rtol=0)
    torch.testing.assert_close(everything.T @ everything, torch.eye(3 * 8 * 8), atol=1e-5, rtol=0)


def test_the_shares_of_the_budget_are_all_of_it() -> None:
    shares = private_moments.OF_CENTRE, private_moments.OF_COUNTS, private_moments.OF_SUMS, private_moments.OF_PRODUCTS
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("covariance", ["pooled", "class"])
def test_without_noise_they_are_the_classes_means_and_covariances(covariance: str) -> None:
    images, found = real(), moments(1e-9, covariance=covariance)
    vectors = to_network_range(images.images).flatten(1).double()
    own = [vectors[images.labels == label] for label in range(CLASSES)]
    means = (found.components.mean + found.means @ found.components.basis).double()
    torch.testing.assert_close(means, torch.stack([each.mean(dim=0) for each in own]), atol=1e-4, rtol=0)
    covariances = torch.stack([each.T.cov(correction=0) for each in own])
    expected = covariances if covariance == "class" else covariances.mean(dim=0, keepdim=True).expand_as(covariances)
    drawn = torch.einsum("kdr,dp->kpr", found.factors, found.components.basis).double()
    torch.testing.assert_close(drawn @ drawn.mT, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("by_class", [True, False])
def test_one_image_more_moves_all_sums_together_by_no_more_than_the_noise_is_measured_in(by_class: bool) -> None:
    """In units of the noise of each, for noise 1; the longest image reaches the limit."""
    random = torch.Generator().manual_seed(0)
    vectors, labels = torch.randn(50, 12, generator=random).double() * 5, torch.arange(50) % CLASSES
    shares = private_moments.OF_COUNTS, private_moments.OF_SUMS, private_moments.OF_PRODUCTS
    for length in (0.5, 100.0):
        given = cut(vectors, length)
        before, after = (sums_of(given[:rows], labels[:rows], CLASSES, by_class) for rows in (49, 50))
        moved = [(new - old).norm() * sqrt(share) for old, new, share in zip(before, after, shares, strict=True)]
        reach = torch.stack(moved).square().sum().sqrt() / sqrt(sum(shares))
        assert reach <= 1 + 1e-9
        assert (float(reach) == pytest.approx(1)) == (length == 0.5)


def test_noise_has_the_size_that_is_said_of_it() -> None:
    """In sums, and in products off the diagonal, over 200 releases of the same images."""
    many = [released(real(5), 2.0, seed, clip=0.3, covariance="class") for seed in range(200)]
    sums = torch.stack([each.sums - each.sums.mean() for each in many])
    products = torch.stack([each.products for each in many])
    corner = products[:, :, 0, -1]
    assert float((sums - sums.mean(dim=0)).std()) == pytest.approx(many[0].sd_sums, rel=0.1)
    assert float((corner - corner.mean(dim=0)).std()) == pytest.approx(many[0].sd_products, rel=0.15)
    torch.testing.assert_close(products, products.mT)


def test_more_noise_is_farther_from_the_truth() -> None:
    truth = moments(1e-9)
    errors = [
        np.mean([float((moments(noise, seed).means - truth.means).norm()) for seed in range(5)])
        for noise in (0.5, 5.0, 50.0)
    ]
    assert errors == sorted(errors)
