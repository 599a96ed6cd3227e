import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from stages.sources import duplicates
from stages.sources.duplicates import NearPairs

WHOLE = 10**6  # a block that holds all rows of these small sets


def digests_of(images: NDArray) -> NDArray:
    return np.array([hashlib.blake2b(each.tobytes(), digest_size=16).digest() for each in images], dtype="V16")


def thumbnails_of(images: NDArray) -> NDArray:
    grey = np.rint(images.mean(axis=1)).astype(np.uint8)
    side = min(16, images.shape[-1])
    return np.stack([np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BOX)) for each in grey])


def smooth_images(count: int, seed: int, size: int = 32, channels: int = 1) -> NDArray:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, channels, 6, 6), dtype=np.uint8)
    rows = [[np.asarray(Image.fromarray(plane).resize((size, size))) for plane in image] for image in coarse]
    return np.array(rows, dtype=np.uint8)


def search(
    images: NDArray,
    distance: float = 0.08,
    flip_ok: bool = False,
    block: range = range(WHOLE),
    pixels: Callable[[NDArray], NDArray] | None = None,
) -> NearPairs:
    thumbnails = thumbnails_of(images)
    rows = duplicates.searchable(duplicates.exact_sets(digests_of(images)), thumbnails)
    block = range(block.start, min(block.stop, len(rows)))
    return duplicates.near_pairs(rows, thumbnails, pixels or images.__getitem__, distance, flip_ok, block)


@pytest.fixture(params=["in full", "by thumbnails"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test for small sets, which are searched in full, and for large ones."""
    if request.param == "by thumbnails":
        monkeypatch.setattr(duplicates, "FULL_SEARCH", 0)
    return request.param


def test_an_exact_set_is_named_by_its_first_row() -> None:
    different = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)
    assert duplicates.exact_sets(digests_of(different[[0, 1, 0, 2, 1, 3, 4, 4]])).tolist() == [0, 1, 0, 3, 1, 5, 6, 6]
    assert duplicates.exact_sets(digests_of(different)).tolist() == [0, 1, 2, 3, 4]


def test_digests_that_end_in_zeros_or_differ_in_the_last_byte_are_told_apart() -> None:
    digests = np.array([b"a" + bytes(15), b"a" + bytes(14) + b"b", bytes(16), b"a" + bytes(15)], dtype="V16")
    assert duplicates.exact_sets(digests).tolist() == [0, 1, 2, 0]


def test_copies_and_flat_images_are_left_out_of_the_search() -> None:
    thumbnails = np.random.default_rng(1).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    thumbnails[3] = 90
    assert duplicates.searchable(np.array([0, 1, 0, 3, 4]), thumbnails).tolist() == [0, 1, 4]


@given(count=st.integers(0, 3000), parts=st.integers(1, 12))
def test_blocks_share_out_all_rows_and_the_pairs_evenly(count: int, parts: int) -> None:
    blocks = duplicates.blocks(count, parts)
    assert [row for block in blocks for row in block] == list(range(count))
    assert 1 <= len(blocks) <= parts
    pairs = [sum(count - 1 - row for row in block) for block in blocks]
    assert max(pairs, default=0) <= count * (count - 1) / 2 / parts + count


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("channels", [1, 3])
def test_planted_near_copies_are_found_and_nothing_else(channels: int) -> None:
    images = smooth_images(40, 2, channels=channels)
    noise = np.random.default_rng(3).normal(0, 3, images[:3].shape)
    noisy = np.clip(np.rint(images[:3] + noise), 0, 255).astype(np.uint8)
    brighter = np.rint(20 + 0.8 * images[5:6]).astype(np.uint8)
    found = search(np.concatenate([images, noisy, brighter]))
    assert found.pairs.tolist() == [[0, 40], [1, 41], [2, 42], [5, 43]]
    assert ((found.distances > 0) & (found.distances < 0.08)).all()


def test_a_small_set_is_searched_for_moved_copies_too() -> None:
    images = smooth_images(20, 4)
    moved = np.roll(images[:2], 1, axis=-1)
    assert search(np.concatenate([images, moved])).pairs.tolist() == [[0, 20], [1, 21]]


@pytest.mark.usefixtures("either_way")
def test_mirrored_copies_count_where_mirrored_images_show_the_same() -> None:
    images = smooth_images(10, 5)
    both = np.concatenate([images, images[3:4, :, :, ::-1]])
    assert search(both, flip_ok=True).pairs.tolist() == [[3, 10]]
    assert len(search(both, flip_ok=False).pairs) == 0


@pytest.mark.usefixtures("either_way")
def test_blocks_of_a_search_make_up_the_whole() -> None:
    images = smooth_images(15, 6)
    near = np.clip(images + np.random.default_rng(7).integers(-5, 6, images.shape), 0, 255).astype(np.uint8)
    everything = np.concatenate([images, near, smooth_images(9, 8), images])
    whole = search(everything)
    parts = [search(everything, block=block) for block in duplicates.blocks(39, 4)]
    joined = duplicates.together(parts[::-1])
    assert whole.pairs.tolist() == [[row, row + 15] for row in range(15)]
    np.testing.assert_array_equal(joined.pairs, whole.pairs)
    np.testing.assert_allclose(joined.distances, whole.distances, rtol=1e-12)


def test_a_large_set_is_read_a_few_images_at_a_time_and_candidates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "FULL_SEARCH", 0)
    monkeypatch.setattr(duplicates, "READ_BYTES", 4 * 2 * 32 * 32)
    images = smooth_images(30, 9)
    near = np.clip(images + np.random.default_rng(10).integers(-5, 6, images.shape), 0, 255).astype(np.uint8)
    everything, asked = np.concatenate([images, near, smooth_images(20, 11)]), []

    def pixels(rows: NDArray) -> NDArray:
        asked.append(rows.tolist())
        return everything[rows]

    assert len(search(everything, pixels=pixels).pairs) == 30
    assert max(map(len, asked)) <= 8
    assert all(rows == sorted(rows) and max(rows) < 60 for rows in asked)


@pytest.mark.usefixtures("either_way")
def test_a_distance_of_zero_switches_the_search_off() -> None:
    images = smooth_images(4, 12) // 2
    both = np.concatenate([images, images + np.uint8(1)])
    assert len(search(both, distance=1e-6).pairs) == 4
    assert len(search(both, distance=0).pairs) == 0


@pytest.mark.usefixtures("either_way")
def test_no_two_of_scikit_learns_digits_count_as_near() -> None:
    """The default distance, on the default data: different people's digits are no copies of one another."""
    pixels = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)[:, None]
    assert len(search(pixels, distance=0.08).pairs) == 0


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=15))
def test_components_are_what_edges_connect(count: int, edges: list[tuple[int, int]]) -> None:
    edges = [(left % count, right % count) for left, right in edges]
    expected = list(range(count))
    for _ in range(count):
        for left, right in edges:
            expected[left] = expected[right] = min(expected[left], expected[right])
    found = duplicates.components(np.array(edges, dtype=np.int64).reshape(-1, 2), count)
    same = np.array(expected)[:, None] == np.array(expected)[None]
    np.testing.assert_array_equal(found[:, None] == found[None], same)
