"""What arms and generators left on disk comes back, and goes once params.yaml no longer has them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.plumbing import images, results, workdir
from stages.plumbing.errors import UserError
from stages.plumbing.images import ImageSet


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


KEPT = (
    "data/train_downstream/classic/arm.json",
    "data/train_gan/gan/run.json",
    "data/train_gan/.gitignore",
    "data/generate/gan/0.parquet",
    "data/filter_memorized/gan/0.parquet",
    "metrics/train_gan/gan.json",
    "metrics/train_gan/gan.csv",
    "metrics/filter_memorized/gan.json",
    "metrics/evaluate.json",
    "data/prepare/images.parquet",
)


def test_what_is_no_longer_named_goes_and_nothing_else() -> None:
    gone = (
        "data/train_downstream/old/arm.json",
        "data/train_gan/old/0/weights.safetensors",
        "data/generate/old/0.parquet",
        "data/generate/0.parquet",  # of the layout before generators had names
        "metrics/train_gan.json",
        "metrics/train_gan.csv",
        "metrics/train_gan/old.csv",
        "metrics/generate/old.json",
        "metrics/filter_memorized/old.json",
    )
    touch(*KEPT, *gone)
    results.remove_others(["classic"], ["gan"])
    assert {str(path) for path in Path().rglob("*") if path.is_file()} == set(KEPT)
    assert not Path("data/generate/old").exists(), "DVC would notice an empty folder too"


def test_nothing_there_is_nothing_to_remove() -> None:
    results.remove_others([], [])


def some(*ids: str) -> ImageSet:
    pixels = np.arange(len(ids), dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    return ImageSet(np.array(ids), pixels, np.zeros(len(ids), np.int64))


def test_images_come_by_their_ids_from_any_replicate_in_the_order_asked_for() -> None:
    for replicate, ids in enumerate((("a", "b"), ("c", "d"))):
        images.write(workdir.DATA / f"generate/gan/{replicate}.parquet", some(*ids), ["only"])
    found = results.generated("gan", [0, 1], ["d", "a"])
    assert found.ids.tolist() == ["d", "a"]
    assert found.pixels[:, 0, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    "read", [lambda: results.kept("gan", 0), lambda: results.decisions("gan"), lambda: results.arm_facts(["classic"])]
)
def test_what_is_missing_is_said_in_words(read: Callable[[], object]) -> None:
    with pytest.raises(UserError, match=r"data/\S+ is missing"):
        read()


def test_damaged_weights_are_named() -> None:
    from torch import nn

    touch("data/train_downstream/classic/3.safetensors")
    with pytest.raises(UserError, match=r"classic/3\.safetensors is damaged"):
        results.load_weights(nn.Sequential(nn.Linear(1, 1)), "classic", 3)
