"""Where a dense GAN starts from: the images' principal components, and in them a Gaussian for each class.

A generator that has to find the classes' means and covariances by gradient descent spends most of its steps on what
one pass over the images says. So it starts there and learns what a Gaussian misses. Both networks work in the
principal components, which are a tenth of the numbers that a 32 x 32 image has.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from stages.imaging.pixels import to_network_range
from stages.labelling.data import TrustedImages

KEPT_VARIANCE = 0.99
MOST_COMPONENTS = 512
MEASURED_IMAGES = 2048  # at most, at equal distances, for the components, whose cost grows with the cube
CHUNK = 1024  # images that are turned into components at a time
# Every class's covariance counts as if so many more of its images had the covariance that all classes share: a class of
# seven images borrows the shape of the others instead of repeating its own (Friedman, "Regularized Discriminant
# Analysis", 1989).
BORROWED_IMAGES = 5.0


@dataclass(frozen=True)
class Components:
    """The principal components of images with P values in [-1, 1].

    `mean` (P,); `basis` (D, P), orthonormal rows; `deviations` (D,), of the images along each row, descending.
    """

    mean: Tensor
    basis: Tensor
    deviations: Tensor


@dataclass(frozen=True)
class Moments:
    """Principal components, and in them the Gaussian of each of K classes: means (K, D) and factors (K, D, R).

    A class's covariance is about factor @ factor.T, of rank R.
    """

    components: Components
    means: Tensor
    factors: Tensor

    def of_class(self, label: int) -> "Moments":
        """What a network for that class alone starts from."""
        only = slice(label, label + 1)
        return replace(self, means=self.means[only], factors=self.factors[only])


def measure(real: TrustedImages, classes: int, rank: int) -> Moments:
    """The images' components, and the Gaussian of each class, where every image counts by the trust in its label.

    Each class has an image with trust. The factors' rank is at most `rank`.
    """
    components = _principal_components(real.images)
    encoded = [
        (to_network_range(part).flatten(1) - components.mean) @ components.basis.T for part in real.images.split(CHUNK)
    ]
    rows, trust = torch.cat(encoded).double(), real.trust.double()
    counts = trust.new_zeros(classes).index_add(0, real.labels, trust)
    means = rows.new_zeros(classes, rows.shape[1]).index_add(0, real.labels, rows * trust[:, None]) / counts[:, None]
    centred = (rows - means[real.labels]) * trust.sqrt()[:, None]
    of_class = (centred[real.labels == label] for label in range(classes))
    scatters = torch.stack([each.T @ each for each in of_class])
    factors = _factors(scatters, counts, min(rows.shape[1], rank))
    return Moments(components, means.float(), factors.float())


def _principal_components(images: Tensor) -> Components:
    """The components that keep 99 % of the variance of images uint8 (N, C, H, W); one at least, 512 at most.

    By the eigenvectors of the smaller of covariance and Gram matrix, in float64.
    """
    chosen = images[torch.linspace(0, len(images) - 1, min(len(images), MEASURED_IMAGES)).long()]
    rows = to_network_range(chosen).flatten(1).double()
    mean = rows.mean(dim=0)
    centred = rows - mean
    few = len(centred) < centred.shape[1]
    variances, vectors = torch.linalg.eigh((centred @ centred.T if few else centred.T @ centred) / len(centred))
    variances, vectors = variances.flip(0).clamp(min=0), vectors.flip(1)
    kept = min(int((variances.cumsum(0) < KEPT_VARIANCE * variances.sum()).sum()) + 1, MOST_COMPONENTS)
    basis = vectors[:, :kept].T
    basis = functional.normalize(basis @ centred, dim=1) if few else basis
    return Components(mean.float(), basis.float(), variances[:kept].sqrt().float())


def _factors(scatters: Tensor, counts: Tensor, rank: int) -> Tensor:
    """Square roots (K, D, rank) of the classes' covariances, from their scatter matrices (K, D, D) and sizes (K,)."""
    shared = scatters.sum(dim=0) / (counts.sum() - len(counts)).clamp(min=1)
    own = (counts - 1).clamp(min=0)[:, None, None]
    variances, vectors = torch.linalg.eigh((scatters + BORROWED_IMAGES * shared) / (own + BORROWED_IMAGES))
    return vectors[..., -rank:] * variances[:, None, -rank:].clamp(min=0).sqrt()
