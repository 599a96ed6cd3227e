from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.imaging.distance import Alignment, alignments, unit_vectors
from stages.imaging.neighbours import nearest
from stages.plumbing.errors import UserError


def random_images(count: int, seed: int, size: tuple[int, int, int] = (1, 8, 8)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8))


def distance(query: torch.Tensor, reference: torch.Tensor, shift_pixels: int = 0, flip_ok: bool = False) -> float:
    ways = alignments(shift_pixels, flip_ok, *query.shape[-2:])
    return nearest(query[None], reference[None], 1, ways).distances.item()


@settings(max_examples=30)
@given(offset=st.integers(0, 50), gain=st.integers(1, 4), seed=st.integers(0, 1000))
def test_blind_to_brightness_and_contrast_where_nothing_is_cut_off(offset: int, gain: int, seed: int) -> None:
    image = random_images(1, seed, (3, 6, 5))[0] // 5
    assert distance(image * gain + offset, image) == pytest.approx(0, abs=1e-12)


def test_a_negative_is_no_copy() -> None:
    image = random_images(1, 0)[0]
    assert distance(255 - image, image) == pytest.approx(2)


@pytest.mark.parametrize("down", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("right", [-2, 0, 1])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_moved_or_mirrored_copy_is_at_distance_zero_whatever_fills_the_border(
    down: int, right: int, mirrored: bool
) -> None:
    image, filling = random_images(2, 1, (3, 9, 7))
    source = image.flip(-1) if mirrored else image
    moved = torch.roll(source, (down, right), (1, 2))
    rows, columns = torch.arange(9) - down, torch.arange(7) - right
    bare = ((rows < 0) | (rows >= 9))[:, None] | ((columns < 0) | (columns >= 7))[None, :]
    query = torch.where(bare, filling, moved)
    assert distance(query, image, shift_pixels=2, flip_ok=True) == 0
    if mirrored:
        assert distance(query, image, shift_pixels=2, flip_ok=False) > 0.5


def test_a_copy_moved_further_than_stated_is_not_the_same_image() -> None:
    image = random_images(1, 2)[0]
    moved = torch.roll(image, 2, 2)
    assert distance(moved, image, shift_pixels=1) > 0.5
    assert distance(moved, image, shift_pixels=2) == 0


def test_more_alignments_never_increase_the_distance() -> None:
    queries, references = random_images(20, 3), random_images(20, 4)
    found = [
        torch.stack([torch.tensor(distance(q, r, *way)) for q, r in zip(queries, references, strict=True)])
        for way in [(0, False), (1, False), (1, True), (2, True)]
    ]
    assert all((wider <= narrower).all() for narrower, wider in pairwise(found))


def test_unit_vectors_have_zero_mean_and_unit_norm() -> None:
    vectors = unit_vectors(random_images(10, 5, (3, 4, 4)))
    torch.testing.assert_close(vectors.mean(dim=1), torch.zeros(10, dtype=torch.float64))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(10, dtype=torch.float64))


@pytest.mark.parametrize("level", [0, 37, 255])
def test_an_image_of_one_grey_level_is_near_only_its_like(level: int) -> None:
    constant = torch.full((3, 7, 7), level, dtype=torch.uint8)
    assert distance(constant, torch.full_like(constant, 99)) == 0
    assert distance(constant, random_images(1, 6, (3, 7, 7))[0]) == pytest.approx(1)


def test_alignments_are_every_shift_once_and_mirrored_only_where_allowed() -> None:
    plain, both = alignments(2, False, 8, 8), alignments(2, True, 8, 8)
    assert len(set(plain)) == len(plain) == 25
    assert set(both) - set(plain) == {Alignment(True, way.down, way.right) for way in plain}


def test_a_shift_of_half_the_image_is_refused() -> None:
    assert alignments(3, False, 8, 20)
    with pytest.raises(UserError, match=r"shift_pixels is 4.*8 x 20.*at most 3"):
        alignments(4, False, 8, 20)
