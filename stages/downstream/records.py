"""What an arm leaves behind: the table of its predictions and the facts about its training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.downstream.params import ArmParams, PseudoLabels


def predictions(test_ids: NDArray[np.str_], probabilities: Sequence[NDArray[np.float32]]) -> pa.Table:
    """One row per replicate and test image: `replicate`, `id`, `label` (the predicted class) and `probabilities`.

    probabilities: for each replicate float32 (N, K), rows in the order of `test_ids` (N,).
    """
    tables = [
        pa.table(
            {
                "replicate": np.full(len(test_ids), replicate),
                "id": test_ids,
                "label": each.argmax(axis=1),
                "probabilities": pa.FixedSizeListArray.from_arrays(each.ravel(), each.shape[1]),
            }
        )
        for replicate, each in enumerate(probabilities)
    ]
    return pa.concat_tables(tables)


def model_predictions(
    test_ids: NDArray[np.str_], predicted: Sequence[Sequence[NDArray[np.int64]]], classifiers: Sequence[str]
) -> pa.Table:
    """One row per further classifier, replicate and test image: `classifier`, `replicate`, `id`, `label`.

    predicted: for each classifier and replicate the predicted classes (N,), in the order of `test_ids` (N,).
    """
    replicates = len(predicted[0]) if classifiers else 0
    labels = np.array(predicted, dtype=np.int64).reshape(len(classifiers), replicates, len(test_ids))
    classifier, replicate, image = np.indices(labels.shape).reshape(3, -1)
    return pa.table(
        {
            "classifier": np.array(classifiers, dtype=np.str_)[classifier],
            "replicate": replicate,
            "id": test_ids[image],
            "label": labels.ravel(),
        }
    )


def looks_at_validation(arm: ArmParams, checkpoints: int) -> bool:
    """Whether validation labels have a part in what the arm came to, other than by being trained on.

    The GAN's snapshots were chosen on them, and so were settings, checkpoints and the members of the ensemble.
    """
    teachers = [setting.teacher for setting in arm.settings if isinstance(setting, PseudoLabels)]
    return arm.adds_synthetic or len(arm.settings) > 1 or checkpoints > 1 or "ensemble" in teachers


def arm_facts(
    arm: ArmParams,
    scores: NDArray[np.float64],
    chosen: int,
    facts: Sequence[Sequence[Mapping[str, Any]]],
    labels: Mapping[str, int],
    checkpoints: int,
) -> dict[str, Any]:
    """What arm.json says: the settings, how the arm chose among them, and what the chosen one was trained on.

    scores: validation scores (settings, replicates), NaN where validation labels were trained on. facts: of each
    replicate's settings. labels: number of labels by role. checkpoints: among
    how many of them each training chooses.
    """
    runs = [settings[chosen] for settings in facts]
    known, run = not np.isnan(scores).any(), runs[0]
    # the GAN learned from all labels of train, whatever part of them the arm itself trains on
    from_train = labels["train"] if arm.adds_synthetic else run["images"]["real"] - run["from_validation"]
    looks = known and looks_at_validation(arm, checkpoints)
    return {
        "settings": [setting.model_dump(mode="json", exclude_defaults=True) for setting in arm.settings],
        "chosen": chosen,
        "validation": scores.mean(axis=1).tolist() if known else [],
        "validation_scores": scores[chosen].tolist() if known else [None] * scores.shape[1],
        "labels_used": from_train + (labels["validation"] if looks else run["from_validation"]),
        "labels_of_train": from_train,
        "trained_on_labels": run["images"]["real"],
        "synthetic_images": run["images"]["synthetic"],
        "pseudo_labels": run["images"]["pseudo_labelled"],
        "steps": run["steps"],
        "history": {str(replicate): each["history"] for replicate, each in enumerate(runs)},
    }
