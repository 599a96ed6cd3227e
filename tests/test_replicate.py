"""What is guessed of a replicate's pool is guessed once, and shared by all stages that ask."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from stages.jobs.replicate import UNIT, guess_pool, open_replicate
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from stages.plumbing import images, workdir
from stages.plumbing.dataset import CALIBRATION, TEST, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.images import ImageSet
from tests.conftest import ROOT
from tests.labelling.toy import CLASSES, hasty_fit, toy_images

EACH = 12  # images of a class
SHARES = {TRAIN: 3, UNLABELLED_POOL: 4, VALIDATION: 2, CALIBRATION: 1, TEST: 2}


@pytest.fixture(autouse=True)
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that teachers were asked with, of whom each learns for two steps."""
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pool, "fit", hasty_fit(2))
    seeds, teach = list[int](), pool.teach

    def count(data: ReplicateData, seed: int) -> pool.Guesses:
        seeds.append(seed)
        return teach(data, seed)

    monkeypatch.setattr(pool, "teach", count)
    return seeds


def prepared(seed: int = 0, without: str = "") -> Dataset:
    """Two replicates of the same size, in data/prepare; nothing has the role `without`."""
    pixels, labels = toy_images(EACH, seed)
    ids = np.array([f"i{number:02d}" for number in range(len(labels))])
    roles = np.concatenate([np.repeat(list(SHARES), list(SHARES.values()))] * CLASSES)
    tables = [
        pa.table({"id": ids, "replicate": np.full(len(ids), replicate), "role": np.roll(roles, 2 * replicate)})
        for replicate in (0, 1)
    ]
    table = pa.concat_tables(tables)
    kept = pa.array([role != without for role in table["role"].to_pylist()])
    folder = workdir.DATA / "prepare"
    classes = [str(label) for label in range(CLASSES)]
    images.write(folder / "images.parquet", ImageSet(ids, pixels.numpy(), labels.numpy()), classes)
    images.write_table(folder / "roles.parquet", table.filter(kept))
    image = {"size": 8, "channels": "grey", "fit": "pad", "flip_ok": False}
    facts = {"name": "toy", "classes": classes, "image": image, "replicates": 2, "shifted": False}
    workdir.write_json(folder / "dataset.json", facts)
    return Dataset.open()


def guess(dataset: Dataset, replicate: int) -> pool.Guesses:
    return guess_pool(dataset, replicate, open_replicate(dataset, replicate, "cpu", "train_gan"))


def units() -> set[str]:
    return {path.name for path in (workdir.WORK / UNIT).glob("*/*")}


def same(one: pool.Guesses, other: pool.Guesses) -> bool:
    pairs = ((one.choosing, other.choosing), (one.final, other.final))
    return all(
        torch.equal(a.labels, b.labels) and torch.equal(a.trust, b.trust) and facts(a) == facts(b) for a, b in pairs
    )


def facts(guess: pool.PoolLabels) -> tuple[str, float, float, float]:
    return guess.teacher, guess.score, guess.accuracy, guess.temperature


def test_a_replicates_images_have_the_roles_that_teachers_may_see() -> None:
    dataset = prepared()
    data = open_replicate(dataset, 1, "cpu", "train_gan")
    given = {TRAIN: data.images, UNLABELLED_POOL: data.unlabelled, VALIDATION: data.validation_images}
    for role, tensor in given.items():
        assert np.array_equal(tensor.numpy(), dataset.role(1, role).pixels)
    assert data.labels.tolist() == dataset.labels(1, TRAIN).tolist()
    assert (data.classes, data.flip_ok, data.images.device.type) == (CLASSES, False, "cpu")


def test_the_second_to_ask_reads_what_the_first_was_told(taught: list[int]) -> None:
    dataset = prepared()
    first, second = guess(dataset, 0), guess(Dataset.open(), 0)
    assert len(taught) == 1
    assert same(first, second)
    assert len(first.final.labels) == len(first.choosing.labels) == SHARES[UNLABELLED_POOL] * CLASSES


@pytest.mark.parametrize("replicate", [0, 1])
def test_it_is_what_the_teachers_say_with_a_seed_of_the_replicate_alone(taught: list[int], replicate: int) -> None:
    dataset = prepared()
    told = guess(dataset, replicate)
    seed = int(np.random.SeedSequence(replicate).generate_state(1)[0])
    assert taught == [seed]
    assert same(told, pool.teach(open_replicate(dataset, replicate, "cpu", "train_gan"), seed))


def test_another_replicate_other_images_and_other_code_are_asked_about_anew(
    taught: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set[str]()

    def is_new(dataset: Dataset, replicate: int) -> bool:
        before = set(seen)
        guess(dataset, replicate)
        seen.update(units())
        return len(seen) == len(before) + 1

    dataset = prepared()
    assert is_new(dataset, 0)
    assert is_new(dataset, 1)
    assert not is_new(dataset, 1)
    assert is_new(prepared(seed=1), 1)
    monkeypatch.setattr("stages.plumbing.code.digest", lambda _: "another")
    assert is_new(prepared(seed=1), 1)
    assert len(taught) == 4


def test_what_was_guessed_of_other_images_is_forgotten_and_of_other_replicates_kept() -> None:
    guess(prepared(), 0)
    guess(prepared(), 1)
    (former,) = (path.name for path in (workdir.WORK / UNIT).glob("0-cpu/*"))
    (kept,) = units() - {former}
    guess(prepared(seed=1), 0)
    assert len(units()) == 2
    assert former not in units()
    assert kept in units()


@pytest.mark.parametrize("without", [UNLABELLED_POOL, VALIDATION])
def test_without_a_pool_or_validation_images_it_is_kept_all_the_same(taught: list[int], without: str) -> None:
    dataset = prepared(without=without)
    first, second = guess(dataset, 0), guess(dataset, 0)
    assert len(taught) == 1
    assert torch.equal(first.final.labels, second.final.labels)
    assert np.isnan([first.final.score, second.final.score]).all()
    assert (first.final.teacher == "none") == (without == UNLABELLED_POOL)
