"""A synthetic set made elsewhere, in the form of the real images."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.imaging import marks
from stages.imaging.files import labelled_images
from stages.plumbing import images
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet
from stages.sources.params import ImageParams

IMAGE = ImageParams(size=8, channels="grey", fit="pad", flip_ok=False)
CLASSES = ["dog", "cat"]  # not in the order of their names


def folder_of(root: Path, names: list[str], side: int = 16) -> Path:
    for value, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (side, side), (100 + value,) * 3).save(root / name / "made elsewhere.png")
    return root


def test_images_of_a_folder_take_the_form_and_the_labels_of_the_real_ones(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", ["cat", "dog", "train/cat", ".hidden/horse"])
    (folder / "README.txt").write_text("how they were made")
    ids, pixels, labels = labelled_images(folder, CLASSES, IMAGE)
    assert pixels.shape == (3, 1, 8, 8)
    found = {name: (CLASSES[label], pixel.max()) for name, label, pixel in zip(ids, labels, pixels, strict=True)}
    assert found == {
        "cat/made elsewhere.png": ("cat", 100),
        "dog/made elsewhere.png": ("dog", 101),
        "train/cat/made elsewhere.png": ("cat", 102),
    }


@pytest.mark.parametrize("path", ["set", "set/synthetic.parquet"])
def test_a_synthetic_set_of_ours_can_be_read_back(tmp_path: Path, path: str) -> None:
    written = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    extra = {"replicate": np.zeros(4, np.int64)}
    ours = ImageSet(np.array(["a", "b", "c", "d"]), written, np.array([1, 0, 0, 1]), extra=extra)
    published = marks.marked_table(images.as_table(ours, CLASSES), {"generated": True})
    images.write_table(tmp_path / "set/synthetic.parquet", published)
    ids, pixels, labels = labelled_images(tmp_path / path, CLASSES, IMAGE)
    assert ids.tolist() == ours.ids.tolist()
    assert np.array_equal(pixels, written)
    assert labels.tolist() == ours.labels.tolist()


def test_labels_in_parquet_are_matched_by_name_whatever_their_order(tmp_path: Path) -> None:
    pixels = np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1).repeat(8, 2).repeat(8, 3)
    theirs = ImageSet(np.array(["a", "b"]), pixels, np.array([0, 1]))
    images.write(tmp_path / "named.parquet", theirs, ["cat", "dog"])
    table = images.as_table(theirs, []).set_column(2, "label", pa.array(["cat", "dog"]))
    pq.write_table(table, tmp_path / "strings.parquet")
    for name in ("named", "strings"):
        _, _, labels = labelled_images(tmp_path / f"{name}.parquet", CLASSES, IMAGE)
        assert labels.tolist() == [1, 0]


def test_other_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"path: .*cat, horse.*dog, cat"):
        labelled_images(folder_of(tmp_path / "set", ["cat", "horse"]), CLASSES, IMAGE)
    with pytest.raises(UserError, match=r"path: .*the classes cat, but"):
        labelled_images(folder_of(tmp_path / "other", ["cat"]), CLASSES, IMAGE)


def test_an_image_without_a_class_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", ["cat", "dog"])
    (folder / "cat/made elsewhere.png").rename(folder / "alone.png")
    with pytest.raises(UserError, match=r"path: alone.png in .* has no class"):
        labelled_images(folder, CLASSES, IMAGE)
    unlabelled = ImageSet(np.array(["a", "b"]), np.zeros((2, 1, 8, 8), np.uint8), np.array([-1, 0]))
    images.write(tmp_path / "a.parquet", unlabelled, CLASSES)
    with pytest.raises(UserError, match=r"path: a in .* has no class"):
        labelled_images(tmp_path / "a.parquet", CLASSES, IMAGE)


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", ["cat", "dog"])
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"path: .*cat/broken.png cannot be used: is no image"):
        labelled_images(folder, CLASSES, IMAGE)


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", ["cat", "dog"])
    outside = folder_of(tmp_path / "outside", ["cat"]) / "cat/made elsewhere.png"
    (folder / "cat/linked.png").symlink_to(outside)
    with pytest.raises(UserError, match=r"cat/linked.png cannot be used: a symbolic link out of the folder"):
        labelled_images(folder, CLASSES, IMAGE)


@pytest.mark.parametrize("name", ["cat/\x1b[2J.png", os.fsdecode(b"cat/\xff.png")])
def test_names_that_cannot_be_shown_are_refused(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path / "set", ["cat", "dog"])
    (folder / "cat/made elsewhere.png").rename(folder / name)
    with pytest.raises(UserError, match="rename it") as caught:
        labelled_images(folder, CLASSES, IMAGE)
    assert str(caught.value).isprintable()


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"path: .*nowhere is missing"):
        labelled_images(tmp_path / "nowhere", CLASSES, IMAGE)
    with pytest.raises(UserError, match=r"path: .* has no images, but the real images have dog, cat"):
        labelled_images(tmp_path, CLASSES, IMAGE)
