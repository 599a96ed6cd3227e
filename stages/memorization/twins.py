"""Near-twins among the real images: pictures of one thing, such as two takes of one lesion, that nobody grouped.

A calibration image whose near-twin the generator saw looks like a copy of it. With some of these the threshold falls so
low that true copies with noise, turned or cropped pass below it; and a copy of an image that was seen hides behind that
one's twin. So near-twins are treated as a declared group is: calibration images are compared with the seen images but
their own near-twins, and near-twins among the seen ones don't hide each other's copies.

How near is found around each image, because some kinds of images lie denser than others. Where points lie evenly in d
dimensions, the distances d_1 < d_2 < ... to the nearest ones have independent, exponential gaps

    l d log(d_(l+1) / d_l)        ~ Exp(1),                                     l = 1, 2, ...

(Levina and Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension", 2004, estimate d by them.) So how likely a
gap is by chance, beside the gaps further out, depends neither on d nor on how dense the points lie: with E one gap and
S the sum of m others, P(E > c S) = (1 + c)^-m. Where one of the first two gaps is so wide that as wide a one comes by
chance in a share alpha of the images alone, what lies before it are taken for near-twins.

That is done only where more images than such a share, and a standard deviation of chance more, seem to have near-twins.
(Real images lie less evenly, and seem to have near-twins less often: at alpha .05 in .03 to .04 of cases on the digits,
red cells, chest X-rays and clothes.) Else nothing is grouped, and the promise is about all fresh images. Where it is
done the promise is about fresh images that don't seem to have a near-twin among the seen; one that does may be dropped,
as a copy may. That is the price, and the share of such images is told: nobody can tell a near-twin from a disguised
copy by their pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stages.imaging.distance import Alignment
from stages.imaging.neighbours import Search, distinct
from stages.memorization.likeness import Groups, group_codes

NEAREST = 20  # images whose distances tell what is usual around an image
LEAST_SEEN = 5 * NEAREST  # of fewer, the nearest ones reach from one kind of images into another
MOST_TWINS = 2  # of an image; more are a kind of image
CLEARLY = 1.0  # standard deviations; images without near-twins seem to have one in less than a share alpha of cases
LEAST_DISTANCE = 1e-9


@dataclass(frozen=True)
class TwinGroups:
    """Groups of the seen images, (M,), and of the calibration images, (m,); None where no image has one.

    share: of the calibration images, 0..1, that seem to have a near-twin among the seen. grouped: whether near-twins
    are grouped, because there are more than by chance.
    """

    seen: Groups | None
    calibration: Groups | None
    share: float
    grouped: bool


def group_twins(
    seen: torch.Tensor,
    calibration: torch.Tensor,
    seen_groups: Groups | None,
    calibration_groups: Groups | None,
    ways: Sequence[Alignment],
    alpha: float,
    device: torch.device | None = None,
) -> TwinGroups:
    """Joins declared groups and, where there are more than by chance, near-twins, and what is joined by such.

    Args:
        seen: uint8 (M, C, H, W). calibration: uint8 (m, C, H, W), m >= 1.
        seen_groups, calibration_groups: as declared, None for an image of its own, or for all.
        ways: the alignments that the filter compares by.
        alpha: `filter_memorized.alpha`.
        device: where to search.
    """
    kept, same = distinct(seen)
    if len(kept) < LEAST_SEEN:
        return TwinGroups(seen_groups, calibration_groups, 0.0, grouped=False)
    search = Search(seen[kept], NEAREST, ways, device=device)
    near = search.nearest(calibration)
    own = twins_of(near.distances.numpy(), alpha)
    share = float((own > 0).mean())
    if share <= alpha:
        return TwinGroups(seen_groups, calibration_groups, share, grouped=False)
    others = search.nearest(seen[kept], torch.arange(len(kept))[:, None])
    among = twins_of(others.distances.numpy(), alpha)
    everywhere = np.concatenate([own, among]) > 0
    if everywhere.mean() <= alpha + CLEARLY * (alpha * (1 - alpha) / len(everywhere)) ** 0.5:
        return TwinGroups(seen_groups, calibration_groups, share, grouped=False)
    calibrating = np.arange(len(seen), len(seen) + len(calibration))
    pairs = [
        _pairs(kept.numpy(), kept[others.indices].numpy(), among),
        _pairs(calibrating, kept[near.indices].numpy(), own),
        np.stack([np.arange(len(seen)), kept[same].numpy()], axis=1),
    ]
    declared = [*(seen_groups or [None] * len(seen)), *(calibration_groups or [None] * len(calibration))]
    names = _components(np.concatenate(pairs), group_codes(declared).numpy()).astype(str).tolist()
    return TwinGroups(names[: len(seen)], names[len(seen) :], share, grouped=True)


def twins_of(distances: NDArray[np.float64], seldom: float) -> NDArray[np.int64]:
    """How many of the nearest images seem to be near-twins, 0..2, (N,).

    distances: (N, k), k >= 4, ascending, to the nearest images. seldom: share 0..1 of images without near-twins that
    seem to have one.
    """
    k = distances.shape[1]
    ranks = np.arange(1, k)
    gaps = ranks * np.diff(np.log(np.maximum(distances, LEAST_DISTANCE)), axis=1)
    outer = gaps[:, ::-1].cumsum(axis=1)[:, ::-1] - gaps  # the sum of the gaps further out
    chance = np.ones((len(distances), MOST_TWINS))
    for row in range(MOST_TWINS):
        ratio = np.divide(gaps[:, row], outer[:, row], out=np.zeros(len(gaps)), where=outer[:, row] > 0)
        chance[:, row] = (1 + ratio) ** -float(k - 2 - row)
    found = chance <= seldom / MOST_TWINS
    return np.where(found.any(axis=1), MOST_TWINS - found[:, ::-1].argmax(axis=1), 0)


def _pairs(images: NDArray[np.int64], neighbours: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Images (N,) with as many of their neighbours (N, k) as counted (N,): (P, 2)."""
    near = np.arange(neighbours.shape[1]) < counts[:, None]
    return np.stack([images[np.nonzero(near)[0]], neighbours[near]], axis=1)


def _components(pairs: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each image (n,), the same for those of one group (n,) or of a pair (P, 2), or joined by such."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    images = len(groups)
    # images and groups are nodes alike
    edges = np.concatenate([pairs, np.stack([np.arange(images), images + groups], axis=1)])
    nodes = images + int(groups.max()) + 1
    graph = coo_array((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][:images].astype(np.int64)
