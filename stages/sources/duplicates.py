"""Images that a source holds more than once: the same pixels, or nearly the same picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stages.plumbing.parallel import FanOut

Pixels = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
"""Rows of the whole set, ascending, to their pixels, uint8 (n, C, H, W)."""

SHIFT_PIXELS = 1  # a copy cropped by one pixel less or more is the same picture
FULL_SEARCH = 2.5e11  # multiplications: about 8 seconds of one thread; 4,000 images of 32 x 32 RGB, 1 pixel moves
THUMBNAIL_RADIUS = 1.5  # times the distance: thumbnails of a near pair are mostly nearer, see near_pairs
BLOCK = 4096  # images: a search that is worth a process of its own
READ_BYTES = 2**25  # of pixels held at a time while candidates are checked


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Pairs of rows, int64 (P, 2), the lower first, in ascending order, and their distances, float64 (P,)."""

    pairs: NDArray[np.int64]
    distances: NDArray[np.float64]


def exact_sets(digests: NDArray[np.void]) -> NDArray[np.int64]:
    """For every image the row of the first one with the same pixels: its own where there is none before.

    digests: (N,) hashes of the pixels, 16 bytes each.
    """
    keys = np.ascontiguousarray(digests).view(np.void(16).dtype)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def search(
    sets: NDArray[np.int64],
    thumbnails: NDArray[np.uint8],
    pixels: Pixels,
    distance: float,
    flip_ok: bool,
    fan_out: "FanOut",
) -> NearPairs:
    """All near pairs of different images, as `near_pairs` finds them, the work shared out by `fan_out`.

    sets: int64 (N,), as `exact_sets` gives them. The other arguments are those of `near_pairs`.
    """
    rows = searchable(sets, thumbnails)
    work = partial(near_pairs, rows, thumbnails, pixels, distance, flip_ok)
    return together(fan_out(work, blocks(len(rows), len(rows) // BLOCK + 1), "block"))


def searchable(sets: NDArray[np.int64], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows among which near pairs are looked for, ascending: one of each exact set, without flat ones.

    An image of one grey level has no contrast, so that it would be at distance 0 to all of its like.
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    return np.flatnonzero((sets == np.arange(len(sets))) & (flat.min(axis=1) < flat.max(axis=1)))


def blocks(count: int, parts: int) -> list[range]:
    """0..count-1 in 1 to `parts` ranges over which the pairs (i, j > i) are spread evenly by their i; parts >= 1."""
    ends = np.round(count * (1 - np.sqrt(1 - np.arange(1, parts + 1) / parts))).astype(int)
    return [range(start, stop) for start, stop in pairwise([0, *np.unique(ends).tolist()])]


def near_pairs(
    rows: NDArray[np.int64],
    thumbnails: NDArray[np.uint8],
    pixels: Pixels,
    distance: float,
    flip_ok: bool,
    block: range,
) -> NearPairs:
    """Pairs among `rows` whose distance as `filter_memorized` measures it is at most `distance`; 0 finds none.

    Where all pairs can be compared in full within `FULL_SEARCH`, they are, and none is missed. Larger sets are compared
    by thumbnails without moves, and what is near there is compared in full. Recoding, resizing, brightening and noise
    made copies of blood cells, chest X-rays and clothes; of those at most .08 away 99 in 100 have thumbnails within
    .08, and within .12 lie 2 in a million pairs of different clothes. Moved copies are missed in the larger sets.

    Args:
        rows: int64 (M,), as `searchable` gives them.
        thumbnails: uint8 (N, T, T), grey, of the whole set.
        pixels: reads images; called with a bounded number of rows, except that a full search reads all of `rows`.
        distance: 0..1.
        flip_ok: whether a mirrored image shows the same.
        block: only pairs whose lower image is one of rows[block], so that processes can share the work.
    """
    import torch

    from stages.imaging.distance import alignments
    from stages.imaging.neighbours import pairs_within

    if distance == 0 or len(rows) < 2:
        return _none()
    _, channels, height, width = pixels(rows[:1]).shape
    ways = alignments(SHIFT_PIXELS, flip_ok, height, width)
    if len(rows) ** 2 // 2 * channels * height * width * len(ways) <= FULL_SEARCH:
        found, distances = pairs_within(torch.from_numpy(pixels(rows)), distance, ways, block)
        return NearPairs(rows[found.numpy()], distances.numpy())
    small = torch.from_numpy(thumbnails[rows][:, None])
    unmoved = alignments(0, flip_ok, *small.shape[2:])
    found, _ = pairs_within(small, min(2.0, THUMBNAIL_RADIUS * distance), unmoved, block)
    step = max(1, READ_BYTES // (2 * channels * height * width))
    candidates = rows[found.numpy()]
    checked = [
        _checked(candidates[start : start + step], pixels, distance, flip_ok)
        for start in range(0, len(candidates), step)
    ]
    return together(checked)


def together(parts: Sequence[NearPairs]) -> NearPairs:
    """The pairs of all parts in ascending order."""
    everything = [_none(), *parts]
    pairs = np.concatenate([part.pairs for part in everything])
    distances = np.concatenate([part.distances for part in everything])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return NearPairs(pairs[order], distances[order])


def components(edges: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Number of the connected component of each of `count` nodes; edges: int64 (E, 2). Components count from 0."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges), dtype=bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _checked(candidates: NDArray[np.int64], pixels: Pixels, distance: float, flip_ok: bool) -> NearPairs:
    """The candidates (P, 2) that are near in full resolution."""
    import torch

    from stages.imaging.distance import alignments
    from stages.imaging.neighbours import pair_distances

    rows, position = np.unique(candidates, return_inverse=True)
    images = torch.from_numpy(pixels(rows))
    ways = alignments(SHIFT_PIXELS, flip_ok, *images.shape[2:])
    distances = pair_distances(images, torch.from_numpy(position.reshape(candidates.shape)), ways).numpy()
    near = distances <= distance
    return NearPairs(candidates[near], distances[near])


def _none() -> NearPairs:
    return NearPairs(np.empty((0, 2), dtype=np.int64), np.empty(0))
