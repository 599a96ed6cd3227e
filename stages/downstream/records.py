"""What an arm leaves behind: the table of its predictions and the facts about its training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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


def arm_facts(
    arm: ArmParams,
    scores: NDArray[np.float64],
    chosen: int,
    runs: Sequence[Mapping[str, Any]],
    labels: Mapping[str, int],
) -> dict[str, Any]:
    """What arm.json says: the settings, how the arm chose among them, and what the chosen one was trained on.

    scores: validation scores (settings, replicates), NaN where validation labels were trained on. runs: for each
    replicate the facts of its training with the chosen setting. labels: number of labels by role. An arm without
    synthetic images and with a single setting never looks at validation, so its labels are those of train alone.
    """
    looks = arm.adds_synthetic or len(arm.settings) > 1 or arm.labels == "train_and_validation"
    known = not np.isnan(scores).any()
    return {
        "settings": [setting.model_dump(mode="json") for setting in arm.settings],
        "chosen": chosen,
        "validation": scores.mean(axis=1).tolist() if known else [],
        "validation_scores": scores[chosen].tolist() if known else [None] * scores.shape[1],
        "labels_used": labels["train"] + (labels["validation"] if looks else 0),
        "trained_on_labels": runs[0]["images"]["real"],
        "synthetic_images": runs[0]["images"]["synthetic"],
        "pseudo_labels": runs[0]["images"]["pseudo_labelled"],
        "steps": runs[0]["steps"],
        "history": {str(replicate): run["history"] for replicate, run in enumerate(runs)},
    }
