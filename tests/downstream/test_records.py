import numpy as np
import pytest

from stages.downstream import records
from stages.downstream.params import ArmParams

LABELS = {"train": 50, "validation": 40}
RUN = {"images": {"real": 50, "synthetic": 0, "pseudo_labelled": 0}, "steps": 7, "history": [{"step": 7, "loss": 1.0}]}


def make_arm(**changes: object) -> ArmParams:
    values: dict[str, object] = {
        "images": "data/prepare",
        "real": True,
        "labels": "train",
        "sampling": "shuffled",
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


@pytest.mark.parametrize(
    ("changes", "labels_used"),
    [
        ({}, 50),
        (
            {"settings": [{"pool_share": 0.5, "teacher": "classifier"}, {"pool_share": 1.0, "teacher": "classifier"}]},
            90,
        ),
        ({"labels": "train_and_validation"}, 90),
        ({"images": "data/filter_memorized", "settings": [{"synthetic_share": 0.5}]}, 90),
        ({"images": "data/filter_memorized", "real": False, "settings": [{"synthetic_share": 1.0}]}, 90),
    ],
)
def test_validation_labels_count_wherever_something_was_chosen_or_trained_on_them(
    changes: dict[str, object], labels_used: int
) -> None:
    arm = make_arm(**changes)
    facts = records.arm_facts(arm, np.full((len(arm.settings), 2), 0.5), 0, [RUN, RUN], LABELS)
    assert facts["labels_used"] == labels_used


def test_an_arm_trained_on_validation_has_no_score_there() -> None:
    arm = make_arm(labels="train_and_validation")
    facts = records.arm_facts(arm, np.full((1, 2), np.nan), 0, [RUN, RUN], LABELS)
    assert facts["validation"] == []
    assert facts["validation_scores"] == [None, None]


def test_facts_are_those_of_the_chosen_setting() -> None:
    arm = make_arm(
        settings=[{"pool_share": 0.5, "teacher": "classifier"}, {"pool_share": 1.0, "teacher": "classifier"}]
    )
    facts = records.arm_facts(arm, np.array([[0.1, 0.3], [0.7, 0.9]]), 1, [RUN, RUN], LABELS)
    assert facts["validation"] == pytest.approx([0.2, 0.8])
    assert facts["validation_scores"] == [0.7, 0.9]
    assert set(facts["history"]) == {"0", "1"}
