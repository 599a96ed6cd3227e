"""The Gaussian of each class, released under differential privacy: all that some kinds learn of the real images.

Each image is a vector of low frequencies of the cosine transform, which no image has a say in. Four sums over all
images are released by the Gaussian mechanism, one after another: of the vectors, by which they are then centred and cut
to a length; of the images of each class; of their vectors; and of the products of each two numbers of a vector. What
follows is made of these sums alone, and costs no more privacy (Dwork and Roth, "The Algorithmic Foundations of
Differential Privacy", 2014, proposition 2.1).
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from stages.generators.frequencies import cosine_basis
from stages.generators.moments import Components, Moments
from stages.generators.params import PrivateMomentsParams
from stages.imaging.pixels import to_network_range
from stages.labelling.data import TrustedImages

# Shares of the budget, which add up to 1: the inverse squares of what noise each sum gets.
OF_CENTRE, OF_COUNTS, OF_SUMS, OF_PRODUCTS = 0.1, 0.02, 0.38, 0.5


@dataclass(frozen=True)
class Released:
    """Noised sums over N images in a basis (D, P) with orthonormal rows.

    centre: (D,), about the images' mean. counts: (K,), about the images of each class. sums: (K, D), of the classes'
    vectors, centred and at most `length` long. products: (G, D, D), of their products, of each class (G = K) or of all
    together (G = 1). sd_sums, sd_products: standard deviations of the noise in each number of both, of products off
    the diagonal.
    """

    images: int
    length: float
    basis: Tensor
    centre: Tensor
    counts: Tensor
    sums: Tensor
    products: Tensor
    sd_sums: float
    sd_products: float


def release(
    real: TrustedImages, classes: int, params: PrivateMomentsParams, noise: float, random: torch.Generator
) -> Released:
    """The noised sums. noise: of the Gaussian mechanism that all four together are, in lengths that one image adds.

    An image adds a vector of length 1 at most to each sum that is noised, so that the noise of each is `noise` over the
    root of its share of the budget.
    """
    _, channels, size, _ = real.images.shape
    basis = cosine_basis(channels, size, params.frequencies)
    longest = sqrt(channels) * size  # of an image with values in [-1, 1]
    vectors = (to_network_range(real.images.cpu()).flatten(1) @ basis.T).double()
    labels, images, length = real.labels.cpu(), len(vectors), params.clip * longest

    def noised(sums: Tensor, share: float) -> Tensor:
        return sums + torch.randn(sums.shape, generator=random, dtype=torch.float64) * (noise / sqrt(share))

    centre = noised(centre_of(vectors, longest), OF_CENTRE) * longest / images
    counts, sums, products = sums_of(cut(vectors - centre, length), labels, classes, params.covariance == "class")
    # The mean of a noise matrix and its transpose: a product's square length counts both of its places.
    noisy = noised(products, OF_PRODUCTS)
    return Released(
        images,
        length,
        basis,
        centre,
        noised(counts, OF_COUNTS),
        noised(sums, OF_SUMS) * length,
        (noisy + noisy.mT) / 2 * length**2,
        noise / sqrt(OF_SUMS) * length,
        noise / sqrt(2 * OF_PRODUCTS) * length**2,
    )


def centre_of(vectors: Tensor, longest: float) -> Tensor:
    """The sum (D,) of vectors (N, D), in units of the length that none is beyond."""
    return (vectors / longest).sum(dim=0)


def cut(vectors: Tensor, length: float) -> Tensor:
    """Vectors (N, D) in units of a length, which is then 1 at most; what is longer keeps its direction."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(length)


def sums_of(vectors: Tensor, labels: Tensor, classes: int, by_class: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (K,), sums (K, D) and products (G, D, D) of vectors (N, D) of length 1 at most and their labels (N,).

    Each vector adds one of length 1 at most to each of the three.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    sums = vectors.new_zeros(classes, vectors.shape[1]).index_add(0, labels, vectors)
    members = [vectors[labels == label] for label in range(classes)] if by_class else [vectors]
    return counts, sums, torch.stack([each.T @ each for each in members])


def gaussians(released: Released, rank: int) -> Moments:
    """What the sums say of the classes' Gaussians, in all frequencies of the basis; their rank is at most `rank`.

    Numbers that noise drowns are drawn to zero, by how much is known of the noise.
    """
    counts = released.counts.clamp_min(1)
    means = _shrunk(released.sums / counts[:, None], released.sd_sums / counts)
    if len(released.products) == 1:
        of_means = torch.einsum("k,kd,ke->de", counts / counts.sum(), means, means)[None]
        sizes = counts.new_tensor([released.images])
    else:
        of_means, sizes = torch.einsum("kd,ke->kde", means, means), counts
    covariances = released.products / sizes[:, None, None] - of_means
    factors = _factors(covariances, released.sd_products / sizes, min(rank, means.shape[1]))
    total = (factors.square().sum(dim=2).mean(dim=0) + means.square().mean(dim=0)).sqrt()
    components = Components(
        (released.centre @ released.basis.double()).float(), released.basis, total.clamp_min(1e-3).float()
    )
    return Moments(components, means.float(), factors.expand(len(means), -1, -1).float().contiguous())


def _shrunk(means: Tensor, sd: Tensor) -> Tensor:
    """Means (K, D) of each class, whose noise has deviations (K,), drawn to zero, which is about the mean of all.

    Wiener's filter: what the numbers of a column vary more than their noise is held to be true.
    """
    noise = sd.square()[:, None]
    true = (means.square() - noise).mean(dim=0, keepdim=True).clamp_min(0)
    return means * true / (true + noise)


def _factors(covariances: Tensor, sd: Tensor, rank: int) -> Tensor:
    """Square roots (G, D, rank) of covariances (G, D, D) whose noise has deviations (G,), off the diagonal.

    A true variance v shows as v + sd^2 D / v once it stands out of the noise, and else not at all. This is its inverse
    (Benaych-Georges and Nadakuditi, "The eigenvalues and eigenvectors of finite, low rank perturbations of large random
    matrices", 2011, section 3.1).
    """
    seen, vectors = torch.linalg.eigh(covariances)
    spread = sd.square()[:, None] * covariances.shape[1]
    clear = (seen > 2 * spread.sqrt()).double()
    true = (seen + (seen.square() - 4 * spread).clamp_min(0).sqrt()) / 2 * clear
    return vectors[..., -rank:] * true[:, None, -rank:].sqrt()
