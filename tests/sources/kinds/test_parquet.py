import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.imaging import marks
from stages.imaging.decoding import BadItem
from stages.plumbing import images
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED, ImageSet
from stages.sources.kinds import parquet
from stages.sources.params import ParquetParams

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def make_params(path: Path, **changes: Any) -> ParquetParams:
    values = {"kind": "parquet", "path": str(path), "image_column": "image", "label_column": "label"}
    return ParquetParams.model_validate(values | {"group_column": None} | changes)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (3, 2), value).save(buffer, format="PNG")
    return buffer.getvalue()


def write(
    path: Path, labels: pa.Array, names: list[str] | None = None, row_group_size: int = 2, **columns: pa.Array
) -> Path:
    """A file of images whose grey is their row, and whose labels have these class names in the metadata."""
    images_ = pa.array([{"bytes": png(row), "path": f"{row}.png"} for row in range(len(labels))], IMAGE)
    table = pa.table({"image": images_, "label": labels} | columns)
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def greys(params: ParquetParams, locators: list[parquet.Locator]) -> list[int]:
    return [int(np.asarray(image)[0, 0]) for image in parquet.read(params, locators)]


def test_our_own_files_round_trip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    written = ImageSet(
        ids=np.array(["a", "b", "c", "d"]),
        pixels=random.integers(0, 256, (4, 3, 5, 5), dtype=np.uint8),
        labels=np.array([1, 0, UNLABELLED, 1]),
        groups=["x", None, "y", "x"],
    )
    path = tmp_path / "images.parquet"
    images.write(path, written, ["cat", "dog"])
    params = make_params(path, group_column="group")
    listing = parquet.find(params)
    assert listing.class_names == ["cat", "dog"]
    assert listing.ids.tolist() == written.ids.tolist()
    assert listing.labels.tolist() == written.labels.tolist()
    assert listing.groups == written.groups
    assert listing.splits.tolist() == [""] * 4
    pixels = [np.asarray(image) for image in parquet.read(params, listing.locators)]
    assert np.array_equal(np.moveaxis(np.stack(pixels), -1, 1), written.pixels)


def test_a_set_that_a_run_published_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "source/train.parquet", pa.array([0, 1, 1]))
    write(tmp_path / "source/test.parquet", pa.array([0, 1]))
    assert parquet.find(make_params(path.parent)).splits.tolist() == ["test"] * 2 + ["train"] * 3
    pq.write_table(pq.read_table(path).replace_schema_metadata({marks.KEY: "{}"}), path)
    with pytest.raises(UserError, match=r"1 file \('train.parquet'\) with the mark of a synthetic set: leave"):
        parquet.find(make_params(path.parent))


def test_an_exported_set_keeps_its_splits(tmp_path: Path) -> None:
    for split, labels in (("train", [0, 1, 1]), ("validation", [1, 0]), ("test", [0, 1])):
        write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", pa.array(labels), ["no", "yes"])
    (tmp_path / "README.md").write_text("a card")
    listing = parquet.find(make_params(tmp_path))
    assert listing.class_names == ["no", "yes"]
    assert listing.splits.tolist() == ["test"] * 2 + ["train"] * 3 + ["validation"] * 2
    assert listing.labels.tolist() == [0, 1, 0, 1, 1, 1, 0]
    assert listing.ids[2] == "data/train-00000-of-00001:0"
    assert listing.ignored == {"no Parquet file": 1}
    assert greys(make_params(tmp_path), list(listing.locators)) == [0, 1, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.parquet", "train"),
        ("val-00000-of-00002.parquet", "validation"),
        ("Valid_1.parquet", "validation"),
        ("default/test/0000.parquet", "test"),
        ("test/train-0.parquet", "train"),
        ("trainees.parquet", ""),
        ("pictures.parquet", ""),
    ],
)
def test_a_split_is_known_by_its_name(tmp_path: Path, name: str, split: str) -> None:
    others = {"train", "test"} - {split}
    for each in (name, *(f"other/{other}-0.parquet" for other in others)):
        labels = [0, 1] if split or each != name else [None, None]
        write(tmp_path / each, pa.array(labels, pa.int64()), ["no", "yes"])
    listing = parquet.find(make_params(tmp_path))
    own = [row for row, (file, _) in enumerate(listing.locators) if file == name]
    assert set(listing.splits[own]) == {split}


def test_a_source_with_a_train_split_alone_is_one_to_split(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00001.parquet", pa.array([0, 1]), ["no", "yes"])
    assert parquet.find(make_params(tmp_path)).splits.tolist() == ["", ""]


@pytest.mark.parametrize(
    ("labels", "names", "classes", "indices"),
    [
        (pa.array([1, None, 0, -1], pa.int32()), ["b", "a"], ["b", "a"], [1, -1, 0, -1]),
        (pa.array([10, 9, None, -1]), None, ["-1", "9", "10"], [2, 1, -1, 0]),
        (pa.array(["dog", "cat", None, "dog"]), None, ["cat", "dog"], [1, 0, -1, 1]),
        (pa.array(["dog", "cat", None, "dog"]).dictionary_encode(), None, ["cat", "dog"], [1, 0, -1, 1]),
    ],
)
def test_labels_are_named_integers_integers_or_strings(
    tmp_path: Path, labels: pa.Array, names: list[str] | None, classes: list[str], indices: list[int]
) -> None:
    listing = parquet.find(make_params(write(tmp_path / "a.parquet", labels, names)))
    assert listing.class_names == classes
    assert listing.labels.tolist() == indices


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 8), max_size=12), row_group_size=st.integers(1, 10))
def test_reading_does_not_depend_on_order_or_row_groups(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], row_group_size: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.parquet"
    write(path, pa.array([0, 1, 2] * 3), row_group_size=row_group_size)
    assert greys(make_params(path), [("a.parquet", row) for row in rows]) == rows


def test_only_the_row_groups_asked_for_are_read_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", pa.array([0, 1] * 10), row_group_size=4)
    opened: list[tuple[int, list[str]]] = []
    read_row_group = pq.ParquetFile.read_row_group

    def record(self: pq.ParquetFile, index: int, columns: list[str], **options: Any) -> pa.Table:
        opened.append((index, columns))
        return read_row_group(self, index, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", record)
    for chunk in ([5, 6], [7, 8, 9], [10]):
        assert greys(make_params(path), [("a.parquet", row) for row in chunk]) == chunk
    assert opened == [(1, ["image.bytes"]), (2, ["image.bytes"])]


def test_plain_binary_images_and_empty_rows(tmp_path: Path) -> None:
    for name, column in (
        ("plain", pa.array([png(7), None, b"", b"text"])),
        ("struct", pa.array([{"bytes": png(7)}, None, {"bytes": b""}, {"bytes": b"text"}], IMAGE)),
    ):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"picture": column, "label": [0, 1, 0, 1]}), path)
        params = make_params(path, image_column="picture")
        good, missing, empty, text = parquet.read(params, parquet.find(params).locators)
        assert isinstance(good, Image.Image)
        assert [each.fault for each in (missing, empty, text) if isinstance(each, BadItem)] == [
            "empty",
            "empty",
            "undecodable",
        ]


def test_ids_that_repeat_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write(path, pa.array([0, 1]), id=pa.array(["patient", "patient"]))
    assert parquet.find(make_params(path)).ids.tolist() == ["a:0", "a:1"]
    write(path, pa.array([0, 1]), id=pa.array([12, 7]))
    assert parquet.find(make_params(path)).ids.tolist() == ["12", "7"]


def test_groups_are_strings_or_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.array([0, 1]), slide=pa.array([3, None]), none=pa.array([None, None]))
    assert parquet.find(make_params(path, group_column="slide")).groups == ["3", None]
    assert parquet.find(make_params(path, group_column="none")).groups is None
    assert parquet.find(make_params(path)).groups is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_column": "img"}, r"a.parquet has no column 'img'; it has image, label, weight, where$"),
        ({"label_column": "class"}, r"has no column 'class'"),
        ({"group_column": "patient"}, r"has no column 'patient'"),
        ({"label_column": "weight"}, r"label column 'weight' has the type double: it must hold integers or strings"),
        ({"image_column": "where"}, r"image column 'where' has the type string: it must hold the bytes"),
    ],
)
def test_a_wrong_column_is_named(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    columns = {"weight": pa.array([0.5, 1.5]), "where": pa.array(["a.png", "b.png"])}
    path = write(tmp_path / "a.parquet", pa.array([0, 1]), **columns)
    with pytest.raises(UserError, match=words):
        parquet.find(make_params(path, **changes))


@pytest.mark.parametrize("twice", ["image", "label", "id"])
def test_a_column_that_is_there_twice_is_named(tmp_path: Path, twice: str) -> None:
    table = pa.table({"image": [png(0), png(1)], "label": [0, 1], "id": ["a", "b"]})
    pq.write_table(table.append_column(twice, table[twice]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=f"has several columns named '{twice}': rename all but one"):
        parquet.find(make_params(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([0, 2], ["a", "b"], r"a.parquet, row 1, has the label 2, but the schema names the classes 0 to 1"),
        ([0, -2], ["a", "b"], r"row 1, has the label -2"),
        ([1, 1, None], ["a", "b"], r"has one class only, 'b'"),
        ([None, None], None, r"has no row with a label"),
        ([], ["a", "b"], r"has no row with a label"),
    ],
)
def test_wrong_labels_are_told_in_words(
    tmp_path: Path, labels: list[int | None], names: list[str] | None, words: str
) -> None:
    path = write(tmp_path / "a.parquet", pa.array(labels, pa.int64()), names)
    with pytest.raises(UserError, match=words):
        parquet.find(make_params(path))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train": [0, 1, 2], "test": [0, 2]}, r"no row in 'test' for 'b': all splits need the same classes"),
        ({"train": [0, 1], "test": [0, 1, 2]}, r"no row in 'train' for 'c'"),
        ({"train": [0, 1, 2], "validation": [0, 1, 2]}, r"labelled rows in 'train', 'validation': it needs both"),
        ({"test": [0, 1, 2]}, r"labelled rows in 'test': it needs both"),
        ({"train": [0, 1], "test": [0, 1], "x": [0, 1]}, r"in 'test', 'train' and files named otherwise: it needs"),
    ],
)
def test_splits_that_do_not_match_are_told_in_words(tmp_path: Path, files: dict[str, list[int]], words: str) -> None:
    for name, labels in files.items():
        write(tmp_path / f"{name}.parquet", pa.array(labels), ["a", "b", "c"])
    with pytest.raises(UserError, match=words):
        parquet.find(make_params(tmp_path))


def test_files_that_contradict_each_other_are_told_in_words(tmp_path: Path) -> None:
    write(tmp_path / "one" / "train.parquet", pa.array([0, 1]), ["a", "b"])
    write(tmp_path / "two" / "train.parquet", pa.array([0, 1]), ["b", "a"])
    with pytest.raises(UserError, match=r"two/train.parquet names other classes than one/train.parquet"):
        parquet.find(make_params(tmp_path))
    write(tmp_path / "one" / "train.parquet", pa.array([0, 1]))
    write(tmp_path / "two" / "train.parquet", pa.array(["a", "b"]))
    with pytest.raises(UserError, match=r"integers in some files and strings in others"):
        parquet.find(make_params(tmp_path))


def test_what_is_no_parquet_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is missing: put a Parquet file there"):
        parquet.find(make_params(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"has no .parquet file: export"):
        parquet.find(make_params(tmp_path))
    path = tmp_path / "a b.parquet"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"a b.parquet cannot be read as Parquet .*git lfs pull"):
        parquet.find(make_params(tmp_path))


def test_a_file_damaged_after_its_listing_is_told_in_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.array([0, 1]))
    params = make_params(path)
    locators = parquet.find(params).locators
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"a.parquet cannot be read as Parquet"):
        list(parquet.read(params, locators))


def test_paths_without_bytes_are_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    column = pa.array([{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "b.png"}], IMAGE)
    pq.write_table(pa.table({"image": column, "label": [0, 1]}), path)
    with pytest.raises(UserError, match=r"image column 'image' holds no bytes, at most paths"):
        parquet.find(make_params(path))


def test_hidden_files_are_no_part_of_the_source(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.array([0, 1]))
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "b.parquet").write_text("something else")
    assert len(parquet.find(make_params(tmp_path))) == 2
