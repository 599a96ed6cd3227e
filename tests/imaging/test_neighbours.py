import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stages.imaging import neighbours as neighbours_module
from stages.imaging.distance import Alignment, alignments, unit_vectors
from stages.imaging.neighbours import (
    Neighbours,
    Search,
    distinct,
    nearest,
    pair_distances,
    pairs_within,
)
from stages.plumbing.errors import UserError


def random_images(count: int, seed: int, size: tuple[int, int, int] = (1, 8, 8)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8))


def brute_force(queries: torch.Tensor, references: torch.Tensor, shift_pixels: int, flip_ok: bool) -> NDArray:
    """All distances by the definition, one pair and one pixel offset at a time."""
    height, width = queries.shape[-2:]

    def unit(values: NDArray) -> NDArray:
        centred = values - values.mean()
        return centred / np.linalg.norm(centred)

    def pair(query: NDArray, reference: NDArray) -> float:
        distances = []
        for candidate in (query, query[:, :, ::-1]) if flip_ok else (query,):
            for down in range(-shift_pixels, shift_pixels + 1):
                for right in range(-shift_pixels, shift_pixels + 1):
                    both = [
                        (candidate[:, y, x], reference[:, y - down, x - right])
                        for y in range(height)
                        for x in range(width)
                        if 0 <= y - down < height and 0 <= x - right < width
                    ]
                    left, other = (np.stack(side).astype(float) for side in zip(*both, strict=True))
                    distances.append(np.linalg.norm(unit(left) - unit(other)))
        return min(distances)

    return np.array([[pair(query, reference) for reference in references.numpy()] for query in queries.numpy()])


def test_equals_scikit_learn_where_there_is_nothing_to_align() -> None:
    queries, references = random_images(200, 0, (3, 5, 6)), random_images(700, 1, (3, 5, 6))
    oracle = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(unit_vectors(references).numpy())
    distances, indices = oracle.kneighbors(unit_vectors(queries).numpy())
    found = nearest(queries, references, 5, alignments(0, False, 5, 6))
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-9)


@pytest.mark.parametrize(("shift_pixels", "flip_ok"), [(1, False), (0, True), (2, True)])
def test_equals_the_definition_with_shifts_and_flips(shift_pixels: int, flip_ok: bool) -> None:
    queries, references = random_images(6, 2, (3, 6, 5)), random_images(15, 3, (3, 6, 5))
    expected = brute_force(queries, references, shift_pixels, flip_ok)
    found = nearest(queries, references, 4, alignments(shift_pixels, flip_ok, 6, 5))
    np.testing.assert_array_equal(found.indices, np.argsort(expected, axis=1)[:, :4])
    np.testing.assert_allclose(found.distances, np.sort(expected, axis=1)[:, :4], rtol=1e-9)


@pytest.mark.parametrize(("query_chunk", "reference_chunk"), [(1, 3), (5, 1), (64, 50), (1000, 1000)])
def test_chunks_do_not_change_the_result(query_chunk: int, reference_chunk: int) -> None:
    queries, references, ways = random_images(12, 4), random_images(61, 5), alignments(1, True, 8, 8)
    whole = nearest(queries, references, 5, ways)
    parts = Search(references, 5, ways, None, None, query_chunk, reference_chunk).nearest(queries)
    assert torch.equal(whole.indices, parts.indices)
    torch.testing.assert_close(whole.distances, parts.distances, rtol=1e-12, atol=0)


def test_small_distances_are_not_lost_to_rounding() -> None:
    """|q|^2 + |r|^2 - 2 q.r in float32 cannot tell distances of 1e-4 from 0 or from one another."""
    reference = random_images(1, 6, (3, 32, 32)).repeat(6, 1, 1, 1)
    for index in range(6):
        reference[index, 0, 0, :index] ^= 1
    query = reference[:1]
    exact = (unit_vectors(query) - unit_vectors(reference)).norm(dim=1)
    found = nearest(query, reference.flip(0), 6, alignments(0, False, 32, 32))
    torch.testing.assert_close(found.distances[0], exact.sort().values, rtol=1e-9, atol=0)
    assert found.indices[0].tolist() == [5, 4, 3, 2, 1, 0]
    assert found.distances[0, 0] == 0 < found.distances[0, 1] < 1e-3


def test_ties_go_to_the_lower_index() -> None:
    image = random_images(1, 7)
    references = torch.cat([random_images(3, 8), image, image, random_images(2, 9), image])
    assert nearest(image, references, 3, alignments(1, False, 8, 8)).indices.tolist() == [[3, 4, 7]]


def test_equals_scikit_learn_among_many_duplicates_and_flat_images() -> None:
    """Far more equal and nearly equal references than spare candidates; most blocks of columns hold some."""
    references = random_images(6, 20, (1, 9, 7))[torch.arange(900) % 6]
    references[300:600, 0, 0, 0] ^= 1
    references[::50] = torch.arange(18, dtype=torch.uint8)[:, None, None, None]
    queries = torch.cat([references[:60], random_images(30, 21, (1, 9, 7))])
    oracle = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(unit_vectors(references).numpy())
    found = nearest(queries, references, 5, alignments(0, False, 9, 7))
    np.testing.assert_allclose(found.distances, oracle.kneighbors(unit_vectors(queries).numpy())[0], atol=1e-7)
    assert found.indices[0].tolist() == [0, 50, 100, 150, 200]  # flat images are equal, whatever their level
    assert found.indices[1].tolist() == found.indices[7].tolist() == [1, 7, 13, 19, 25]


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 64, 64)])
def test_near_ties_that_rounding_hides_are_put_in_order(size: tuple[int, int, int]) -> None:
    """40 references at distances that float32 products cannot tell apart, in an order drawn by lot."""
    random = np.random.default_rng(22)
    base = random.integers(80, 170, size).astype(np.uint8)
    references = np.repeat(base[None], 40, axis=0)
    for index, image in enumerate(references):
        image.reshape(-1)[:index] += 1
    references = torch.from_numpy(references[random.permutation(40)])
    query = torch.from_numpy(base[None])
    exact = (unit_vectors(references) - unit_vectors(query)).norm(dim=1)
    found = nearest(query, references, 5, alignments(0, False, *size[1:]))
    assert found.indices[0].tolist() == exact.argsort()[:5].tolist()
    torch.testing.assert_close(found.distances[0], exact.sort().values[:5], rtol=1e-9, atol=0)


def grouped_naively(
    queries: torch.Tensor, references: torch.Tensor, groups: torch.Tensor, k: int, ways: Sequence[Alignment]
) -> tuple[list[list[int]], list[list[float]]]:
    indices, distances = [], []
    for query in queries:
        exact = torch.stack(
            [(way.of_query(query[None]) - way.of_reference(references)).norm(dim=1) for way in ways]
        ).amin(dim=0)
        order = exact.argsort(stable=True).tolist()
        first, *others = order
        chosen = [first, *(index for index in others if groups[index] != groups[first])][:k]
        indices.append(chosen)
        distances.append(exact[chosen].tolist())
    return indices, distances


@settings(max_examples=25)
@given(
    seed=st.integers(0, 99),
    members=st.integers(1, 30),
    shift_pixels=st.integers(0, 1),
    chunks=st.tuples(st.integers(1, 20), st.integers(1, 150)),
)
def test_the_others_come_from_other_groups_than_the_nearest(
    seed: int, members: int, shift_pixels: int, chunks: tuple[int, int]
) -> None:
    """Groups of up to 30 frames, noisy copies of one another: beyond the candidates that a plain search keeps."""
    random = np.random.default_rng(seed)
    scenes = random.integers(40, 216, (140 // members + 6, 1, 5, 6)).repeat(members, axis=0)[:140]
    order = random.permutation(len(scenes))
    groups = torch.from_numpy(np.arange(len(scenes)) // members)[order]
    frames = torch.from_numpy((scenes + random.integers(-9, 10, scenes.shape)).astype(np.uint8))[order]
    queries = torch.cat([frames[:5], random_images(3, seed, (1, 5, 6))])
    ways = alignments(shift_pixels, False, 5, 6)
    indices, distances = grouped_naively(queries, frames, groups, 4, ways)
    found = Search(frames, 4, ways, groups, None, *chunks).nearest(queries)
    assert found.indices.tolist() == indices
    np.testing.assert_allclose(found.distances, distances, rtol=1e-9, atol=1e-12)


def test_groups_of_one_image_each_change_nothing() -> None:
    queries, references, ways = random_images(20, 23), random_images(90, 24), alignments(1, False, 8, 8)
    plain, grouped = (nearest(queries, references, 5, ways, groups) for groups in (None, torch.arange(90) * 7))
    assert torch.equal(plain.indices, grouped.indices)
    assert torch.equal(plain.distances, grouped.distances)


@settings(max_examples=10)
@given(seed=st.integers(0, 99), members=st.integers(1, 12), chunk=st.integers(1, 150))
def test_hidden_groups_are_as_good_as_absent(seed: int, members: int, chunk: int) -> None:
    """Each query hides up to two groups of its own; the search is as one among the other references alone."""
    random = np.random.default_rng(seed)
    scenes = random.integers(40, 216, (120 // members + 1, 1, 5, 6)).repeat(members, axis=0)[:120]
    frames = torch.from_numpy((scenes + random.integers(-9, 10, scenes.shape)).astype(np.uint8))
    groups = torch.from_numpy(np.arange(120) // members)
    queries, ways = frames[random.permutation(120)[:6]], alignments(1, False, 5, 6)
    hidden = torch.from_numpy(np.stack([random.integers(0, 120 // members, 6), random.integers(-1, 3, 6)], axis=1))
    search = Search(frames, 4, ways, groups, None, 4, chunk)
    found = search.nearest(queries, hidden)
    for row, query in enumerate(queries):
        left = torch.from_numpy(np.flatnonzero(~np.isin(groups, hidden[row])))
        alone = nearest(query[None], frames[left], 4, ways, groups[left])
        assert left[alone.indices[0]].tolist() == found.indices[row].tolist()
        assert torch.equal(alone.distances[0], found.distances[row])


def test_numbers_that_are_no_groups_hide_nothing_and_too_few_references_left_are_refused() -> None:
    queries, references, ways = random_images(7, 40), random_images(6, 41), alignments(0, False, 8, 8)
    search = Search(references, 5, ways)
    found = search.nearest(queries, torch.full((7, 2), -1))
    assert torch.equal(found.indices, search.nearest(queries).indices)
    assert search.nearest(queries, torch.zeros(7, 1, dtype=torch.int64)).indices.amin() == 1
    with pytest.raises(UserError, match="5 neighbours are wanted, but without an image's source"):
        search.nearest(queries, torch.tensor([[0, 1]] * 7))


def test_all_distances_are_those_of_single_pairs() -> None:
    queries, references, ways = random_images(3, 42), random_images(8, 43), alignments(1, True, 8, 8)
    expected = [[nearest(x[None], t[None], 1, ways).distances.item() for t in references] for x in queries]
    np.testing.assert_allclose(Search(references, 1, ways).all_distances(queries), expected, rtol=1e-12)


def test_where_only_a_few_references_lie_outside_the_group_all_of_them_are_found() -> None:
    references = torch.cat([random_images(1, 25).repeat(9, 1, 1, 1), random_images(3, 26)])
    groups = torch.tensor([0] * 9 + [1, 1, 1])
    found = nearest(references[:1], references, 4, alignments(0, False, 8, 8), groups)
    assert found.indices[0, 0] == 0
    assert sorted(found.indices[0, 1:].tolist()) == [9, 10, 11]


@pytest.mark.parametrize(
    ("count", "groups", "message"),
    [(3, None, "4 neighbours.*only 3 real"), (7, [0, 0, 0, 0, 0, 1, 2], "other groups.*holds 5 of the 7")],
)
def test_too_few_references_are_refused(count: int, groups: list[int] | None, message: str) -> None:
    given_groups = None if groups is None else torch.tensor(groups)
    with pytest.raises(UserError, match=message):
        Search(random_images(count, 27), 4, alignments(0, False, 8, 8), given_groups)


def test_queries_that_stream_in_blocks_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references, ways = random_images(50, 28), random_images(200, 29), alignments(1, True, 8, 8)
    whole = nearest(queries, references, 5, ways)
    for kept_bytes in (0, 2**30):
        monkeypatch.setattr(neighbours_module, "KEPT_BYTES", kept_bytes)
        search = Search(references, 5, ways)
        parts = [search.nearest(block) for block in queries.split([1, 20, 29])]
        assert torch.equal(torch.cat([part.indices for part in parts]), whole.indices)
        torch.testing.assert_close(torch.cat([part.distances for part in parts]), whole.distances, rtol=1e-12, atol=0)


class LargestTensor(TorchDispatchMode):
    """Values of the largest tensor made."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.numel())
        return result


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_memory_does_not_grow_with_the_number_of_queries(monkeypatch: pytest.MonkeyPatch, kept_bytes: int) -> None:
    monkeypatch.setattr(neighbours_module, "KEPT_BYTES", kept_bytes)
    references, ways = random_images(300, 30, (1, 16, 16)), alignments(0, True, 16, 16)
    largest = []
    for count in (64, 1024):
        queries = random_images(count, 31, (1, 16, 16))
        search = Search(references, 5, ways, query_chunk=64, reference_chunk=100)
        with LargestTensor() as seen:
            search.nearest(queries)
        largest.append(seen.values)
    assert 64 * 300 < largest[1] < 1.1 * largest[0]  # how many near ties a chunk has varies a little


def test_a_precision_chosen_elsewhere_is_left_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        nearest(random_images(2, 32), random_images(9, 33), 3, alignments(0, False, 8, 8))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_distinct_keeps_the_first_of_each_image_in_order_and_knows_what_each_equals() -> None:
    images = random_images(5, 10, (3, 4, 4))
    repeated = images[[3, 3, 0, 1, 0, 3, 4]]
    first, same = distinct(repeated)
    assert first.tolist() == [0, 2, 3, 6]
    assert same.tolist() == [0, 0, 1, 2, 1, 0, 3]
    assert torch.equal(repeated[first][same], repeated)
    assert distinct(images.transpose(2, 3))[0].tolist() == [0, 1, 2, 3, 4]


def clustered_images(count: int, seed: int, size: tuple[int, int, int]) -> torch.Tensor:
    """Images among which many are near one another: noisy copies of a few, and constant ones."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (3, *size))[random.integers(0, 3, count)]
    noisy = np.clip(images + random.integers(-30, 31, images.shape), 0, 255)
    noisy[random.random(count) < 0.1] = 7
    return torch.from_numpy(noisy.astype(np.uint8))


@settings(max_examples=20)
@given(
    count=st.integers(0, 9),
    seed=st.integers(0, 99),
    radius=st.floats(0, 1.2),
    shift_pixels=st.integers(0, 1),
    flip_ok=st.booleans(),
    chunks=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_pairs_within_a_radius_equal_the_definition(
    count: int, seed: int, radius: float, shift_pixels: int, flip_ok: bool, chunks: tuple[int, int]
) -> None:
    images, ways = clustered_images(count, seed, (2, 4, 5)), alignments(shift_pixels, flip_ok, 4, 5)
    every = torch.triu_indices(count, count, 1).T
    exact = torch.stack(
        [(way.of_query(images[every[:, 0]]) - way.of_reference(images[every[:, 1]])).norm(dim=1) for way in ways]
    ).amin(dim=0)
    surely, perhaps = exact <= radius - 1e-12, exact <= radius + 1e-12
    pairs, distances = pairs_within(images, radius, ways, None, *chunks)
    found = {tuple(pair): distance for pair, distance in zip(pairs.tolist(), distances.tolist(), strict=True)}
    assert list(found) == sorted(found)
    assert {tuple(pair) for pair in every[surely].tolist()} <= set(found)
    assert set(found) <= {tuple(pair) for pair in every[perhaps].tolist()}
    for pair, distance in zip(every.tolist(), exact.tolist(), strict=True):
        assert found.get(tuple(pair), distance) == pytest.approx(distance, rel=1e-9, abs=1e-12)


def test_a_pair_is_the_same_seen_from_either_side() -> None:
    """The search looks at each pair once, so the alignments must hold every move and its opposite."""
    images, ways = clustered_images(20, 13, (1, 6, 6)), alignments(1, True, 6, 6)
    pairs = torch.combinations(torch.arange(20))
    torch.testing.assert_close(
        pair_distances(images, pairs, ways), pair_distances(images, pairs.flip(1), ways), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("cuts", [[0, 1, 40], [0, 13, 26, 40], [0, 39, 40]])
def test_pairs_of_blocks_of_rows_are_those_of_the_whole(cuts: list[int]) -> None:
    images, ways = clustered_images(40, 14, (1, 6, 6)), alignments(1, False, 6, 6)
    whole = pairs_within(images, 0.4, ways)
    parts = [pairs_within(images, 0.4, ways, range(*ends), 4, 6) for ends in itertools.pairwise(cuts)]
    assert len(whole[0]) > 100
    assert torch.equal(torch.cat([pairs for pairs, _ in parts]), whole[0])
    torch.testing.assert_close(torch.cat([distances for _, distances in parts]), whole[1], rtol=1e-12, atol=0)


def test_differences_of_many_pairs_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    images, ways, pairs = random_images(9, 15), alignments(1, False, 8, 8), torch.combinations(torch.arange(9))
    whole = pair_distances(images, pairs, ways)
    monkeypatch.setattr(neighbours_module, "DIFFERENCE_VALUES", 5 * 64)
    torch.testing.assert_close(pair_distances(images, pairs, ways), whole, rtol=1e-12, atol=0)


def neighbours(*distances: Sequence[float]) -> Neighbours:
    values = torch.tensor(distances, dtype=torch.float64)
    return Neighbours(values, torch.zeros_like(values, dtype=torch.int64))


def test_the_score_compares_the_nearest_with_the_mean_of_the_others() -> None:
    found = neighbours([0.2, 0.4, 0.6], [0.0, 0.5, 0.5], [0.7, 0.7, 0.7])
    torch.testing.assert_close(found.scores(), torch.tensor([0.4, 0.0, 1.0], dtype=torch.float64))


def test_the_score_of_a_copy_of_several_equal_images_is_the_most_suspicious_one() -> None:
    assert neighbours([0.0, 0.0, 0.0]).scores().tolist() == [0.0]


def test_scores_lie_between_zero_and_one() -> None:
    found = nearest(random_images(50, 11), random_images(60, 12), 5, [Alignment(False, 0, 0)])
    assert ((found.scores() >= 0) & (found.scores() <= 1)).all()
