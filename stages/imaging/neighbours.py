"""Exact search among images: the nearest of each with how much it stands out, and all pairs within a radius.

Both are done in two steps. A matrix product in float32 gives the similarity 1 - d^2 / 2 = u(x).u(t) of all pairs, up to
rounding, which hides small distances. Direct differences in float64 then decide among all pairs that the rounding
could have put on the wrong side, so that no neighbour is missed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from stages.imaging.distance import Alignment
from stages.plumbing.errors import UserError

SPARE_CANDIDATES = 3  # beyond the k asked for, for what the matrix product's rounding may put in the wrong order
SIMILARITY_SLACK = 5e-5  # far above the rounding of a product of unit vectors in float32, and few candidates more
HIDDEN = -9.0  # in place of a similarity, -1..1, of what is not compared; above the padding of blocks
KEPT_BYTES = 2**31  # of references' vectors that a search keeps; more are made again for every chunk of queries
QUERY_CHUNK, REFERENCE_CHUNK = 2048, 2**14  # images: a matrix product of full speed, its result 128 MiB
QUERY_BYTES = 2**28  # of vectors of one chunk of queries
BLOCK = 64  # neighbouring references of which only the best is looked at first
DIFFERENCE_VALUES = 2**17  # pixel values per side of the differences held at a time: 1 MiB in float64, a core's cache
ON_GPU = 64  # times that many, to keep it busy


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest references of each query: distances (N, k), float64; indices (N, k), int64.

    Ascending; where references have groups, the second to the last are the nearest outside the first one's group.
    """

    distances: torch.Tensor
    indices: torch.Tensor

    def scores(self) -> torch.Tensor:
        """s = d1 / mean(d2 .. dk), float64 (N,) in 0..1: near 0 where one reference is far nearer than the next.

        Dividing by the next neighbours' distance makes plain and elaborate images comparable: on the digits it finds
        .95 of the noisy copies at alpha .05 where d1 alone finds .76, and loses nothing elsewhere. Where all the
        distances are zero, several references equal the query, which is then as suspicious as can be: s = 0.
        """
        nearest, others = self.distances[:, 0], self.distances[:, 1:].mean(dim=1)
        return torch.where(others > 0, nearest / others, 0.0)


def distinct(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of images uint8 (N, C, H, W) the first of each byte-identical set, and which of these each image equals.

    Indices int64 (M,), ascending, and int64 (N,), 0..M-1.
    """
    rows = np.ascontiguousarray(images.flatten(1).numpy())
    keys = rows.view(np.dtype((np.void, rows.shape[1]))).ravel()
    _, first, same = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return torch.from_numpy(first[order]), torch.from_numpy(np.argsort(order)[same])


class Search:
    """The references nearest to each query, the distance being the smallest over the alignments; ready for many calls.

    Exact, and the same however queries are cut into calls and chunks; ties go to the lower index. Each alignment
    costs one matrix product. Memory grows with the chunks, the references and what is returned, not with the queries:
    references' vectors in float32 are kept up to `KEPT_BYTES` in all.

    Args:
        references: uint8 (M, C, H, W).
        k: neighbours wanted.
        alignments: the ways to lay a query over a reference, at least one.
        groups: int64 (M,), references that show the same thing, such as frames of one patient; else each for itself.
            The nearest reference is then followed by the nearest ones of all groups but its own.
        device: where to search; that of the references unless stated.
        query_chunk, reference_chunk: images compared at a time; they don't change the result.

    Raises:
        UserError: fewer than k references, or fewer than k - 1 outside some group.
    """

    def __init__(
        self,
        references: torch.Tensor,
        k: int,
        alignments: Sequence[Alignment],
        groups: torch.Tensor | None = None,
        device: torch.device | str | None = None,
        query_chunk: int | None = None,
        reference_chunk: int = REFERENCE_CHUNK,
    ) -> None:
        groups = torch.arange(len(references)) if groups is None else groups
        _check_enough(k, groups)
        self._references = references.to(device)
        self._groups = groups.to(self._references.device)
        self._k, self._alignments = k, alignments
        parts = -(-len(references) // reference_chunk)
        self._ends = [part * len(references) // parts for part in range(parts + 1)]
        values = references[0].numel() * len(alignments)
        keep = 4 * values * len(references) <= KEPT_BYTES
        self._kept = list(self._made()) if keep else None
        self._query_chunk = query_chunk or max(1, min(QUERY_CHUNK, QUERY_BYTES // (4 * values)))
        widest = max(stop - start for start, stop in pairwise(self._ends))
        self._tile = _Tile(self._query_chunk, widest, self._references.device)

    def nearest(self, queries: torch.Tensor, without: torch.Tensor | None = None) -> Neighbours:
        """Of queries uint8 (N, C, H, W); the result lies where they lie.

        `without`: int64 (N, g), groups that a query is not compared with; a number that is no group's hides nothing.
        Raises UserError where that leaves too few references.
        """
        hidden = torch.empty(len(queries), 0, dtype=torch.int64) if without is None else without
        chunks = zip(queries.split(self._query_chunk), hidden.split(self._query_chunk), strict=True)
        with _full_precision():
            found = [self._of_chunk(*(each.to(self._references.device) for each in chunk)) for chunk in chunks]
        distances, indices = (torch.cat(part).to(queries.device) for part in zip(*found, strict=True))
        if distances.isinf().any():
            raise UserError(
                f"{self._k} neighbours are wanted, but without an image's source and its group, and all but the first "
                "from other groups than that one's, there are fewer real images to compare with"
            )
        return Neighbours(distances, indices)

    def all_distances(self, queries: torch.Tensor) -> torch.Tensor:
        """Of queries uint8 (N, C, H, W) the distances (N, M), float64, to every reference, where the queries lie."""
        device, count = self._references.device, len(self._references)
        every = torch.arange(count, device=device).expand(len(queries), -1)
        return _differences(queries.to(device), self._references, every, self._alignments).to(queries.device)

    def _of_chunk(self, queries: torch.Tensor, without: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        distances, indices = self._ranked(queries, self._k, without)
        groups = self._groups[indices]
        crowded = (groups[:, 1:] == groups[:, :1]).any(dim=1)
        if crowded.any():
            hidden = torch.cat([without[crowded], groups[crowded, :1]], dim=1)
            distances[crowded, 1:], indices[crowded, 1:] = self._ranked(queries[crowded], self._k - 1, hidden)
        return distances, indices

    def _ranked(
        self, queries: torch.Tensor, k: int, without: torch.Tensor, spare: int = SPARE_CANDIDATES
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances, infinite where there is no further one, and indices (N, k) of the nearest in no group `without`.

        The k best similarities are those of the k nearest if the next one is smaller by twice what rounding can do to
        one. Mostly it is; else k + spare candidates are looked at, and where even those are too close, more.
        """
        count = min(k + spare, len(self._references))
        similarity, candidates = self._candidates(queries, count, without)
        distances = torch.empty(len(queries), k, dtype=torch.float64, device=queries.device)
        indices = candidates[:, :k].clone()
        behind = similarity[:, k - 1, None] - similarity[:, k:] > 2 * SIMILARITY_SLACK
        clear = behind[:, :1].all(dim=1)
        settled = behind[:, -1:].any(dim=1) | (count == len(self._references))
        for rows, width in ((clear, k), (settled & ~clear, count)):
            here = candidates[rows, :width].sort(dim=1).values  # with a stable sort, ties go to the lower index
            exact = _differences(queries[rows], self._references, here, self._alignments)
            for group in without[rows].T:
                exact.masked_fill_(self._groups[here] == group[:, None], torch.inf)
            exact, order = exact.sort(dim=1, stable=True)
            distances[rows], indices[rows] = exact[:, :k], here.gather(1, order)[:, :k]
        unsettled = ~(settled | clear)
        if unsettled.any():
            wider = self._ranked(queries[unsettled], k, without[unsettled], 4 * spare)
            distances[unsettled], indices[unsettled] = wider
        return distances, indices

    def _candidates(
        self, queries: torch.Tensor, count: int, without: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Similarity, descending, and index (N, count) of the most similar references up to rounding."""
        vectors = _query_vectors(self._alignments, queries)
        best = torch.empty(len(queries), 0, device=queries.device)
        where = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        for (start, stop), references in zip(pairwise(self._ends), self._kept or self._made(), strict=True):
            similarity = self._tile.similarity(vectors, references)
            for group in without.T:
                similarity.masked_fill_(self._groups[start:stop] == group[:, None], HIDDEN)
            values, index = self._tile.largest(count)
            best, where = torch.cat([best, values], dim=1), torch.cat([where, index + start], dim=1)
            best, order = best.topk(min(count, best.shape[1]), dim=1)
            where = where.gather(1, order)
        return best, where

    def _made(self) -> Iterator[list[torch.Tensor]]:
        """Of each part of the references the vectors for each alignment."""
        for start, stop in pairwise(self._ends):
            yield _reference_vectors(self._alignments, self._references[start:stop])


def nearest(
    queries: torch.Tensor,
    references: torch.Tensor,
    k: int,
    alignments: Sequence[Alignment],
    groups: torch.Tensor | None = None,
) -> Neighbours:
    """What a `Search` of its own finds; arguments as there."""
    return Search(references, k, alignments, groups).nearest(queries)


def pairs_within(
    images: torch.Tensor,
    radius: float,
    alignments: Sequence[Alignment],
    rows: range | None = None,
    query_chunk: int = 512,
    reference_chunk: int = 1024,
) -> tuple[torch.Tensor, torch.Tensor]:
    """All pairs whose distance, the smallest over the alignments, is at most `radius`.

    Exact search as in `Search`: the matrix product proposes, direct differences in float64 decide. The alignments must
    hold with every move its opposite, as those of `distance.alignments` do: each pair is looked at from one
    side alone. Memory grows with the product of the chunks and the number of pairs found.

    Args:
        images: uint8 (N, C, H, W).
        radius: 0..2.
        alignments: the ways to lay one image over another, at least one.
        rows: only pairs whose lower index lies in this range (step 1), so that processes can share the work; else all.
        query_chunk, reference_chunk: images compared at a time; they don't change the result.

    Returns:
        pairs int64 (P, 2), lower index first, in ascending order; their distances float64 (P,).
    """
    rows = range(len(images)) if rows is None else rows
    least = 1 - radius**2 / 2 - SIMILARITY_SLACK
    pairs, distances = [torch.empty(0, 2, dtype=torch.int64)], [torch.empty(0, dtype=torch.float64)]
    tile = _Tile(query_chunk, reference_chunk, images.device)
    for start in range(rows.start, len(images), reference_chunk):
        part = images[start : start + reference_chunk]
        references = _reference_vectors(alignments, part)
        for first in range(rows.start, min(rows.stop, start + len(part)), query_chunk):
            query = images[first : min(first + query_chunk, rows.stop)]
            with _full_precision():
                similarity = tile.similarity(_query_vectors(alignments, query), references)
            if similarity.amax() < least:
                continue
            close = (similarity >= least).nonzero() + torch.tensor([first, start])
            close = close[close[:, 0] < close[:, 1]]
            exact = pair_distances(images, close, alignments)
            pairs.append(close[exact <= radius])
            distances.append(exact[exact <= radius])
    found = torch.cat(pairs)
    order = (found[:, 0] * len(images) + found[:, 1]).argsort()
    return found[order], torch.cat(distances)[order]


def pair_distances(images: torch.Tensor, pairs: torch.Tensor, alignments: Sequence[Alignment]) -> torch.Tensor:
    """Distance of each pair of images, the smallest over the alignments, by direct differences.

    images: uint8 (N, C, H, W). pairs: int64 (P, 2), rows of `images`. Returns float64 (P,).
    """
    chunk = max(1, DIFFERENCE_VALUES // max(1, images[0].numel())) if len(images) else 1
    parts = [_differences(images[part[:, 0]], images, part[:, 1:], alignments)[:, 0] for part in pairs.split(chunk)]
    return torch.cat(parts)


def _differences(
    queries: torch.Tensor, references: torch.Tensor, candidates: torch.Tensor, alignments: Sequence[Alignment]
) -> torch.Tensor:
    """Distances (N, count), float64, of each query to its candidates (N, count), rows of `references`."""
    smallest = torch.full(candidates.shape, torch.inf, dtype=torch.float64, device=queries.device)
    values = DIFFERENCE_VALUES * (1 if queries.device.type == "cpu" else ON_GPU)
    chunk = max(1, values // (candidates.shape[1] * references[0].numel()))
    for query, rows, here in zip(queries.split(chunk), candidates.split(chunk), smallest.split(chunk), strict=True):
        images = references.index_select(0, rows.flatten())
        for alignment in alignments:
            reference = alignment.of_reference(images).unflatten(0, rows.shape)
            difference = reference.sub_(alignment.of_query(query).unsqueeze(1))
            torch.minimum(here, torch.linalg.vector_norm(difference, dim=2), out=here)
    return smallest


def _query_vectors(alignments: Sequence[Alignment], images: torch.Tensor) -> list[torch.Tensor]:
    return [_vectors(alignment.of_query, images, missing=-2) for alignment in alignments]


def _reference_vectors(alignments: Sequence[Alignment], images: torch.Tensor) -> list[torch.Tensor]:
    return [_vectors(alignment.of_reference, images, missing=-1) for alignment in alignments]


def _vectors(of: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, missing: int) -> torch.Tensor:
    """Unit vectors u, float32 (N, D + 2), whose product over two images is 1 - |q - r|^2 / 2 = q.r + missing lengths.

    An image of one grey level is the zero vector, which lacks (1 - |u|^2) / 2 = 1/2 on its side. Of the last two values
    one holds that, at -2 for queries and at -1 for references, and the other is 1. Made in chunks that a core's cache
    holds in float64.
    """
    chunk = max(1, DIFFERENCE_VALUES // images[0].numel())
    vectors = torch.ones(len(images), of(images[:0]).shape[1] + 2, device=images.device)
    for into, part in zip(vectors.split(chunk), images.split(chunk), strict=True):
        into[:, :-2] = of(part)
    vectors[:, missing] = ~vectors[:, :-2].any(dim=1) / 2
    return vectors


class _Tile:
    """Similarities of a chunk of queries to a chunk of references, in memory used again: new memory is slow."""

    def __init__(self, rows: int, columns: int, device: torch.device) -> None:
        columns = -(-columns // BLOCK) * BLOCK
        self._largest, self._one = (torch.empty(rows, columns, device=device) for _ in range(2))

    def similarity(self, queries: Sequence[torch.Tensor], references: Sequence[torch.Tensor]) -> torch.Tensor:
        """(Q, R), float32, the largest over the alignments, of one matrix of vectors per alignment and side."""
        self._rows, self._columns = len(queries[0]), len(references[0])
        largest, one = (each[: self._rows, : self._columns] for each in (self._largest, self._one))
        torch.mm(queries[0], references[0].T, out=largest)
        for query, reference in zip(queries[1:], references[1:], strict=True):
            torch.maximum(largest, torch.mm(query, reference.T, out=one), out=largest)
        return largest

    def largest(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The `count` largest of each row (all where there are fewer) and their column, in no order.

        They lie in the `count` blocks of columns whose largest are the largest. Finding those takes one pass.
        """
        rows, columns = self._rows, self._columns
        blocks = self._largest[:rows, : -(-columns // BLOCK) * BLOCK]
        blocks[:, columns:] = -torch.inf
        blocks = blocks.unflatten(1, (-1, BLOCK))
        chosen = blocks.amax(dim=2).topk(min(count, blocks.shape[1]), dim=1).indices
        values = blocks[torch.arange(rows, device=chosen.device)[:, None], chosen].flatten(1)
        index = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK, device=chosen.device)).flatten(1)
        best = values.topk(min(count, columns), dim=1)
        return best.values, index.gather(1, best.indices)


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 or bfloat16 in matrix products of float32: they would need a far wider slack."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _check_enough(k: int, groups: torch.Tensor) -> None:
    if len(groups) < k:
        raise UserError(f"{k} neighbours are wanted, but there are only {len(groups)} real images to compare with")
    largest = int(groups.unique(return_counts=True)[1].max())
    if len(groups) - largest < k - 1:
        raise UserError(
            f"{k} neighbours are wanted, all but the first from other groups, but one group holds {largest} of the "
            f"{len(groups)} real images"
        )
