from typing import Any

import numpy as np
import pytest

from stages.downstream import records
from stages.downstream.params import ArmParams

LABELS = {"train": 50, "validation": 40}


def run_of(real: int = 50, from_validation: int = 0) -> dict[str, object]:
    images = {"real": real, "synthetic": 0, "pseudo_labelled": 0}
    history = [{"step": 7, "loss": 1.0}]
    return {"images": images, "from_validation": from_validation, "steps": 7, "history": history}


def make_arm(**changes: object) -> ArmParams:
    values: dict[str, object] = {
        "images": "data/prepare",
        "real": True,
        "labels": "train",
        "balancing": "none",
        "augment": "none",
        "settings": [{}],
    }
    return ArmParams.model_validate(values | changes)


def test_predictions_keep_every_probability_beside_its_image_and_replicate() -> None:
    random = np.random.default_rng(0)
    probabilities = [random.dirichlet(np.ones(3), size=4).astype(np.float32) for _ in range(2)]
    table = records.predictions(np.array(["a", "b", "c", "d"]), probabilities).to_pandas()
    assert len(table) == 8
    for replicate in range(2):
        own = table[table["replicate"] == replicate]
        assert own["id"].tolist() == ["a", "b", "c", "d"]
        assert np.array_equal(np.stack(own["probabilities"]), probabilities[replicate])
        assert own["label"].tolist() == probabilities[replicate].argmax(axis=1).tolist()


POOLED = [{"pool_share": 0.5, "teacher": "classifier"}, {"pool_share": 1.0, "teacher": "classifier"}]
SYNTHETIC = {"images": "data/filter_memorized/gan", "settings": [{"synthetic_share": 0.5}]}


@pytest.mark.parametrize(
    ("changes", "checkpoints", "run", "labels_used"),
    [
        ({}, 1, run_of(), 50),
        ({}, 5, run_of(), 90),
        ({"settings": POOLED[:1]}, 1, run_of(), 50),
        ({"settings": POOLED}, 1, run_of(), 90),
        ({"settings": [{"pool_share": 1.0, "teacher": "ensemble"}]}, 1, run_of(), 90),
        ({"labels": "train_and_validation"}, 1, run_of(90, 40), 90),
        ({"labels": "train_and_validation"}, 5, run_of(90, 40), 90),
        ({"labels": {"per_class": 3}}, 1, run_of(30), 30),
        ({"labels": {"per_class": 7}}, 1, run_of(70, 20), 70),
        (SYNTHETIC, 1, run_of(), 90),
        (SYNTHETIC | {"labels": {"per_class": 3}}, 1, run_of(30), 90),
        (SYNTHETIC | {"real": False, "settings": [{"synthetic_share": 1.0}]}, 1, run_of(0), 90),
    ],
)
def test_each_label_counts_that_was_trained_on_or_chosen_by(
    changes: dict[str, object], checkpoints: int, run: dict[str, Any], labels_used: int
) -> None:
    arm = make_arm(**changes)
    score = np.nan if run["from_validation"] else 0.5
    facts = records.arm_facts(arm, np.full((len(arm.settings), 2), score), 0, [[run], [run]], LABELS, checkpoints)
    assert facts["labels_used"] == labels_used
    assert facts["trained_on_labels"] == run["images"]["real"]


def test_an_arm_trained_on_validation_has_no_score_there() -> None:
    arm, run = make_arm(labels="train_and_validation"), run_of(90, 40)
    facts = records.arm_facts(arm, np.full((1, 2), np.nan), 0, [[run], [run]], LABELS, 1)
    assert facts["validation"] == []
    assert facts["validation_scores"] == [None, None]


def test_settings_are_told_without_what_was_not_asked_for() -> None:
    arm, run = make_arm(**SYNTHETIC), run_of()
    facts = records.arm_facts(arm, np.full((1, 2), 0.5), 0, [[run], [run]], LABELS, 1)
    assert facts["settings"] == [{"synthetic_share": 0.5}]


def test_predictions_of_further_classifiers_keep_their_place() -> None:
    ids, random = np.array(["a", "b", "c"]), np.random.default_rng(0)
    predicted = [[random.integers(5, size=3) for _ in range(2)] for _ in ("forest", "svm")]
    table = records.model_predictions(ids, predicted, ["forest", "svm"]).to_pandas()
    assert len(table) == 12
    for (name, replicate), own in table.groupby(["classifier", "replicate"]):
        assert own["id"].tolist() == ids.tolist()
        assert own["label"].tolist() == predicted[["forest", "svm"].index(name)][replicate].tolist()


def test_without_further_classifiers_the_table_is_empty() -> None:
    assert len(records.model_predictions(np.array(["a"]), [], [])) == 0
