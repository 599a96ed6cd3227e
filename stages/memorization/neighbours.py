"""Exact search among images: the nearest of each with how much it stands out, and all pairs within a radius."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stages.memorization.distance import Alignment

SPARE_CANDIDATES = 3  # beyond the k asked for: what the matrix product's rounding may put in the wrong order
SQUARED_SLACK = 1e-4  # far above the rounding of a squared distance of unit vectors in float32, and few pairs more
DIFFERENCE_VALUES = 2**21  # pixel values per side of the differences held at a time: 16 MiB in float64


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest references of each query: distances (N, k), float64, ascending; indices (N, k), int64."""

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


def distinct(images: torch.Tensor) -> torch.Tensor:
    """Index (M,), int64, ascending, of the first of each set of byte-identical images among uint8 (N, C, H, W)."""
    rows = np.ascontiguousarray(images.flatten(1).numpy())
    keys = rows.view(np.dtype((np.void, rows.shape[1]))).ravel()
    first = np.unique(keys, return_index=True)[1]
    return torch.from_numpy(np.sort(first))


def nearest(
    queries: torch.Tensor,
    references: torch.Tensor,
    k: int,
    alignments: Sequence[Alignment],
    query_chunk: int = 512,
    reference_chunk: int = 2048,
) -> Neighbours:
    """The k references nearest to each query, the distance being the smallest over the alignments.

    Exact search: squared distances by one matrix product per alignment pick k + 3 candidates, whose distances are then
    taken from direct differences in float64, because the expansion |q|^2 + |r|^2 - 2 q.r loses the small ones
    to rounding. Ties go to the lower index. Memory grows with the product of the chunks, not with N or M.

    Args:
        queries: uint8 (N, C, H, W).
        references: uint8 (M, C, H, W), M >= k.
        k: neighbours wanted.
        alignments: the ways to lay a query over a reference, at least one.
        query_chunk, reference_chunk: images compared at a time; they don't change the result.
    """
    found = _candidates(queries, references, k + SPARE_CANDIDATES, alignments, query_chunk, reference_chunk)
    parts = [
        _ranked(query, references, candidates, alignments)
        for query, candidates in zip(queries.split(query_chunk), found.split(query_chunk), strict=True)
    ]
    return Neighbours(
        distances=torch.cat([distances[:, :k] for distances, _ in parts]),
        indices=torch.cat([indices[:, :k] for _, indices in parts]),
    )


def pairs_within(
    images: torch.Tensor,
    radius: float,
    alignments: Sequence[Alignment],
    rows: range | None = None,
    query_chunk: int = 512,
    reference_chunk: int = 1024,
) -> tuple[torch.Tensor, torch.Tensor]:
    """All pairs whose distance, the smallest over the alignments, is at most `radius`.

    Exact search as in `nearest`: the matrix product proposes, direct differences in float64 decide. The alignments must
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
    pairs, distances = [torch.empty(0, 2, dtype=torch.int64)], [torch.empty(0, dtype=torch.float64)]
    for start in range(rows.start, len(images), reference_chunk):
        part = images[start : start + reference_chunk]
        references = [alignment.of_reference(part).float() for alignment in alignments]
        for first in range(rows.start, min(rows.stop, start + len(part)), query_chunk):
            query = images[first : min(first + query_chunk, rows.stop)]
            squared = _smallest_squared(query, references, alignments)
            if squared.amin() > radius**2 + SQUARED_SLACK:
                continue
            close = (squared <= radius**2 + SQUARED_SLACK).nonzero() + torch.tensor([first, start])
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
    smallest = torch.full((len(pairs),), torch.inf, dtype=torch.float64)
    chunk = max(1, DIFFERENCE_VALUES // max(1, images[0].numel())) if len(images) else 1
    for start in range(0, len(pairs), chunk):
        queries, references = images[pairs[start : start + chunk].T]
        here = smallest[start : start + chunk]
        for alignment in alignments:
            difference = alignment.of_reference(references) - alignment.of_query(queries)
            torch.minimum(here, torch.linalg.vector_norm(difference, dim=1), out=here)
    return smallest


def _candidates(
    queries: torch.Tensor,
    references: torch.Tensor,
    count: int,
    alignments: Sequence[Alignment],
    query_chunk: int,
    reference_chunk: int,
) -> torch.Tensor:
    """Index (N, count or M if less) of the nearest references up to rounding, in no order.

    References are the outer loop: their vectors, the larger side, are made once.
    """
    best = torch.empty(len(queries), 0)
    where = torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(references), reference_chunk):
        part = references[start : start + reference_chunk]
        vectors = [alignment.of_reference(part).float() for alignment in alignments]
        squared, index = _nearest_in_part(queries, vectors, count, alignments, query_chunk)
        best, where = torch.cat([best, squared], dim=1), torch.cat([where, index + start], dim=1)
        best, order = best.topk(min(count, best.shape[1]), dim=1, largest=False)
        where = where.gather(1, order)
    return where


def _nearest_in_part(
    queries: torch.Tensor,
    references: Sequence[torch.Tensor],
    count: int,
    alignments: Sequence[Alignment],
    query_chunk: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and index of the best of one chunk of references, given as one matrix per alignment."""
    squared, index = [], []
    for query in queries.split(query_chunk):
        smallest = _smallest_squared(query, references, alignments)
        top = smallest.topk(min(count, smallest.shape[1]), dim=1, largest=False)
        squared.append(top.values)
        index.append(top.indices)
    return torch.cat(squared), torch.cat(index)


def _smallest_squared(
    queries: torch.Tensor, references: Sequence[torch.Tensor], alignments: Sequence[Alignment]
) -> torch.Tensor:
    """Squared distances (Q, R), the smallest over the alignments, of images to one matrix of vectors per alignment."""
    products = (
        _squared(alignment.of_query(queries).float(), reference)
        for alignment, reference in zip(alignments, references, strict=True)
    )
    smallest = next(products)
    for squared in products:
        torch.minimum(smallest, squared, out=smallest)
    return smallest


def _squared(queries: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    """|q|^2 + |r|^2 - 2 q.r of all pairs of rows, float32 (Q, R)."""
    products = torch.addmm(references.square().sum(dim=1), queries, references.T, alpha=-2)
    return products.add_(queries.square().sum(dim=1, keepdim=True))


def _ranked(
    queries: torch.Tensor, references: torch.Tensor, candidates: torch.Tensor, alignments: Sequence[Alignment]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances by direct differences, ascending, and the candidates (N, count) in that order."""
    candidates = candidates.sort(dim=1).values  # with a stable sort below, ties go to the lower index
    images = references[candidates.flatten()]
    smallest = torch.full(candidates.shape, torch.inf, dtype=torch.float64)
    for alignment in alignments:
        reference = alignment.of_reference(images).unflatten(0, candidates.shape)
        difference = reference - alignment.of_query(queries).unsqueeze(1)
        torch.minimum(smallest, torch.linalg.vector_norm(difference, dim=2), out=smallest)
    distances, order = smallest.sort(dim=1, stable=True)
    return distances, candidates.gather(1, order)
