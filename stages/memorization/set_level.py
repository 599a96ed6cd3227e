"""Does a synthetic set as a whole lie nearer to the images that the generator saw than fresh real images do?

Like the attacks, these tests compare plain images, without alignments. None of them removes an image.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stages.memorization.attacks import PlainDistances

COPY_QUANTILE = 0.05  # of the fresh images' distances: a share of about this of any fresh images lies below it


@dataclass(frozen=True)
class SetLevel:
    """What a set of synthetic images shows next to fresh real ones, the non-members.

    Attributes:
        data_copying_z: C_T, standard normal where synthetic images lie as near to the members as fresh ones do; far
            below 0 for copies, far above 0 for a hole around the members or for images that look like none of them.
        authentic: share 0..1 of the synthetic images that are authentic; 0 for exact copies.
        authentic_fresh: the same of the non-members: what a generator that copies nothing gets, which is rarely 1.
        copied: by class, share 0..1 of its synthetic images nearer to a member than all but a twentieth of the fresh
            images; about .05 for a generator that copies nothing. A class without synthetic images is left out.
    """

    data_copying_z: float
    authentic: float
    authentic_fresh: float
    copied: dict[int, float]


def set_level(distances: PlainDistances, labels: NDArray[np.int64]) -> SetLevel:
    """All set-level tests. `labels`: (N,), the classes that the generated images were drawn for."""
    members = distances.members
    to_synthetic, to_fresh = distances.to_generated[:members], distances.among_real[:members, members:]
    apart = distances.among_real[:members, :members].clone().fill_diagonal_(torch.inf).amin(dim=1)
    synthetic, fresh = to_synthetic.amin(dim=0).double().cpu(), to_fresh.amin(dim=0).double().cpu()
    return SetLevel(
        data_copying_z=data_copying_z(synthetic.numpy(), fresh.numpy()),
        authentic=authentic_share(to_synthetic, apart),
        authentic_fresh=authentic_share(to_fresh, apart),
        copied=copied_share(synthetic, torch.from_numpy(labels), fresh),
    )


def data_copying_z(synthetic: NDArray[np.float64], fresh: NDArray[np.float64]) -> float:
    """The data-copying statistic of distances to the nearest member, of synthetic (N,) and of fresh images (m,).

    Meehan, Chaudhuri and Dasgupta, "A Non-Parametric Test to Detect Data-Copying in Generative Models" (AISTATS 2020):
    the Mann-Whitney U statistic, standardised. This is their global test, C_T over a single cell:
    averaging over k-means cells needs about 20 fresh images in each, and there are few.
    """
    from scipy.stats import mannwhitneyu

    pairs = len(synthetic) * len(fresh)
    wins = float(mannwhitneyu(synthetic, fresh, method="asymptotic").statistic)
    return (wins - pairs / 2) / float(np.sqrt(pairs * (len(synthetic) + len(fresh) + 1) / 12))


def authentic_share(to_members: torch.Tensor, apart: torch.Tensor) -> float:
    """Share of images whose nearest member is farther from them than from its own nearest other member.

    Alaa, van Breugel, Saveliev and van der Schaar, "How Faithful is your Synthetic Data?" (ICML 2022), authenticity.

    Args:
        to_members: (M, N), distances of the members to the images.
        apart: (M,), of each member to its nearest other member.
    """
    nearest, member = to_members.min(dim=0)
    return float((nearest > apart[member]).double().mean())


def copied_share(synthetic: torch.Tensor, labels: torch.Tensor, fresh: torch.Tensor) -> dict[int, float]:
    """By class the share of its synthetic images, 0..1, nearer to a member than all but a twentieth of fresh images.

    The threshold is one for all classes, so that the fresh images need no labels and may be few.

    Args:
        synthetic: (N,), distances to the nearest member. fresh: (m,), the same of fresh images.
        labels: int64 (N,), of the synthetic images; a class without any is left out.
    """
    copied = synthetic < fresh.quantile(COPY_QUANTILE)
    return {int(label): float(copied[labels == label].float().mean()) for label in labels.unique()}
