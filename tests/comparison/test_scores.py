import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from stages.comparison.scores import Predictions, align, class_recall, confusion, score
from stages.plumbing.errors import UserError


def test_scores_are_scikit_learns_in_the_order_of_the_replicates(make_tables):
    tables, truth = make_tables({"gan": 0.7, "classic": 0.5}, replicates=3)
    scores = score(align(tables, truth, 3))
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
    predictions = Predictions({"a": np.array([[0, 2, 1, 1]])}, (0,), truth, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(predictions)["a"]
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


def _with_probabilities(table: pd.DataFrame, probabilities: list[float]) -> pd.DataFrame:
    table = table.reset_index(drop=True)
    table.at[3, "probabilities"] = np.array(probabilities)
    return table


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda t: _with_probabilities(t, [np.nan, 0.5, 0.5]), "arm gan has probabilities that are not numbers"),
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
