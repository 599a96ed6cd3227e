import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from stages.comparison.measures import CALIBRATION_BINS, calibration_error, measure, one_against_rest, per_class
from stages.comparison.scores import Predictions


def predictions_of(truth, probabilities):
    """One arm `a` that predicts the likeliest class; probabilities: (R, n, K)."""
    probabilities = np.asarray(probabilities, dtype=np.float32)
    R, _, K = probabilities.shape
    return Predictions({"a": probabilities.argmax(axis=2)}, tuple(range(R)), np.asarray(truth), K, {"a": probabilities})


def drawn(seed, images=80, classes=4, replicates=3, decimals=2):
    """Truth and probabilities that lean to it, with many ties."""
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), rng.integers(classes, size=images - classes)])
    chances = np.eye(classes)[truth] + 2 * rng.dirichlet(np.ones(classes), size=(replicates, images))
    rounded = (chances / 3).round(decimals)
    return truth, rounded / rounded.sum(axis=2, keepdims=True)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 6]))
def test_ranks_give_scikit_learns_auroc_and_average_precision(seed, decimals):
    truth, probabilities = drawn(seed, replicates=2, decimals=decimals)
    classes, auroc, precision = one_against_rest(truth, probabilities.astype(np.float32))
    assert classes == [0, 1, 2, 3]
    for replicate, each in enumerate(probabilities.astype(np.float32)):
        for k in classes:
            assert auroc[replicate, k] == pytest.approx(roc_auc_score(truth == k, each[:, k]))
            assert precision[replicate, k] == pytest.approx(average_precision_score(truth == k, each[:, k]))


def test_measures_are_the_means_of_scikit_learns_over_replicates():
    truth, probabilities = drawn(0)
    result = measure(predictions_of(truth, probabilities))["a"]
    one_hot = np.eye(4)[truth]
    oracles = {
        "auroc": lambda p: roc_auc_score(one_hot, p, average="macro"),
        "average_precision": lambda p: average_precision_score(one_hot, p, average="macro"),
        "log_loss": lambda p: log_loss(truth, p, labels=range(4)),
        "brier": lambda p: brier_score_loss(truth, p, labels=range(4), scale_by_half=False),
    }
    assert set(result) == {*oracles, "calibration_error"}
    for name, oracle in oracles.items():
        values = [oracle(each.astype(np.float32)) for each in probabilities]
        assert result[name]["mean"] == pytest.approx(np.mean(values), rel=1e-5)
        assert result[name]["std"] == pytest.approx(np.std(values, ddof=1), rel=1e-4)


def test_calibration_error_is_the_sum_over_bins_of_its_definition():
    truth, probabilities = drawn(1, images=200)
    labels = probabilities.argmax(axis=2)
    errors = calibration_error(truth, labels, probabilities.astype(np.float32))
    for replicate, each in enumerate(probabilities.astype(np.float32).astype(np.float64)):
        confidence, right = each.max(axis=1), labels[replicate] == truth
        expected = 0.0
        for m in range(1, CALIBRATION_BINS + 1):
            inside = (confidence > (m - 1) / CALIBRATION_BINS) & (confidence <= m / CALIBRATION_BINS)
            if inside.any():
                expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        assert errors[replicate] == pytest.approx(expected)


def test_calibration_error_of_known_confidence():
    """Four of five right at a confidence of 0.8 is calibrated; always right, the error is what confidence lacks."""
    probabilities = np.tile([0.8, 0.2], (1, 5, 1)).astype(np.float32)
    labels = np.zeros((1, 5), dtype=np.int64)
    assert calibration_error(np.array([0, 0, 0, 0, 1]), labels, probabilities) == pytest.approx(0, abs=1e-6)
    assert calibration_error(np.zeros(5, dtype=np.int64), labels, probabilities) == pytest.approx(0.2)


def test_a_perfect_arm_has_the_best_of_everything():
    truth = np.array([0, 1, 2, 2])
    result = measure(predictions_of(truth, np.eye(3)[truth][None]))["a"]
    assert {name: value["mean"] for name, value in result.items()} == pytest.approx(
        {"auroc": 1, "average_precision": 1, "calibration_error": 0, "log_loss": 0, "brier": 0}
    )


def test_one_replicate_has_no_deviation():
    truth, probabilities = drawn(2, replicates=1)
    assert all(set(value) == {"mean"} for value in measure(predictions_of(truth, probabilities))["a"].values())


def test_a_certain_error_has_a_finite_log_loss():
    wrong = measure(predictions_of([0, 1], np.eye(2)[[1, 0]][None]))["a"]
    assert wrong["log_loss"]["mean"] == pytest.approx(15.94, abs=0.01)
    assert wrong["brier"]["mean"] == 2
    assert wrong["auroc"]["mean"] == 0


@pytest.mark.parametrize(
    ("truth", "probabilities", "left_out"),
    [
        pytest.param([0, 0, 1, 1], np.full((2, 4, 3), 1 / 3), set(), id="all predictions equal, one class not in test"),
        pytest.param([0, 1, 2, 2], np.tile([0.6, 0.4, 0.0], (2, 4, 1)), set(), id="classes never predicted"),
        pytest.param([1, 1, 1], np.tile([0.2, 0.5, 0.3], (2, 3, 1)), {"auroc", "average_precision"}, id="one class"),
        pytest.param([1], np.tile([0.2, 0.5, 0.3], (1, 1, 1)), {"auroc", "average_precision"}, id="one image"),
    ],
)
def test_poor_predictions_have_defined_measures_or_none_and_warn_nobody(truth, probabilities, left_out):
    predictions = predictions_of(truth, probabilities)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = measure(predictions)["a"]
        records = per_class(predictions, "a")
    names = {"auroc", "average_precision", "calibration_error", "log_loss", "brier"}
    assert set(result) == names - left_out
    assert all(np.isfinite(list(value.values())).all() for value in result.values())
    for k, record in enumerate(records):
        count = truth.count(k)
        assert record["test_images"] == count
        assert ("sensitivity" in record) == (count > 0)
        assert ("specificity" in record) == (count < len(truth))
        assert ("auroc" in record) == ("average_precision" in record) == (0 < count < len(truth))


def test_constant_predictions_rank_by_chance():
    truth = np.array([0, 0, 0, 1])
    _, auroc, precision = one_against_rest(truth, np.full((1, 4, 2), 0.5, dtype=np.float32))
    assert auroc.tolist() == [[0.5, 0.5]]
    assert precision.tolist() == [[0.75, 0.25]]


def test_each_class_has_the_mean_over_replicates_of_its_shares():
    truth, probabilities = drawn(3)
    predictions = predictions_of(truth, probabilities)
    records = per_class(predictions, "a")
    labels = predictions.arms["a"]
    for k, record in enumerate(records):
        auroc = [roc_auc_score(truth == k, each[:, k]) for each in predictions.probabilities["a"]]
        precision = [average_precision_score(truth == k, each[:, k]) for each in predictions.probabilities["a"]]
        assert record == pytest.approx(
            {
                "class": k,
                "test_images": (truth == k).sum(),
                "sensitivity": (labels == k)[:, truth == k].mean(),
                "specificity": (labels != k)[:, truth != k].mean(),
                "auroc": np.mean(auroc),
                "average_precision": np.mean(precision),
            }
        )
