"""NIfTI volumes: upright slices that stay together, and words for what is none."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from stages.imaging.decoding import BadItem
from stages.plumbing.images import UNLABELLED
from stages.sources.kinds import nifti
from stages.sources.params import NiftiParams

# Right, anterior, superior: each voxel's value tells where it lies.
VOLUME = (100 * np.arange(5)[:, None, None] + 10 * np.arange(6)[:, None] + np.arange(7)).astype(np.float32)
WIDE = {"center": 250, "width": 500}


def params(path: Path, **changes: Any) -> NiftiParams:
    own = {"kind": "nifti", "path": str(path), "plane": "axial", "every": 1, "skip_ends": 0.0, "window": WIDE}
    return NiftiParams.model_validate(own | changes)


def put(root: Path, name: str, values: np.ndarray = VOLUME, affine: np.ndarray | None = None) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def slices(root: Path, **changes: Any) -> list[np.ndarray]:
    own = params(root, **changes)
    return [np.asarray(each) for each in nifti.read(own, nifti.find(own).locators)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    put(tmp_path, "cat/a.nii")
    put(tmp_path, "dog/b.nii.gz")
    put(tmp_path, "unlabelled/c.nii")
    return tmp_path


def test_slices_of_a_volume_are_images_that_stay_together(root: Path) -> None:
    listing = nifti.find(params(root))
    assert listing.ids[:2].tolist() == ["cat/a.nii#0001", "cat/a.nii#0002"]
    assert listing.labels.tolist() == [0] * 7 + [1] * 7 + [UNLABELLED] * 7
    assert listing.groups == ["volume 1"] * 7 + ["volume 2"] * 7 + ["volume 3"] * 7
    packed, plain = slices(root)[7], slices(root)[0]
    assert np.array_equal(packed, plain)


def test_each_plane_is_cut_where_it_should_be_and_stands_upright(root: Path) -> None:
    """An axial slice has the front above and the right side on its left."""
    axial, coronal, sagittal = (slices(root, plane=plane)[1] for plane in ("axial", "coronal", "sagittal"))
    grey = np.rint(255 * VOLUME / 500)
    assert np.array_equal(axial, grey[::-1, ::-1, 1].T)
    assert np.array_equal(coronal, grey[::-1, 1, ::-1].T)
    assert np.array_equal(sagittal, grey[1, :, ::-1].T)


def test_a_volume_that_is_stored_otherwise_shows_the_same(root: Path) -> None:
    turned = np.ascontiguousarray(VOLUME[::-1].transpose(2, 0, 1))
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 1, -1, 1, 1
    put(root, "cat/a.nii", turned, affine)
    assert all(np.array_equal(one, other) for one, other in zip(slices(root)[:7], slices(root)[7:14], strict=True))


def test_only_the_wanted_slices_are_taken(root: Path) -> None:
    listing = nifti.find(params(root, every=2, skip_ends=0.2))
    assert [number for name, number in listing.locators if name == "cat/a.nii"] == [1, 3, 5]


@pytest.mark.parametrize("window", ["header", "full"])
def test_without_a_window_the_volumes_own_range_is_shown(root: Path, window: str) -> None:
    shown = np.stack(slices(root, window=window)[:7])
    assert (shown.min(), shown.max()) == (0, 255)
    assert abs(np.median(shown) - 127) < 10


def test_the_headers_range_is_taken_where_it_has_one(root: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, np.eye(4))
    image.header["cal_min"], image.header["cal_max"] = 0, 500
    nibabel.save(image, root / "cat/a.nii")
    assert np.array_equal(slices(root, window="header")[0], slices(root)[0])
    assert not np.array_equal(slices(root, window="full")[0], slices(root)[0])


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("four", np.zeros((4, 4, 4, 3), np.float32), "4 dimensions"),
        ("nan", np.full((4, 4, 4), np.nan, np.float32), "NaN"),
        ("flat", np.zeros((4, 4), np.float32), "2 dimensions"),
        ("empty", np.zeros((4, 4, 0), np.float32), "no voxels"),
    ],
)
def test_what_is_no_volume_is_told(root: Path, name: str, values: np.ndarray, words: str) -> None:
    put(root, f"cat/{name}.nii", values)
    told = [each for each in nifti.read(params(root), nifti.find(params(root)).locators) if isinstance(each, BadItem)]
    assert told
    assert all(words in each.reason and ": " in each.reason for each in told)


def test_a_damaged_file_is_an_item_that_is_told(root: Path) -> None:
    path = put(root, "dog/b.nii.gz")
    path.write_bytes(path.read_bytes()[:60])
    (root / "cat/a.nii").write_bytes(b"")
    listing = nifti.find(params(root))
    assert {"dog/b.nii.gz", "cat/a.nii"} <= set(listing.ids)
    told = [each.reason for each in nifti.read(params(root), listing.locators) if isinstance(each, BadItem)]
    assert any("damaged" in each for each in told)
    assert any("0 bytes" in each for each in told)
