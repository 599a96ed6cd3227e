"""Scores of every arm and replicate on the test set, from its predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.comparison.params import SENSITIVITY, Measure, SensitivityParams
from stages.comparison.ranking import sensitivity_at_specificity, weighted_auroc
from stages.comparison.statistics import weighted_scores
from stages.plumbing.errors import UserError

MEASURES = ("accuracy", "balanced_accuracy", "macro_f1")

# How far the sum of an image's probabilities may be from 1: float32's rounding over many classes.
SUM_TOLERANCE = 1e-4

Scores = dict[str, dict[str, NDArray[np.float64]]]  # arm -> measure -> (R,)
ModelLabels = dict[str, dict[str, NDArray[np.int64]]]  # arm -> classifier -> (R, n)


@dataclass(frozen=True)
class Predictions:
    """Predicted classes of all arms, in one order of replicates and test images.

    arms: arm -> (R, n) classes 0..classes-1; replicates: their R numbers, ascending; truth: (n,) true classes.
    probabilities: arm -> float32 (R, n, classes), 0..1, those of an image sum to 1.
    """

    arms: dict[str, NDArray[np.int64]]
    replicates: tuple[int, ...]
    truth: NDArray[np.int64]
    classes: int
    probabilities: dict[str, NDArray[np.float32]]


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
    arms, probabilities = {}, {}
    for arm, table in tables.items():
        cells = _cells(f"arm {arm}", table, replicates, truth.index)
        arms[arm] = _labels(f"arm {arm}", table, classes)[cells]
        probabilities[arm] = _probabilities(f"arm {arm}", table, classes)[cells]
    return Predictions(
        arms, tuple(int(r) for r in replicates), truth.to_numpy().astype(np.int64), classes, probabilities
    )


def align_models(
    tables: Mapping[str, pd.DataFrame], truth: "pd.Series[int]", classes: int, replicates: Sequence[int]
) -> ModelLabels:
    """Bring the predictions of each arm's other classifiers into the order of `replicates` and `truth`.

    tables: arm -> columns `classifier`, `replicate`, `id`, `label`; truth: as for `align`; replicates: those of
    `Predictions`; rows of any other are left out. Returns arm -> classifier -> (R, n) classes, the classifiers in the
    order of their names.
    Raises UserError as `align` does, for each classifier by itself.
    """
    _check_truth(truth, classes)
    aligned: ModelLabels = {}
    for arm, models in tables.items():
        aligned[arm] = {}
        for classifier, table in models.groupby("classifier"):
            source = f"{classifier} of arm {arm}"
            cells = _cells(source, table, replicates, truth.index)
            aligned[arm][str(classifier)] = _labels(source, table, classes)[cells]
    return aligned


def _check_truth(truth: "pd.Series[int]", classes: int) -> None:
    if truth.empty:
        raise UserError("the test set is empty: there is nothing to score on")
    if truth.index.has_duplicates:
        raise UserError(f"the test set has the id {truth.index[truth.index.duplicated()][0]} more than once")
    if not truth.between(0, classes - 1).all():
        worst = truth[~truth.between(0, classes - 1)]
        raise UserError(f"test image {worst.index[0]} has label {worst.iloc[0]}; allowed are 0 to {classes - 1}")


def _cells(source: str, table: pd.DataFrame, replicates: Sequence[int], ids: "pd.Index[Any]") -> NDArray[np.int64]:
    """(R, n): which row of the table holds each replicate's prediction of each image, once all are there.

    source: whose predictions they are, in words.
    """
    missing = sorted(set(replicates) - set(table["replicate"]))
    if missing:
        numbers = ", ".join(map(str, missing))
        raise UserError(f"{source} lacks replicate {numbers}, which another arm has: arms must be paired")
    if table.duplicated(["replicate", "id"]).any():
        raise UserError(f"{source} has more than one prediction for an image of a replicate")
    rows = table.assign(row=np.arange(len(table))).pivot(index="replicate", columns="id", values="row")
    if len(rows.columns) != len(ids) or not rows.columns.isin(ids).all() or rows.isna().any(axis=None):
        unknown, unpredicted = rows.columns.difference(ids), ids.difference(rows.columns)
        raise UserError(
            f"the ids that {source} predicts are not those of the test set in every replicate: "
            f"{len(unpredicted)} test images have no prediction, {len(unknown)} predictions no test image"
        )
    return rows.loc[list(replicates), ids].to_numpy().astype(np.int64)


def _labels(source: str, table: pd.DataFrame, classes: int) -> NDArray[np.int64]:
    """Predicted classes (rows,), checked."""
    if not table["label"].between(0, classes - 1).all():
        raise UserError(f"{source} predicts a class outside 0 to {classes - 1}")
    return table["label"].to_numpy().astype(np.int64)


def _probabilities(source: str, table: pd.DataFrame, classes: int) -> NDArray[np.float32]:
    """Probabilities (rows, classes), checked."""
    lengths = table["probabilities"].map(len)
    if not (lengths == classes).all():
        raise UserError(
            f"{source} has {lengths[lengths != classes].iloc[0]} probabilities for an image; "
            f"there are {classes} classes"
        )
    probabilities = np.stack(table["probabilities"].to_list()).astype(np.float32)
    if not np.isfinite(probabilities).all():
        raise UserError(f"{source} has probabilities that are not numbers (NaN): its training diverged")
    if (probabilities < 0).any() or (np.abs(probabilities.sum(axis=1) - 1) > SUM_TOLERANCE).any():
        raise UserError(f"{source} has probabilities that are negative or do not sum to 1: train it again")
    return np.minimum(probabilities, 1)


@dataclass(frozen=True)
class Scorer:
    """Scores the arms of `predictions` on weighted test images, by MEASURES and by `measure` where it is none of them.

    measure: as in `evaluate.measure`; classes: their names. Raises UserError for a class that is not among them.
    """

    predictions: Predictions
    measure: Measure
    classes: Sequence[str]

    def __post_init__(self) -> None:
        if isinstance(self.measure, SensitivityParams) and self.measure.of not in self.classes:
            raise UserError(
                f"evaluate.measure.of: {self.measure.of!r} is no class of the data set ({', '.join(self.classes)})"
            )

    def __call__(self, arm: str, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Measure -> (B, R) in 0..1, for weights (B, n)."""
        of, truth = self.predictions, self.predictions.truth
        scores = weighted_scores(truth, of.arms[arm], weights, of.classes)
        match self.measure:
            case "auroc":
                scores["auroc"] = weighted_auroc(truth, of.probabilities[arm], weights)
            case SensitivityParams(sensitivity_at_specificity=share, of=name):
                number = list(self.classes).index(name)
                scores[SENSITIVITY] = sensitivity_at_specificity(truth, of.probabilities[arm], weights, number, share)
        return scores


def score(scorer: Scorer) -> Scores:
    """Arm -> measure -> (R,) scores in 0..1 on the test set, equal to scikit-learn's.

    Balanced accuracy is the mean recall over the classes of the test set; macro-F1 the mean F1 over all classes
    that occur in the test set or among the predictions. Raises UserError where the test set does not define the
    measure.
    """
    once = np.ones((1, len(scorer.predictions.truth)))
    scores = {
        arm: {measure: values[0] for measure, values in scorer(arm, once).items()} for arm in scorer.predictions.arms
    }
    if not all(np.isfinite(values).all() for of_arm in scores.values() for values in of_arm.values()):
        raise UserError("evaluate.measure needs test images of the class and others, but the test set has not both")
    return scores


def score_models(models: ModelLabels, predictions: Predictions) -> dict[str, Scores]:
    """Arm -> classifier -> measure of MEASURES -> (R,), as `score` does.

    models: from `align_models` on the test set and replicates of `predictions`.
    """
    truth, once = predictions.truth, np.ones((1, len(predictions.truth)))

    def of(labels: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        scores = weighted_scores(truth, labels, once, predictions.classes)
        return {measure: scores[measure][0] for measure in MEASURES}

    return {arm: {name: of(labels) for name, labels in each.items()} for arm, each in models.items()}


def summarise(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean and sample deviation (`std`) of scores (R,) over replicates; one replicate has no deviation."""
    summary = {"mean": float(values.mean())}
    return summary | {"std": float(values.std(ddof=1))} if len(values) > 1 else summary


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
