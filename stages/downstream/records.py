"""What an arm leaves behind: the table of its predictions and the facts about its training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.downstream.choice import Chosen
from stages.downstream.params import ArmParams


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


def arm_facts(
    arm: ArmParams, chosen: Chosen, runs: Sequence[Mapping[str, Any]], labels: Mapping[str, int], classes: int
) -> dict[str, Any]:
    """What arm.json says: the settings, how the arm chose among them, and what its classifiers were trained on.

    An arm of generated images alone counts all labels, for its generator used them.

    runs: `history`, `images` and `steps` of each replicate's `arms.ArmResult`. labels: number of labels by role.
    """
    scores, images = chosen.scores, runs[0]["images"]
    return {
        "settings": [setting.model_dump(mode="json", exclude_defaults=True) for setting in arm.settings],
        "chosen": chosen.setting,
        "validation": [] if scores is None else scores.mean(axis=1).tolist(),
        "validation_scores": [None] * len(runs) if scores is None else scores[chosen.setting].tolist(),
        "labels": "all" if arm.labels == "all" else arm.labels.model_dump(),
        "labels_used": sum(labels.values()) if arm.labels == "all" else classes * arm.labels.per_class,
        "trained_on_labels": images["real"],
        "synthetic_images": images["synthetic"],
        "pseudo_labels": images["pseudo_labelled"],
        "steps": runs[0]["steps"],
        "history": {str(replicate): each["history"] for replicate, each in enumerate(runs)},
    }
