"""A synthetic set made elsewhere, in the form of the real images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.plumbing import images
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet
from stages.sources import external
from stages.sources.params import ImageParams

IMAGE = ImageParams(size=8, channels="grey", fit="pad", flip_ok=False)
CLASSES = ["dog", "cat"]  # not in the order of their names


def folder_of(root: Path, names: list[str], side: int = 16) -> Path:
    for value, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (side, side), (100 + value,) * 3).save(root / name / "made elsewhere.png")
    return root


def test_images_of_a_folder_take_the_form_and_the_labels_of_the_real_ones(tmp_path: Path) -> None:
    made = external.load(folder_of(tmp_path / "set", ["cat", "dog"]), IMAGE, CLASSES)
    assert made.pixels.shape == (2, 1, 8, 8)
    assert {CLASSES[label]: pixels.max() for label, pixels in zip(made.labels, made.pixels, strict=True)} == {
        "cat": 100,
        "dog": 101,
    }


def test_a_synthetic_set_of_ours_can_be_read_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    ours = ImageSet(np.array(["a", "b", "c", "d"]), pixels, np.array([1, 0, 0, 1]))
    images.write(tmp_path / "set/synthetic.parquet", ours, CLASSES)
    made = external.load(tmp_path / "set", IMAGE, CLASSES)
    assert made.ids.tolist() == ours.ids.tolist()
    assert np.array_equal(made.pixels, pixels)
    assert made.labels.tolist() == ours.labels.tolist()


def test_other_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"generate.external.*cat, horse.*dog, cat"):
        external.load(folder_of(tmp_path / "set", ["cat", "horse"]), IMAGE, CLASSES)


def test_an_image_without_a_class_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", ["cat", "dog", "unlabelled"])
    with pytest.raises(UserError, match=r"unlabelled/made elsewhere.png.*no class"):
        external.load(folder, IMAGE, CLASSES)


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", ["cat", "dog"])
    (folder / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"generate.external.*cat/broken.png"):
        external.load(folder, IMAGE, CLASSES)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        external.load(tmp_path / "nowhere", IMAGE, CLASSES)
