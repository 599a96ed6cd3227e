"""p-values without held-out images: full conformal prediction over the very images that the GAN saw.

Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), chapter 2: x joins the M seen images T,
each of the M + 1 images is scored against all the others, and p is the rank of x among them, as a share. So t_i is
scored in T + x - t_i, where x may be one of its neighbours. The naive leave-one-out threshold scores t_i among M - 1
images but x among M, and is not valid.

What is promised concerns a fresh x that is exchangeable with T: P(p <= alpha) <= alpha. A GAN's image need not be, for
the GAN saw T; where it is a copy it isn't, and that is what the filter finds. Needed is a distance with d(x, t) =
d(t, x). No version of it holds with a stated confidence over the draw of T: without further assumptions there is none
(Bian and Barber, "Training-conditional coverage for distribution-free predictive inference", 2023).
"""

import numpy as np
from numpy.typing import NDArray

QUERY_CHUNK_VALUES = 2**22  # distances of one chunk of queries: 32 MiB in float64


def full_conformal_p_values(loo: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """p = (1 + #{i: s_i <= s(x)}) / (M + 1) of each query x, (N,), in 1/(M + 1)..1: small where x is like a copy.

    s = d1 / mean(d2 .. dk) as in `neighbours.Neighbours.scores`; s(x) from the k nearest of T, s_i from the k nearest
    to t_i in T + x - t_i. Queries are judged one by one: each meets T alone.

    Args:
        loo: (M, k), k >= 2, ascending: distances of each seen image to the k nearest other seen images.
        distances: (N, M), of the queries to all seen images, M >= k.
    """
    rows = max(1, QUERY_CHUNK_VALUES // len(loo))
    chunks = (distances[start : start + rows] for start in range(0, len(distances), rows))
    return np.concatenate([_p_values(loo, chunk) for chunk in chunks]) if len(distances) else np.empty(0)


def _p_values(loo: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    k = loo.shape[1]
    nearest = np.sort(np.partition(distances, k - 1, axis=1)[:, :k], axis=1)
    own = _scores(nearest, nearest[:, -1])[:, None]
    # x pushes out the k-th neighbour of t_i where it lies nearer than that
    with_query = _scores(loo[None], np.minimum(distances, loo[:, -1]))
    return (1 + np.count_nonzero(with_query <= own, axis=1)) / (len(loo) + 1)


def _scores(neighbours: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of images whose k nearest are the first k - 1 of `neighbours` (..., k) and one at `last` (...)."""
    first, between = neighbours[..., 0], neighbours[..., 1:-1].sum(axis=-1)
    others = (between + np.maximum(first, last)) / (neighbours.shape[-1] - 1)
    return np.divide(np.minimum(first, last), others, out=np.zeros_like(others), where=others > 0)
