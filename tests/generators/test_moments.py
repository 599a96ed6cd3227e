"""Components and Gaussians equal those of scikit-learn and NumPy; few images borrow the shape of the other classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from stages.generators.moments import BORROWED_IMAGES, MOST_COMPONENTS, Moments, measure
from stages.imaging.pixels import to_network_range
from stages.labelling.data import TrustedImages


def images(count: int, side: int = 6, channels: int = 1, seed: int = 0) -> Tensor:
    """Smooth images: a few patterns, mixed."""
    random = torch.Generator().manual_seed(seed)
    patterns = torch.rand(5, channels * side**2, generator=random)
    mixed = torch.rand(count, 5, generator=random) @ patterns * 90
    noise = torch.rand(mixed.shape, generator=random) * 5
    return (mixed + noise).clamp(0, 255).to(torch.uint8).unflatten(1, (channels, side, side))


def real(count: int, classes: int, **changes: Tensor) -> TrustedImages:
    return replace(TrustedImages(images(count), torch.arange(count) % classes, torch.ones(count)), **changes)


@pytest.mark.parametrize("count", [20, 300])  # fewer and more images than the 36 pixels
def test_components_are_those_of_scikit_learn(count: int) -> None:
    found = measure(real(count, 2), 2, 64).components
    rows = to_network_range(images(count)).flatten(1).numpy()
    fitted = PCA(0.99, svd_solver="full").fit(rows.astype(np.float64))
    assert len(found.basis) == fitted.n_components_
    np.testing.assert_allclose(found.mean, fitted.mean_, atol=1e-5)
    deviations = np.sqrt(fitted.explained_variance_ * (count - 1) / count)
    np.testing.assert_allclose(found.deviations, deviations, rtol=1e-4)
    cosines = (found.basis.numpy() * fitted.components_).sum(axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-3)


def test_a_class_with_many_images_has_their_mean_and_covariance() -> None:
    data = real(40_000, 2)
    found = measure(data, 2, 64)
    rows = (to_network_range(data.images).flatten(1) - found.components.mean) @ found.components.basis.T
    for label in range(2):
        own = rows[data.labels == label]
        torch.testing.assert_close(found.means[label], own.mean(dim=0), atol=1e-4, rtol=0)
        torch.testing.assert_close(found.factors[label] @ found.factors[label].T, own.T.cov(), atol=1e-3, rtol=0)


def test_a_class_of_one_image_borrows_its_covariance_from_the_others() -> None:
    labels = torch.zeros(50, dtype=torch.int64)
    labels[-1] = 1
    found = measure(real(50, 2, labels=labels), 2, 64)
    ours, others = (factor @ factor.T for factor in (found.factors[1], found.factors[0]))
    torch.testing.assert_close(ours, others, atol=1e-5, rtol=1e-3)


def test_the_fewer_the_images_the_more_is_borrowed() -> None:
    """A class that varies half as much as the other seems to vary more, the fewer images it has."""
    base = images(200).float()
    base[:100] = 60 + (base[:100] - 60) / 2
    shares = []
    for kept in (100, 20, 5):
        rows = torch.cat([torch.arange(kept), torch.arange(100, 200)])
        data = TrustedImages(base[rows].to(torch.uint8), (rows >= 100).long(), torch.ones(len(rows)))
        factors = measure(data, 2, 64).factors
        shares.append(float(factors[0].square().sum() / factors[1].square().sum()))
    assert shares == sorted(shares)


def test_an_image_without_trust_moves_no_gaussian() -> None:
    data = real(60, 3)
    without = measure(replace(data, trust=torch.where(torch.arange(60) < 30, 1.0, 0.0)), 3, 64)
    other_labels = torch.where(torch.arange(60) < 30, data.labels, (data.labels + 1) % 3)
    relabelled = replace(data, labels=other_labels, trust=torch.where(torch.arange(60) < 30, 1.0, 0.0))
    assert torch.equal(measure(relabelled, 3, 64).means, without.means)
    assert not torch.equal(measure(data, 3, 64).means, without.means)


def test_trust_counts_as_a_share_of_an_image() -> None:
    data = real(30, 3)
    twice = TrustedImages(*(torch.cat([each, each]) for each in (data.images, data.labels)), torch.full((60,), 0.5))
    one, other = measure(data, 3, 64), measure(twice, 3, 64)
    bases = one.components.basis, other.components.basis  # each vector may point either way
    torch.testing.assert_close(other.means @ bases[1], one.means @ bases[0], atol=1e-5, rtol=0)
    pixels = [bases[side].T @ covariances(each.factors) @ bases[side] for side, each in enumerate((one, other))]
    torch.testing.assert_close(pixels[1], pixels[0], atol=1e-5, rtol=1e-3)


def test_the_rank_is_no_more_than_there_are_latents_and_keeps_the_widest_directions() -> None:
    data = real(200, 2)
    full, narrow = measure(data, 2, 64).factors, measure(data, 2, 3).factors
    assert narrow.shape[2] == 3
    torch.testing.assert_close(narrow, full[..., -3:])
    widths = full.norm(dim=1)
    assert (widths[:, -3:].amin(dim=1) >= widths[:, :-3].amax(dim=1)).all()


def test_images_all_alike_have_one_component_and_no_spread() -> None:
    constant = torch.full((12, 1, 6, 6), 77, dtype=torch.uint8)
    found = measure(real(12, 2, images=constant), 2, 64)
    assert found.components.basis.shape == (1, 36)
    assert found.factors.abs().max() < 1e-6
    assert found.components.basis.isfinite().all()


def test_there_are_at_most_so_many_components() -> None:
    noise = torch.randint(256, (700, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data = TrustedImages(noise, torch.arange(700) % 2, torch.ones(700))
    basis = measure(data, 2, 8).components.basis
    assert len(basis) == MOST_COMPONENTS
    torch.testing.assert_close(basis @ basis.T, torch.eye(MOST_COMPONENTS), atol=1e-4, rtol=0)


def test_those_of_a_class_are_its_own_in_the_same_components() -> None:
    whole = measure(real(100, 3), 3, rank=4)
    for label in range(3):
        own = whole.of_class(label)
        assert isinstance(own, Moments)
        assert own.components is whole.components
        assert torch.equal(own.means, whole.means[label][None])
        assert torch.equal(own.factors, whole.factors[label][None])


def covariances(factors: Tensor) -> Tensor:
    return factors @ factors.transpose(1, 2)


def test_borrowing_is_a_matter_of_counts() -> None:
    """A class's covariance is the mean of its own and the shared one, weighted by its images less one."""
    data = real(40, 2, labels=(torch.arange(40) >= 8).long())
    found = measure(data, 2, 64)
    rows = ((to_network_range(data.images).flatten(1) - found.components.mean) @ found.components.basis.T).double()
    own = [rows[data.labels == label] for label in range(2)]
    scatters = [(each - each.mean(dim=0)).T @ (each - each.mean(dim=0)) for each in own]
    shared = (scatters[0] + scatters[1]) / 38
    expected = (scatters[0] + BORROWED_IMAGES * shared) / (7 + BORROWED_IMAGES)
    torch.testing.assert_close(covariances(found.factors)[0].double(), expected, atol=1e-4, rtol=1e-3)
