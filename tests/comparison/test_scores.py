import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from stages.comparison.scores import (
    Predictions,
    Scorer,
    align,
    align_models,
    class_recall,
    confusion,
    score,
    score_models,
    summarise,
)
from stages.plumbing.errors import UserError


def _score(predictions, measure="accuracy"):
    return score(Scorer(predictions, measure, [f"class {k}" for k in range(predictions.classes)]))


def test_scores_are_scikit_learns_in_the_order_of_the_replicates(make_tables):
    tables, truth = make_tables({"gan": 0.7, "classic": 0.5}, replicates=3)
    scores = _score(align(tables, truth, 3))
    oracles = {
        "accuracy": accuracy_score,
        "balanced_accuracy": balanced_accuracy_score,
        "macro_f1": lambda y, p: f1_score(y, p, average="macro"),
    }
    for arm, table in tables.items():
        for replicate, group in table.groupby("replicate"):
            predicted = group.set_index("id")["label"].loc[truth.index]
            for measure, oracle in oracles.items():
                assert scores[arm][measure][replicate] == pytest.approx(oracle(truth, predicted))


def test_an_absent_class_warns_nobody_and_scores_as_scikit_learn_does():
    truth = np.array([0, 0, 1, 1])
    labels = np.array([[0, 2, 1, 1]])
    predictions = Predictions({"a": labels}, (0,), truth, 4, {"a": np.eye(4, dtype=np.float32)[labels]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = _score(predictions)["a"]
    assert scores["balanced_accuracy"][0] == pytest.approx(0.75)
    assert scores["macro_f1"][0] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_confusion_holds_every_prediction_and_its_recall_matches(make_tables):
    tables, truth = make_tables({"gan": 0.7}, replicates=4)
    predictions = align(tables, truth, 3)
    counts = confusion(predictions, "gan")
    assert counts.sum() == predictions.arms["gan"].size
    hits = predictions.arms["gan"] == predictions.truth
    assert class_recall(counts) == pytest.approx([hits[:, predictions.truth == k].mean() for k in range(3)])


def test_a_class_without_test_images_has_no_recall():
    assert class_recall(np.array([[3, 1], [0, 0]])) == [0.75, None]


def test_identical_rows_in_any_order_give_identical_predictions(make_tables):
    tables, truth = make_tables({"gan": 0.7})
    shuffled = {"gan": tables["gan"].sample(frac=1, random_state=5)}
    np.testing.assert_array_equal(align(tables, truth, 3).arms["gan"], align(shuffled, truth, 3).arms["gan"])


def test_probabilities_are_in_the_order_of_the_labels(make_tables):
    tables, truth = make_tables({"gan": 0.7, "classic": 0.5}, replicates=3)
    for table in tables.values():
        table["probabilities"] = list(np.eye(3)[table["label"]])
    predictions = align(tables, truth, 3)
    for arm, labels in predictions.arms.items():
        assert predictions.probabilities[arm].dtype == np.float32
        np.testing.assert_array_equal(predictions.probabilities[arm], np.eye(3)[labels])


def _models(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The arms' predictions as those of two classifiers, the second one's always class 0."""
    return {
        arm: pd.concat([table.assign(classifier="logistic"), table.assign(classifier="knn", label=0)])
        .drop(columns="probabilities")
        .sample(frac=1, random_state=1)
        for arm, table in tables.items()
    }


def test_other_classifiers_are_aligned_and_scored_as_the_arms_are(make_tables):
    tables, truth = make_tables({"gan": 0.7, "classic": 0.5}, replicates=3)
    predictions = align(tables, truth, 3)
    models = align_models(_models(tables), truth, 3, predictions.replicates)
    scores = score_models(models, predictions)
    for arm, labels in predictions.arms.items():
        assert list(models[arm]) == ["knn", "logistic"]
        np.testing.assert_array_equal(models[arm]["logistic"], labels)
        np.testing.assert_array_equal(scores[arm]["logistic"]["macro_f1"], _score(predictions)[arm]["macro_f1"])
        assert scores[arm]["knn"]["accuracy"] == pytest.approx((truth == 0).mean())


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda t: t[(t["replicate"] != 2) | (t["classifier"] == "knn")], "logistic of arm gan lacks replicate 2"),
        (lambda t: t[(t["id"] != "i007") | (t["classifier"] == "logistic")], "ids that knn of arm gan predicts"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "of arm gan has more than one prediction"),
        (lambda t: t.assign(label=t["label"].where(t["classifier"] == "knn", 3)), "logistic of arm gan predicts a cl"),
    ],
)
def test_unusable_predictions_of_another_classifier_are_refused_in_words(make_tables, spoil, complaint):
    tables, truth = make_tables({"gan": 0.7}, replicates=3)
    with pytest.raises(UserError, match=complaint):
        align_models({"gan": spoil(_models(tables)["gan"])}, truth, 3, range(3))


def test_a_summary_has_the_sample_deviation_where_there_are_several():
    assert summarise(np.array([0.25, 0.75])) == pytest.approx({"mean": 0.5, "std": 0.125**0.5})
    assert summarise(np.array([0.25])) == {"mean": 0.25}


def _with_probabilities(table: pd.DataFrame, probabilities: list[float]) -> pd.DataFrame:
    table = table.reset_index(drop=True)
    table.at[3, "probabilities"] = np.array(probabilities)
    return table


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda t: _with_probabilities(t, [np.nan, 0.5, 0.5]), "arm gan has probabilities that are not numbers"),
        (lambda t: _with_probabilities(t, [1.5, -0.5, 0.0]), "negative or do not sum to 1"),
        (lambda t: _with_probabilities(t, [0.5, 0.2, 0.2]), "negative or do not sum to 1"),
        (lambda t: _with_probabilities(t, [0.5, 0.5]), "2 probabilities for an image; there are 3 classes"),
        (lambda t: t[t["replicate"] != 2], "arm gan lacks replicate 2"),
        (lambda t: t[t["id"] != "i007"], "1 test images have no prediction, 0 predictions"),
        (lambda t: t.iloc[1:], "in every replicate"),
        (lambda t: t.replace({"id": {"i007": "other"}}), "1 test images have no prediction, 1 predictions"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "more than one prediction"),
        (lambda t: t.assign(label=3), "outside 0 to 2"),
    ],
)
def test_unusable_predictions_are_refused_in_words(make_tables, spoil, complaint):
    tables, truth = make_tables({"gan": 0.7, "classic": 0.5}, replicates=3)
    with pytest.raises(UserError, match=complaint):
        align(tables | {"gan": spoil(tables["gan"])}, truth, 3)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda truth: truth.where(truth.index != "i007", -1), "test image i007 has label -1"),
        (lambda truth: pd.concat([truth, truth.iloc[:1]]), "i000 more than once"),
        (lambda truth: truth.iloc[:0], "test set is empty"),
    ],
)
def test_an_unusable_test_set_is_refused_in_words(make_tables, spoil, complaint):
    tables, truth = make_tables({"gan": 0.7})
    with pytest.raises(UserError, match=complaint):
        align(tables, spoil(truth), 3)


def test_no_arms_are_refused(make_tables):
    with pytest.raises(UserError, match="no arm"):
        align({}, make_tables({"gan": 0.7})[1], 3)
