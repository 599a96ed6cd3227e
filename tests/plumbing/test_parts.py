from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.plumbing import images
from stages.plumbing.images import UNLABELLED, ImageSet
from stages.plumbing.parts import Parts

CLASSES = ["cat", "dog"]
SIZES = [3, 0, 4, 1]
COUNT = sum(SIZES)
PIXELS = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 4, 4), dtype=np.uint8)
IDS = np.array([f"i{row}" for row in range(COUNT)])


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Four files, one of them empty, that hold PIXELS one after the other."""
    folder: Path = tmp_path_factory.mktemp("parts")
    paths, start = [], 0
    for number, size in enumerate(SIZES):
        rows = slice(start, start + size)
        part = ImageSet(IDS[rows], PIXELS[rows], np.full(size, UNLABELLED))
        images.write(folder / f"{number}.parquet", part, CLASSES)
        paths.append(folder / f"{number}.parquet")
        start += size
    return Parts(paths, SIZES)


@given(rows=st.lists(st.integers(0, COUNT - 1), min_size=1))
def test_pixels_come_by_row_in_the_order_asked_for(parts: Parts, rows: list[int]) -> None:
    assert np.array_equal(parts.pixels(np.array(rows)), PIXELS[rows])


@given(chosen=st.sets(st.integers(0, COUNT - 1), min_size=1), seed=st.integers(0, 9))
def test_tables_together_are_the_chosen_images_with_their_new_labels_and_groups(
    parts: Parts, chosen: set[int], seed: int
) -> None:
    rows = np.array(sorted(chosen))
    labels = np.random.default_rng(seed).integers(UNLABELLED, 2, len(rows))
    groups = [None if row % 2 else f"g{row}" for row in rows.tolist()]
    expected = images.as_table(ImageSet(IDS[rows], PIXELS[rows], labels, groups), CLASSES)
    assert pa.concat_tables(parts.tables(rows, labels, groups)).equals(expected)
    ungrouped = images.as_table(ImageSet(IDS[rows], PIXELS[rows], labels), CLASSES)
    assert pa.concat_tables(parts.tables(rows, labels, None)).equals(ungrouped)
