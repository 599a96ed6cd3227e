import json
from typing import Any

import numpy as np
import pytest

from stages.downstream import records
from stages.downstream.choice import Chosen, no_choice
from stages.downstream.params import ArmParams
from stages.plumbing.artifacts import ArmFacts

LABELS = {"train": 50, "validation": 40}


def run_of(real: int = 90) -> dict[str, Any]:
    images = {"real": real, "synthetic": 0, "pseudo_labelled": 0}
    return {"images": images, "steps": 7, "history": [{"step": 7, "loss": 1.0}]}


def make_arm(**changes: object) -> ArmParams:
    values: dict[str, object] = {
        "images": "data/prepare",
        "real": True,
        "labels": "all",
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


def facts_of(chosen: Chosen, run: dict[str, Any], **changes: object) -> dict[str, Any]:
    """Of two replicates and ten classes, as they are read back."""
    told = records.arm_facts(make_arm(**changes), chosen, [run, run], LABELS, classes=10)
    ArmFacts.model_validate_json(json.dumps(told))
    return told


@pytest.mark.parametrize(
    ("changes", "run", "labels", "used"),
    [
        ({}, run_of(), "all", 90),
        (SYNTHETIC, run_of(), "all", 90),
        (SYNTHETIC | {"real": False, "settings": [{"synthetic_share": 1.0}]}, run_of(0), "all", 90),
        ({"labels": {"per_class": 3}}, run_of(30), {"per_class": 3}, 30),
        ({"labels": {"per_class": 7}}, run_of(70), {"per_class": 7}, 70),
    ],
)
def test_all_labels_count_but_for_a_budget(
    changes: dict[str, object], run: dict[str, Any], labels: object, used: int
) -> None:
    facts = facts_of(no_choice(2), run, **changes)
    assert (facts["labels"], facts["labels_used"]) == (labels, used)
    assert facts["trained_on_labels"] == run["images"]["real"]


def test_the_scores_are_those_of_the_choice() -> None:
    facts = facts_of(Chosen(1, [7, 4], np.array([[0.25, 0.75], [0.5, 1.0]])), run_of(), settings=POOLED)
    assert facts["chosen"] == 1
    assert facts["validation"] == [0.5, 0.75]
    assert facts["validation_scores"] == [0.5, 1.0]


def test_an_arm_that_chose_nothing_has_no_scores() -> None:
    facts = facts_of(no_choice(2), run_of())
    assert facts["validation"] == []
    assert facts["validation_scores"] == [None, None]


def test_settings_are_told_without_what_was_not_asked_for() -> None:
    assert facts_of(no_choice(2), run_of(), **SYNTHETIC)["settings"] == [{"synthetic_share": 0.5}]


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
