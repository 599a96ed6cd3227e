"""The benchmark's image sets: roles that share no image, the stated labels, and a test set that tuning cannot see."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from benchmarks import gan_sets
from benchmarks.gan_sets import GanSet, available, load
from stages.labelling import pool
from stages.plumbing import images, workdir
from stages.plumbing.dataset import Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet
from stages.sources.params import ImageParams
from tests.conftest import SHARED
from tests.labelling.toy import hasty_fit


@pytest.fixture(scope="module", autouse=True)
def own_work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepared sets are kept for this file alone, and three replicates are enough; who guesses labels knows little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(Path(os.environ[SHARED]) / "commands/python"))
        patch.setattr(pool, "fit", hasty_fit(steps=1))
        patch.setattr(workdir, "WORK", tmp_path_factory.mktemp("work"))
        patch.setattr(gan_sets, "SEEDS", 3)
        yield


@cache
def digits(seed: int = 0, part: gan_sets.Part = "test") -> GanSet:
    return load("digits_pool", seed, Path("nowhere"), part)


def seen(gan_set: GanSet) -> list[Tensor]:
    """All images that may be looked at before the test."""
    data = gan_set.data
    return [data.images, data.unlabelled, data.validation_images, gan_set.calibration_images]


def as_bytes(*images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for images_ in images for image in images_}


def test_no_image_has_two_roles() -> None:
    for part in ("test", "development"):
        roles = [*seen(digits(part=part)), digits(part=part).test_images]
        assert len(as_bytes(*roles)) == sum(map(len, roles))


def test_has_the_stated_labels_and_form() -> None:
    gan_set = digits()
    data = gan_set.data
    assert data.labels.bincount().tolist() == data.validation_labels.bincount().tolist() == [5] * 10
    assert data.images.shape == (50, 1, 8, 8)
    assert gan_set.test_images.dtype == torch.uint8
    assert gan_set.test_labels.dtype == torch.int64
    assert len(gan_set.test_images) == len(gan_set.test_labels)
    assert len(data.unlabelled) == len(gan_set.guessed.final.labels) > 500
    assert not data.flip_ok


def test_labels_are_those_of_the_images() -> None:
    from sklearn.datasets import load_digits

    source = load_digits()
    truth = {
        image.tobytes(): label
        for image, label in zip((source.images * 255 / 16).round().astype("uint8"), source.target, strict=True)
    }
    for part in ("test", "development"):
        gan_set = digits(part=part)
        found = [truth[image.numpy().tobytes()] for image in gan_set.test_images]
        assert found == gan_set.test_labels.tolist()


def test_development_sees_no_test_image_and_the_same_training_images() -> None:
    test, development = digits(), digits(part="development")
    assert not as_bytes(test.test_images) & as_bytes(*seen(development), development.test_images)
    assert torch.equal(test.data.images, development.data.images)
    assert torch.equal(test.data.unlabelled, development.data.unlabelled)
    assert not len(development.calibration_images)
    assert len(development.test_images) == 200


def test_development_tests_on_every_image_that_no_generator_sees() -> None:
    test, development = (load("digits_rare", 0, Path("nowhere"), part) for part in ("test", "development"))
    elsewhere = [test.test_images, test.data.images, test.data.validation_images]
    assert len(development.test_images) == 1797 - sum(map(len, elsewhere)) > len(test.calibration_images)
    assert not as_bytes(development.test_images) & as_bytes(*elsewhere)
    assert as_bytes(test.calibration_images) < as_bytes(development.test_images)


def test_nobody_who_is_learned_from_is_tested_in_development(tmp_path: Path) -> None:
    """Two images of each of 30 people, and of every third of them one that is learned from."""
    rows = np.arange(60)
    ids, people = np.array([f"i{row:02d}" for row in rows]), [f"p{row // 2}" for row in rows]
    pixels = np.tile(rows.astype(np.uint8)[:, None, None, None], (1, 1, 8, 8))
    images.write(tmp_path / "images.parquet", ImageSet(ids, pixels, rows % 2, people), ["a", "b"])
    roles = pa.table({"id": ids[::6], "replicate": np.zeros(10, int), "role": ["train"] * 10})
    images.write_table(tmp_path / "roles.parquet", roles)
    image = ImageParams(size=8, channels="grey", fit="pad", flip_ok=False)
    found, labels = gan_sets._unseen(Dataset(tmp_path, "toy", ["a", "b"], image, 1, shifted=False), 0)
    assert found[:, 0, 0, 0].tolist() == [row for row in rows if (row // 2) % 3]
    assert labels.tolist() == [row % 2 for row in rows if (row // 2) % 3]


def test_seeds_share_the_test_set_and_draw_their_own_labels() -> None:
    first, other = digits(0), digits(1)
    assert torch.equal(first.test_images, other.test_images)
    assert not torch.equal(first.data.images, other.data.images)


def test_a_set_without_pool_has_no_unlabelled_image() -> None:
    gan_set = load("digits_rare", 0, Path("nowhere"), "test")
    assert gan_set.data.unlabelled.shape == (0, 1, 8, 8)
    assert gan_set.data.labels.bincount().tolist() == [50] * 5 + [7] * 5


def test_sets_are_available_where_their_source_lies(tmp_path: Path) -> None:
    assert available(tmp_path) == ["digits_pool", "digits_closed", "digits_rare"]
    (tmp_path / "rbc_chula11").mkdir()
    assert {"red_cells", "red_cells_rare"} < set(available(tmp_path))


@pytest.mark.parametrize(
    ("name", "seed", "words"),
    [
        ("digit", 0, "there is no set 'digit': choose one of digits_pool, "),
        ("digits_pool", 3, "seeds 0 to 2: 3 is none"),
        ("red_cells", 0, "rbc_chula11 is missing: unpack"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, name: str, seed: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(name, seed, tmp_path, "test")
