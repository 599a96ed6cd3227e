"""p-values without held-out images: full conformal prediction over the very images that the generator saw.

Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World" (2005), chapter 2: x joins the M seen images T,
each of the M + 1 images is scored against all the others, and p is the rank of x among them, as a share. So t_i is
scored in T + x - t_i, where x may be one of its neighbours. The naive leave-one-out threshold scores t_i among M - 1
images but x among M, and is not valid.

What is promised concerns a fresh x that is exchangeable with T: P(p <= alpha) <= alpha, whatever the score, if it does
not tell x from T; so it may be the lowest of several views. It fails where T comes in groups: then t_i is scored with
its relatives at hand or without any, and x without its own, which nobody has. (Leave-one-group-out scores are valid at
2 alpha alone.) An image drawn from a source is judged among T without that source. A generator's image need not be
exchangeable, for the generator saw T; where it is a copy it isn't, and that is what the filter finds. Needed is a
distance with d(x, t) = d(t, x). No version of it holds with a stated confidence over the draw of T: without further
assumptions there is none (Bian and Barber, "Training-conditional coverage for distribution-free predictive inference",
2023).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

QUERY_CHUNK_VALUES = 2**22  # distances of one chunk of queries: 32 MiB in float64


@dataclass(frozen=True, eq=False)
class AmongSeen:
    """Of each of M seen images the k + 1 nearest others, in V views: distances, ascending, and rows, (V, M, k + 1)."""

    distances: NDArray[np.float64]
    rows: NDArray[np.int64]

    def without(self, row: int) -> NDArray[np.float64]:
        """Distances (V, M - 1, k) to the k nearest others of each but `row`, which is nobody's neighbour; -1: none."""
        rest = np.argsort(self.rows == row, axis=2, kind="stable")[..., :-1]
        distances = np.take_along_axis(self.distances, rest, axis=2)
        return distances if row < 0 else np.delete(distances, row, axis=1)


def p_values_apart(
    among_seen: AmongSeen, distances: NDArray[np.float64], sources: NDArray[np.int64]
) -> NDArray[np.float64]:
    """p of each query, (N,), among the seen images without its source: a row (N,) of these, -1 for none.

    distances: (V, N, M), of the queries to all seen images.
    """
    p = np.empty(len(sources))
    for source in np.unique(sources):
        here = sources == source
        rest = distances[:, here] if source < 0 else np.delete(distances[:, here], source, axis=2)
        p[here] = full_conformal_p_values(among_seen.without(source), rest)
    return p


def full_conformal_p_values(loo: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """p = (1 + #{i: s_i <= s(x)}) / (M + 1) of each query x, (N,), in 1/(M + 1)..1: small where x is like a copy.

    s, the lowest over the views, is d1 / mean(d2 .. dk) as in `neighbours.Neighbours.scores`; s(x) from the k nearest
    of T, s_i from the k nearest to t_i in T + x - t_i. Queries are judged one by one: each meets T alone.

    Args:
        loo: (V, M, k), k >= 2, ascending: distances of each seen image to the k nearest other seen images, in V views.
        distances: (V, N, M), of the queries to all seen images, M >= k.
    """
    rows = max(1, QUERY_CHUNK_VALUES // loo.shape[1])
    chunks = (distances[:, start : start + rows] for start in range(0, distances.shape[1], rows))
    return np.concatenate([np.empty(0), *(_p_values(loo, chunk) for chunk in chunks)])


def _p_values(loo: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    k = loo.shape[2]
    nearest = np.sort(np.partition(distances, k - 1, axis=2)[..., :k], axis=2)
    own = _scores(nearest, nearest[..., -1]).min(axis=0)[:, None]
    # x pushes out the k-th neighbour of t_i where it lies nearer than that
    with_query = _scores(loo[:, None], np.minimum(distances, loo[:, None, :, -1])).min(axis=0)
    return (1 + np.count_nonzero(with_query <= own, axis=1)) / (loo.shape[1] + 1)


def _scores(neighbours: NDArray[np.float64], last: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of images whose k nearest are the first k - 1 of `neighbours` (..., k) and one at `last` (...)."""
    first, between = neighbours[..., 0], neighbours[..., 1:-1].sum(axis=-1)
    others = (between + np.maximum(first, last)) / (neighbours.shape[-1] - 1)
    return np.divide(np.minimum(first, last), others, out=np.zeros_like(others), where=others > 0)
