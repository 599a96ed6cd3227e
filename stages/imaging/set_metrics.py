"""How good synthetic images are, from a classifier's features and guesses.

All functions are pure, on tensors of one device. Features come from `quick_classifier.QuickClassifier.features`.
"""

import torch
from torch import Tensor

from stages.imaging.distance import distances

COPY_QUANTILE = 0.05  # of the fresh images' distances: a share of about this of any fresh images lies below it


def kernel_distance(real: Tensor, synthetic: Tensor) -> float:
    """Return the kernel inception distance, 0 where both sets have the same distribution; by chance slightly negative.

    The unbiased estimate of the squared maximum mean discrepancy with the kernel (x.y / F + 1)^3 (Binkowski et al.,
    "Demystifying MMD GANs", 2018), here of features of our own. `real`: (N, F), `synthetic`: (M, F), two rows
    or more each.
    """
    real, synthetic = real.double(), synthetic.double()  # the terms nearly cancel
    between = _kernel(real, synthetic).mean()
    return float(_mean_of_others(_kernel(real, real)) + _mean_of_others(_kernel(synthetic, synthetic)) - 2 * between)


def recall(real: Tensor, synthetic: Tensor, k: int = 3) -> float:
    """Return the share of real features, 0..1, that lie where synthetic ones do: low where modes are missing.

    Where synthetic ones do: within a synthetic feature's distance to the k-th nearest of its like (Kynkaanniemi et al.,
    "Improved Precision and Recall Metric for Assessing Generative Models", 2019, eq. 2). `real`: (N, F), `synthetic`:
    (M, F), M > k.
    """
    radii = distances(synthetic, synthetic).kthvalue(k + 1, dim=1).values  # each is its own nearest
    return float((distances(real, synthetic) <= radii).any(dim=1).float().mean())


def confused_share(probabilities: Tensor, labels: Tensor) -> float:
    """Return the share of images, 0..1, whose likeliest class is not their own.

    `probabilities`: (N, K), guessed by a classifier trained on real images. `labels`: int64 (N,), the classes that the
    images were drawn for.
    """
    return float((probabilities.argmax(dim=1) != labels).float().mean())


def log_likelihood(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return each image's natural logarithm of the probability of its class, (N,), at most 0.

    Finer than being right or wrong, it tells classifiers apart on few images. `probabilities`: (N, K); one of 0 counts
    as the least positive number, so that a single image cannot make a sum infinite. `labels`: int64 (N,).
    """
    own = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    return own.clamp_min(torch.finfo(own.dtype).tiny).log()


def copied_share(synthetic: Tensor, labels: Tensor, fresh: Tensor) -> dict[int, float]:
    """Return by class the share of its synthetic images, 0..1, that lie suspiciously near a seen image.

    That is, nearer than all but a twentieth of the fresh images: about 0.05 is what a GAN that copies nothing gets. The
    threshold is one for all classes, so that the fresh images need no labels and may be few.

    `synthetic` (N,), `fresh` (M,): distances to the nearest seen image, of synthetic images and of real ones that the
    generator has not seen. `labels`: int64 (N,), of the synthetic images; a class without any is left out.
    """
    copied = synthetic < fresh.quantile(COPY_QUANTILE)
    return {int(label): float(copied[labels == label].float().mean()) for label in labels.unique()}


def _kernel(left: Tensor, right: Tensor) -> Tensor:
    return (left @ right.T / left.shape[1] + 1) ** 3


def _mean_of_others(kernel: Tensor) -> Tensor:
    """Return the mean over all pairs of a set but those of an element with itself."""
    return (kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1))
