"""The stage for one arm, on a data set written here: the choice, the final run, and what a killed one goes on with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from stages import train_downstream
from stages.downstream import arms
from stages.downstream.params import TrainDownstreamParams
from stages.plumbing import images, params, workdir
from stages.plumbing.dataset import TEST, TRAIN, UNLABELLED_POOL, VALIDATION
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun
from tests.conftest import DEFAULT_PARAMS, ROOT
from tests.downstream.conftest import arm, section

ALONE = {"synthetic_share": 1.0}
COUNTS = {TRAIN: 12, VALIDATION: 9, UNLABELLED_POOL: 30, TEST: 12}
IMAGES = sum(COUNTS.values())
ARMS = {
    "plain": arm(),
    "budget": arm(labels={"per_class": 5}),
    "good": arm(images="data/filter_memorized/good", real=False, settings=[ALONE]),
    "either": arm(
        images="data/filter_memorized",
        real=False,
        settings=[ALONE | {"generator": name} for name in ("bad", "good")],
    ),
    "pooled": arm(settings=[{"pool_share": share, "teacher": "classifier"} for share in (0.2, 0.9)]),
}
Train = Callable[..., dict[str, Any]]


def barred(labels: NDArray[np.int64], seed: int) -> NDArray[np.uint8]:
    """Noise (N, 1, 8, 8) with a bright bar whose place is the class."""
    pixels = np.random.default_rng(seed).integers(0, 100, (len(labels), 1, 8, 8), dtype=np.uint8)
    for label in range(3):
        pixels[labels == label, :, 2 * label + 1] += 120
    return pixels


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two replicates of `barred` images, and two generators: one draws such images, the other mistakes the classes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    labels = np.arange(IMAGES) % 3
    pixels = barred(labels, seed=0)
    ids = np.array([f"i{row:02d}" for row in range(IMAGES)])
    images.write(workdir.DATA / "prepare/images.parquet", ImageSet(ids, pixels, labels), ["a", "b", "c"])
    roles = np.repeat(list(COUNTS), list(COUNTS.values()))
    drawn = [np.concatenate([np.roll(roles[:-12], 3 * each), roles[-12:]]) for each in (0, 1)]
    tables = [pa.table({"id": ids, "replicate": np.full(IMAGES, r), "role": role}) for r, role in enumerate(drawn)]
    images.write_table(workdir.DATA / "prepare/roles.parquet", pa.concat_tables(tables))
    image = {"size": 8, "channels": "grey", "fit": "pad", "flip_ok": False}
    for name, drawn_for in {"good": labels, "bad": (labels + 1) % 3}.items():
        for replicate in range(2):
            synthetic = ImageSet(ids, barred(labels, seed=1 + replicate), drawn_for)
            images.write(workdir.DATA / f"filter_memorized/{name}/{replicate}.parquet", synthetic, ["a", "b", "c"])
    facts = {"name": "toy", "classes": ["a", "b", "c"], "image": image, "replicates": 2, "shifted": False}
    workdir.write_json(workdir.DATA / "prepare/dataset.json", facts)
    return tmp_path


@pytest.fixture
def train(project: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs the stage for an arm in this process, with changes of its section; returns its arm.json."""
    monkeypatch.setattr(StageRun, "fan_out", lambda _, work, jobs, *__: [work(job) for job in jobs])

    def run(arm: str, **changes: Any) -> dict[str, Any]:
        tiny = TrainDownstreamParams.model_validate(section(**({"arms": ARMS} | changes)))
        whole = params.load(DEFAULT_PARAMS).model_copy(update={"train_downstream": tiny})
        train_downstream.main(StageRun("train_downstream", whole, arm))
        return json.loads((project / f"data/train_downstream/{arm}/arm.json").read_text())

    return run


def made(arm: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((workdir.DATA / "train_downstream" / arm).iterdir())}


def units(stage: str) -> set[str]:
    folder = workdir.WORK / f"train_downstream@{stage}"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_all_labels_are_used_with_and_without_a_choice(train: Train) -> None:
    plain, pooled, budget = (train(arm) for arm in ("plain", "pooled", "budget"))
    assert [each["labels_used"] for each in (plain, pooled, budget)] == [21, 21, 15]
    assert [each["trained_on_labels"] for each in (plain, pooled, budget)] == [21, 21, 15]
    assert [len(each["validation"]) for each in (plain, pooled, budget)] == [0, 2, 0]
    assert pooled["chosen"] == int(np.argmax(pooled["validation"]))
    assert None not in pooled["validation_scores"]
    assert units("pooled@choice")
    assert not units("plain@choice") | units("budget@choice"), "nothing is trained to choose by"


def test_predictions_are_those_of_the_weights_that_are_kept(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    original = arms.train_arm
    monkeypatch.setattr(arms, "train_arm", lambda *given: results.append(original(*given)) or results[-1])
    train("pooled")
    table = pd.read_parquet("data/train_downstream/pooled/predictions.parquet")
    for replicate, result in enumerate(results):
        own = table[table["replicate"] == replicate]
        assert np.array_equal(np.stack(own["probabilities"]), result.test_probabilities)
        kept = load_file(f"data/train_downstream/pooled/{replicate}.safetensors")
        assert all(np.array_equal(kept[name], tensor.numpy()) for name, tensor in result.state.items())
    models = pd.read_parquet("data/train_downstream/pooled/models.parquet")
    assert models.groupby("replicate").size().tolist() == [12, 12]


def test_a_killed_run_goes_on_with_what_was_finished(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    train("pooled")
    whole, final = made("pooled"), sorted(units("pooled"))
    shutil.rmtree("data/train_downstream/pooled")
    shutil.rmtree(workdir.WORK / "train_downstream@pooled" / final[0])
    trained, original = [], arms.train_arm

    def never(*_: object) -> None:
        raise AssertionError("the choice was finished")

    monkeypatch.setattr(arms, "try_settings", never)
    monkeypatch.setattr(arms, "train_arm", lambda *given: trained.append(given) or original(*given))
    train("pooled")
    assert made("pooled") == whole
    assert len(trained) == 1


def test_validation_chooses_among_generators(train: Train) -> None:
    facts = train("either")
    assert facts["chosen"] == 1
    assert facts["validation"][1] > facts["validation"][0]
    train("good")
    predictions = [made(arm)["predictions.parquet"] for arm in ("either", "good")]
    assert predictions[0] == predictions[1], "what is chosen is trained as if there had been no choice"


def test_other_images_of_any_of_the_generators_are_chosen_from_anew(train: Train) -> None:
    train("either")
    before = units("either@choice")
    shutil.copyfile("data/filter_memorized/good/0.parquet", "data/filter_memorized/bad/0.parquet")
    train("either")
    assert len(units("either@choice") & before) == 1, "the other replicate's images are as they were"


def test_units_of_another_choice_are_forgotten(train: Train) -> None:
    train("pooled")
    before = units("pooled@choice"), units("pooled")
    assert [len(each) for each in before] == [2, 2]
    other = ARMS["pooled"] | {"settings": ARMS["pooled"]["settings"][1:]}
    assert train("pooled", arms={"pooled": other})["chosen"] == 0
    assert not units("pooled@choice")
    assert len(units("pooled")) == 2
    assert not units("pooled") & before[1]


def test_another_classifier_of_scikit_learn_tries_no_setting_again(train: Train) -> None:
    train("pooled")
    before = units("pooled@choice")
    train("pooled", scikit_learn={"classifiers": ["nearest_neighbours"], "images": 20})
    assert units("pooled@choice") == before
    models = pd.read_parquet("data/train_downstream/pooled/models.parquet")
    assert set(models["classifier"]) == {"nearest_neighbours"}


def test_every_replicate_stops_where_its_own_choice_did(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = section()["classifier"] | {"steps": 8, "checkpoints": 4}
    scores = iter([0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.1, 0.9, 0.1, 0.9])  # of each, the last is the score of what was kept
    monkeypatch.setattr(arms.Bench, "validate", lambda *_: next(scores))
    facts = train("plain", classifier=classifier)
    assert facts["validation_scores"] == [0.9, 0.9]
    assert [facts["history"][replicate][-1]["step"] for replicate in "01"] == [4, 6]
    assert next(scores, None) is None, "the final run looks at nothing"
