import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.plumbing import images
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED, ImageSet

CLASSES = ["cat", "dog"]


def make_set(count: int = 6, channels: int = 1, side: int = 5) -> ImageSet:
    random = np.random.default_rng(3)
    return ImageSet(
        ids=np.array([f"img-{index}" for index in range(count)]),
        pixels=random.integers(0, 256, (count, channels, side, side), dtype=np.uint8),
        labels=np.array([0, 1, UNLABELLED, 1, 0, 1])[:count],
        groups=["a", None, "b", "b", None, "c"][:count],
        extra={"seed": np.arange(count) + 2**62},
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_set_comes_back_as_it_was_written(tmp_path: Path, channels: int) -> None:
    written = make_set(channels=channels)
    images.write(tmp_path / "set.parquet", written, CLASSES)
    read = images.read(tmp_path / "set.parquet")
    assert read.ids.tolist() == written.ids.tolist()
    assert np.array_equal(read.pixels, written.pixels)
    assert np.array_equal(read.labels, written.labels)
    assert read.groups == written.groups
    assert np.array_equal(read.extra["seed"], written.extra["seed"])


def test_columns_of_synthetic_sets_come_back_with_nothing_for_null(tmp_path: Path) -> None:
    extra = {
        "generator": np.array(["gan"] * 6),
        "source_id": np.array(["", "real-1", "", "", "real-2", "a longer name"]),
        "probabilities": np.random.default_rng(0).random((6, 2), dtype=np.float32),
        "synthetic": np.full(6, True),
        "replicate": np.arange(6),
    }
    written = replace(make_set(), extra=extra)
    images.write(tmp_path / "set.parquet", written, CLASSES)
    read = images.read(tmp_path / "set.parquet").extra
    assert read.keys() == extra.keys()
    for name, column in extra.items():
        assert read[name].dtype.kind == column.dtype.kind
        assert np.array_equal(read[name], column)
    table = pq.read_table(tmp_path / "set.parquet")
    assert table["source_id"].to_pylist() == [None, "real-1", None, None, "real-2", "a longer name"]
    assert table.schema.field("probabilities").type.value_type == pa.float32()


def test_a_set_without_a_single_source_or_image_comes_back_too(tmp_path: Path) -> None:
    extra = {
        "generator": np.array(["gan"] * 6),
        "source_id": np.full(6, ""),
        "probabilities": np.full((6, 2), 0.5, np.float32),
    }
    for count, name in ((6, "sourceless"), (0, "empty")):
        images.write(tmp_path / name, replace(make_set(), extra=extra).take(np.arange(count)), CLASSES)
        read = images.read(tmp_path / name)
        assert read.extra["source_id"].tolist() == [""] * count
        assert read.extra["generator"].tolist() == ["gan"] * count
        assert read.extra["probabilities"].tolist() == [[0.5, 0.5]] * count


def test_a_failure_while_writing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "ROW_GROUP", 2)  # so that some are written by then

    def tables() -> Iterator[pa.Table]:
        yield images.as_table(make_set(), CLASSES)
        raise RuntimeError("the network diverged")

    images.write(tmp_path / "set.parquet", make_set(2), CLASSES)
    before = (tmp_path / "set.parquet").read_bytes()
    with pytest.raises(RuntimeError, match="diverged"):
        images.write_tables(tmp_path / "set.parquet", tables())
    assert [path.name for path in tmp_path.iterdir()] == ["set.parquet"]
    assert (tmp_path / "set.parquet").read_bytes() == before


@given(arrays(np.uint8, st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))))
def test_png_keeps_every_pixel(pixels: np.ndarray) -> None:
    assert np.array_equal(images.decode_png(images.encode_png(pixels)), pixels)


def test_the_same_content_has_the_same_bytes_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for name in ("one", "two"):
        images.write(tmp_path / f"{name}.parquet", make_set(), CLASSES)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.parquet", "two.parquet"]


@pytest.mark.parametrize("cuts", [[], [1], [2, 2, 5], [0, 6]])
def test_how_a_set_is_cut_into_tables_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]
) -> None:
    monkeypatch.setattr(images, "ROW_GROUP", 4)
    table = images.as_table(make_set(), CLASSES)
    edges = [0, *cuts, len(table)]
    images.write(tmp_path / "whole.parquet", make_set(), CLASSES)
    images.write_tables(tmp_path / "cut.parquet", [table.slice(a, b - a) for a, b in pairwise(edges)])
    assert (tmp_path / "cut.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    groups = pq.ParquetFile(tmp_path / "cut.parquet").metadata
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [4, 2]


@pytest.mark.parametrize("row_group", [1, 4, 5, 6, 100])
def test_blocks_are_the_set_cut_into_parts_of_limited_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_group: int
) -> None:
    written = make_set(channels=3)
    images.write(tmp_path / "set.parquet", written, CLASSES)
    monkeypatch.setattr(images, "ROW_GROUP", row_group)
    blocks = list(images.read_blocks(tmp_path / "set.parquet"))
    assert all(0 < len(block) <= row_group for block in blocks)
    assert [each for block in blocks for each in block.ids] == written.ids.tolist()
    assert np.array_equal(np.concatenate([block.pixels for block in blocks]), written.pixels)
    assert np.array_equal(np.concatenate([block.labels for block in blocks]), written.labels)
    assert np.array_equal(np.concatenate([block.extra["seed"] for block in blocks]), written.extra["seed"])
    groups = [block.groups or [None] * len(block) for block in blocks]
    assert [group for block in groups for group in block] == written.groups


def test_a_set_read_and_written_in_blocks_has_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "ROW_GROUP", 4)
    images.write(tmp_path / "set.parquet", make_set(), CLASSES)
    blocks = images.read_blocks(tmp_path / "set.parquet")
    images.write_tables(tmp_path / "again.parquet", (images.as_table(block, CLASSES) for block in blocks))
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "set.parquet").read_bytes()


@pytest.mark.parametrize("cuts", [[0, 6], [0, 1, 6], [0, 4, 4, 5, 6]])
def test_sets_joined_have_the_bytes_of_the_whole_and_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: list[int]
) -> None:
    monkeypatch.setattr(images, "ROW_GROUP", 4)
    table, parts = images.as_table(make_set(), CLASSES), []
    images.write(tmp_path / "whole.parquet", make_set(), CLASSES)
    for start, stop in pairwise(cuts):
        parts.append(tmp_path / f"{len(parts)}.part")
        images.write_table(parts[-1], table.slice(start, stop - start))
    images.join(tmp_path / "joined.parquet", parts)
    assert (tmp_path / "joined.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["joined.parquet", "whole.parquet"]


@pytest.mark.parametrize("blocks", [range(1), range(1, 3), range(2, 2)])
def test_some_blocks_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: range) -> None:
    monkeypatch.setattr(images, "ROW_GROUP", 2)
    images.write(tmp_path / "set.parquet", make_set(), CLASSES)
    all_blocks = [block.ids.tolist() for block in images.read_blocks(tmp_path / "set.parquet")]
    some = [block.ids.tolist() for block in images.read_blocks(tmp_path / "set.parquet", blocks)]
    assert some == [all_blocks[index] for index in blocks]


@pytest.mark.parametrize("rows", [[0], [5], [1, 3, 4], [0, 1, 2, 3, 4, 5]])
def test_only_the_pixels_asked_for_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[int]
) -> None:
    monkeypatch.setattr(images, "ROW_GROUP", 4)
    images.write(tmp_path / "set.parquet", make_set(), CLASSES)
    decode, decoded = images.decode_png, []
    monkeypatch.setattr(images, "decode_png", lambda data: decoded.append(data) or decode(data))
    pixels = images.read_pixels(tmp_path / "set.parquet", np.array(rows))
    assert np.array_equal(pixels, make_set().pixels[rows])
    assert len(decoded) == len(rows)


@pytest.mark.parametrize("count", [0, 1, 6])
def test_images_are_counted_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(images, "ROW_GROUP", 4)
    images.write(tmp_path / "set.parquet", make_set(count), CLASSES)
    monkeypatch.delattr(images, "decode_png")
    assert images.count(tmp_path / "set.parquet") == count


def test_a_relabelled_table_is_that_of_the_relabelled_set() -> None:
    before, labels, groups = make_set(), np.array([1, 1, 0, UNLABELLED, 0, 0]), [None, "x", "x", None, None, "y"]
    after = ImageSet(before.ids, before.pixels, labels, groups, before.extra)
    relabelled = images.relabelled(images.as_table(before, CLASSES), labels, groups)
    assert relabelled.equals(images.as_table(after, CLASSES), check_metadata=True)


def test_the_schema_names_classes_as_hugging_face_expects(tmp_path: Path) -> None:
    images.write(tmp_path / "set.parquet", make_set(), CLASSES)
    schema = pq.read_schema(tmp_path / "set.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"] == {"names": CLASSES, "_type": "ClassLabel"}
    assert features["image"] == {"_type": "Image"}
    assert set(features) == set(schema.names)


def test_taking_rows_keeps_columns_together() -> None:
    whole = make_set()
    part = whole.take(np.array([False, True, False, True, False, False]))
    assert part.ids.tolist() == ["img-1", "img-3"]
    assert np.array_equal(part.pixels, whole.pixels[[1, 3]])
    assert part.groups == [None, "b"]
    assert part.extra["seed"].tolist() == whole.extra["seed"][[1, 3]].tolist()


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "foreign"])
def test_missing_and_damaged_sets_are_told_in_words(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "set.parquet"
    images.write(path, make_set(), CLASSES)
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-20:] = bytes(byte ^ 0xFF for byte in content[-20:])
        path.write_bytes(content)
    else:
        images.write_table(path, pq.read_table(path).drop(["image"]))
    words = rf"set.parquet is {'missing' if damage == 'missing' else 'damaged'}"
    with pytest.raises(UserError, match=words):
        images.read(path)
    with pytest.raises(UserError, match=words):
        list(images.read_blocks(path))
    if damage != "foreign":  # an image is counted whatever is known of it
        with pytest.raises(UserError, match=words):
            images.count(path)
