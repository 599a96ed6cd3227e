"""Scores of every arm and replicate on the test set, from its predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.plumbing.errors import UserError

MEASURES = ("accuracy", "balanced_accuracy", "macro_f1")

Scores = dict[str, dict[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Predictions:
    """Predicted classes of all arms, in one order of replicates and test images.

    arms: arm -> (R, n) classes 0..classes-1; replicates: their R numbers, ascending; truth: (n,) true classes.
    """

    arms: dict[str, NDArray[np.int64]]
    replicates: tuple[int, ...]
    truth: NDArray[np.int64]
    classes: int


def align(tables: Mapping[str, pd.DataFrame], truth: "pd.Series[int]", classes: int) -> Predictions:
    """Bring every arm's predictions into one order, so that arms are paired by replicate and image.

    tables: arm -> columns `replicate`, `id`, `label` (the predicted class), `probabilities` (`classes` floats).
    truth: true class of every test image, indexed by id.
    Raises UserError for no arms, an unusable test set or predictions, ids that differ from the test set's,
    or an arm that lacks a replicate which another arm has.
    """
    if not tables:
        raise UserError("there are no predictions to compare: no arm was trained")
    _check_truth(truth, classes)
    replicates = sorted(set().union(*(set(table["replicate"]) for table in tables.values())))
    arms = {arm: _aligned(arm, table, replicates, truth.index, classes) for arm, table in tables.items()}
    return Predictions(arms, tuple(int(r) for r in replicates), truth.to_numpy().astype(np.int64), classes)


def _check_truth(truth: "pd.Series[int]", classes: int) -> None:
    if truth.empty:
        raise UserError("the test set is empty: there is nothing to score on")
    if truth.index.has_duplicates:
        raise UserError(f"the test set has the id {truth.index[truth.index.duplicated()][0]} more than once")
    if not truth.between(0, classes - 1).all():
        worst = truth[~truth.between(0, classes - 1)]
        raise UserError(f"test image {worst.index[0]} has label {worst.iloc[0]}; allowed are 0 to {classes - 1}")


def _aligned(
    arm: str, table: pd.DataFrame, replicates: list[int], ids: "pd.Index[Any]", classes: int
) -> NDArray[np.int64]:
    """Predicted classes (R, n) of one arm, checked."""
    missing = sorted(set(replicates) - set(table["replicate"]))
    if missing:
        numbers = ", ".join(map(str, missing))
        raise UserError(f"arm {arm} lacks replicate {numbers}, which another arm has: arms must be paired")
    if table.duplicated(["replicate", "id"]).any():
        raise UserError(f"arm {arm} has more than one prediction for an image of a replicate")
    _check_values(arm, table, classes)
    wide = table.pivot(index="replicate", columns="id", values="label")
    if len(wide.columns) != len(ids) or not wide.columns.isin(ids).all() or wide.isna().any(axis=None):
        unknown, unpredicted = wide.columns.difference(ids), ids.difference(wide.columns)
        raise UserError(
            f"the ids that arm {arm} predicts are not those of the test set in every replicate: "
            f"{len(unpredicted)} test images have no prediction, {len(unknown)} predictions no test image"
        )
    return wide.loc[replicates, ids].to_numpy().astype(np.int64)


def _check_values(arm: str, table: pd.DataFrame, classes: int) -> None:
    lengths = table["probabilities"].map(len)
    if not (lengths == classes).all():
        raise UserError(
            f"arm {arm} has {lengths[lengths != classes].iloc[0]} probabilities for an image; "
            f"there are {classes} classes"
        )
    if not np.isfinite(np.stack(table["probabilities"].to_list())).all():
        raise UserError(f"arm {arm} has probabilities that are not numbers (NaN): its training diverged")
    if not table["label"].between(0, classes - 1).all():
        raise UserError(f"arm {arm} predicts a class outside 0 to {classes - 1}")


def score(predictions: Predictions) -> Scores:
    """Arm -> measure -> (R,) scores in 0..1 on the test set, by scikit-learn.

    Balanced accuracy is the mean recall over the classes of the test set; macro-F1 the mean F1 over all classes
    that occur in the test set or among the predictions (scikit-learn's defaults).
    """
    return {
        arm: {
            measure: np.array([_score_one(measure, predictions.truth, row) for row in predicted])
            for measure in MEASURES
        }
        for arm, predicted in predictions.arms.items()
    }


def _score_one(measure: str, truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    if measure == "accuracy":
        return float(accuracy_score(truth, predicted))
    if measure == "balanced_accuracy":
        # balanced_accuracy_score is this, plus a warning when a predicted class is absent from the test set
        return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0.0))
    return float(f1_score(truth, predicted, average="macro", zero_division=0.0))


def confusion(predictions: Predictions, arm: str) -> NDArray[np.int64]:
    """Counts (K, K), true class by predicted class, summed over the replicates of `arm`."""
    from sklearn.metrics import confusion_matrix

    predicted = predictions.arms[arm]
    truth = np.tile(predictions.truth, len(predicted))
    counts = confusion_matrix(truth, predicted.ravel(), labels=np.arange(predictions.classes))
    return np.asarray(counts, dtype=np.int64)


def class_recall(counts: NDArray[np.int64]) -> list[float | None]:
    """Share of every class that is recognised, from a (K, K) confusion; None where the test set has none."""
    totals = counts.sum(axis=1)
    return [float(hit / total) if total else None for hit, total in zip(counts.diagonal(), totals, strict=True)]


def score_table(
    scores: Scores, replicates: Sequence[int], validation: Mapping[str, Sequence[float | None]]
) -> pd.DataFrame:
    """One row per arm and replicate: every measure on test, and `validation`, empty where that was trained on."""
    return pd.concat(
        pd.DataFrame({"arm": arm, "replicate": list(replicates), **values, "validation": list(validation[arm])})
        for arm, values in scores.items()
    )
