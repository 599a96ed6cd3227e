"""The numbers that answers rest on: paired, symmetric in the order of images and replicates, and honest about few."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.comparison.answers import Rule, augment_outcome, stand_in_outcome
from stages.comparison.contrasts import Contrast, Measured, worst
from stages.comparison.params import EvaluateParams, QuestionParams
from stages.comparison.scores import Predictions, align
from stages.comparison.statistics import holm
from stages.plumbing.errors import UserError

CLASSES = ["cat", "dog", "owl"]
QUESTION = QuestionParams(arms=("gan",), rivals=("classic", "pool"))
CHANCES = {"classic": 0.7, "pool": 0.75, "gan": 0.8}
MEASURES = ["accuracy", "balanced_accuracy", "macro_f1", "auroc", {"sensitivity_at_specificity": 0.9, "of": "dog"}]
MakeTables = Callable[..., tuple[dict[str, pd.DataFrame], "pd.Series[int]"]]
MakeParams = Callable[..., EvaluateParams]


@pytest.fixture(scope="module")
def predict(make_tables: MakeTables) -> Callable[..., Predictions]:
    """Predictions whose probabilities are sure of the label to a random degree."""

    def run(chances: dict[str, float] = CHANCES, **changes: Any) -> Predictions:
        tables, truth = make_tables(chances, **changes)
        rng = np.random.default_rng(1)
        for table in tables.values():
            sure = rng.uniform(0.4, 1, len(table))[:, None]
            one_hot = np.eye(3)[table["label"]]
            table["probabilities"] = list(sure * one_hot + (1 - sure) / 2 * (1 - one_hot))
        return align(tables, truth, 3)

    return run


def shuffled(predictions: Predictions, rows: Any, columns: Any) -> Predictions:
    return replace(
        predictions,
        truth=predictions.truth[columns],
        arms={arm: labels[rows][:, columns] for arm, labels in predictions.arms.items()},
        probabilities={arm: each[rows][:, columns] for arm, each in predictions.probabilities.items()},
    )


@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_every_measure_has_contrasts_in_their_order(measure: Any, predict: Any, make_params: MakeParams) -> None:
    params = make_params(measure=measure)
    measured = Measured(predict(), CLASSES, params)
    for rival, contrast in measured.contrasts(QUESTION, 0.01, tests=2)["gan"].items():
        numbers = contrast.numbers()
        json.dumps(numbers, allow_nan=False)
        assert contrast.low <= contrast.mean <= contrast.high
        means = [measured.scores[arm][params.measure_key].mean() for arm in ("gan", rival)]
        assert contrast.mean == pytest.approx(means[0] - means[1])
        of_all = measured.differences("gan", rival)[params.measure_key]
        assert of_all == {name: numbers[name] for name in ("mean", "low", "high")}


def test_tests_on_one_side_take_a_narrower_interval_unless_they_share_the_level(
    predict: Any, make_params: MakeParams
) -> None:
    measured = Measured(predict(), CLASSES, make_params())
    one, two, four = (measured.contrasts(QUESTION, 0.01, tests)["gan"]["pool"] for tests in (1, 2, 4))
    assert one.low < one.inner_low < one.inner_high < one.high
    assert (two.inner_low, two.inner_high) == (two.low, two.high)
    assert four.inner_low < four.low < four.high < four.inner_high


def test_holm_runs_over_all_contrasts_of_the_question(predict: Any, make_params: MakeParams) -> None:
    rows = list(Measured(predict(), CLASSES, make_params()).contrasts(QUESTION, 0.01, tests=2)["gan"].values())
    assert [row.p_holm for row in rows] == holm([row.p for row in rows])
    assert [row.p_margin_holm for row in rows] == holm([row.p_margin for row in rows])


@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_the_order_of_images_and_replicates_changes_no_score_and_no_p(
    measure: Any, predict: Any, make_params: MakeParams
) -> None:
    predictions, params, rng = predict(), make_params(measure=measure), np.random.default_rng(0)
    other = shuffled(predictions, rng.permutation(10), rng.permutation(120))
    one, two = (
        Measured(each, CLASSES, params).contrasts(QUESTION, 0.01, tests=2)["gan"] for each in (predictions, other)
    )
    for rival in one:
        for name in ("mean", "p", "p_holm", "p_margin"):
            assert getattr(one[rival], name) == pytest.approx(getattr(two[rival], name))
        assert one[rival].low == pytest.approx(two[rival].low, abs=0.02)  # another draw of the same resamples


def test_arms_that_swap_turn_everything_round(predict: Any, make_params: MakeParams) -> None:
    measured = Measured(predict(), CLASSES, make_params())
    one = measured.contrasts(QuestionParams(arms=("gan",), rivals=("pool",)), 0.01, 1)["gan"]["pool"]
    two = measured.contrasts(QuestionParams(arms=("pool",), rivals=("gan",)), -0.01, 1)["pool"]["gan"]
    assert [two.mean, two.low, two.high] == pytest.approx([-one.mean, -one.high, -one.low])
    assert [two.p, two.p_margin] == pytest.approx([one.p, one.p_margin])


def test_the_p_against_the_margin_is_that_of_a_shifted_arm(predict: Any, make_params: MakeParams) -> None:
    """No difference from the margin where the mean is the margin; the farther from it, the smaller p."""
    measured = Measured(predict(), CLASSES, make_params())
    mean = measured.contrasts(QUESTION, 0.01, 2)["gan"]["pool"].mean
    p = [measured.contrasts(QUESTION, mean + shift, 2)["gan"]["pool"].p_margin for shift in (0, 0.01, 0.03, 0.3)]
    assert p[0] > 0.9
    assert p == sorted(p, reverse=True)
    assert p[-1] == 2 / 2**10


def test_copies_of_test_images_in_their_groups_change_no_number(predict: Any, make_params: MakeParams) -> None:
    once = predict(images=60)
    twice = shuffled(once, np.arange(10), np.repeat(np.arange(60), 2))
    params = make_params(measure="auroc")
    alone = Measured(once, CLASSES, params).contrasts(QUESTION, 0.01, 2)["gan"]["pool"]
    groups = np.repeat(np.arange(60), 2)
    grouped = Measured(twice, CLASSES, params, groups).contrasts(QUESTION, 0.01, 2)["gan"]["pool"]
    assert grouped.numbers() == pytest.approx(alone.numbers())


def test_one_replicate_has_means_alone(predict: Any, make_params: MakeParams) -> None:
    measured = Measured(predict(replicates=1), CLASSES, make_params())
    assert measured.draws is None
    assert measured.contrasts(QUESTION, 0.01, 2)["gan"]["pool"].numbers().keys() == {"mean"}
    assert measured.differences("gan", "pool")["macro_f1"].keys() == {"mean"}


def test_a_class_that_is_not_there_is_named(predict: Any, make_params: MakeParams) -> None:
    measure = {"sensitivity_at_specificity": 0.9, "of": "pig"}
    with pytest.raises(UserError, match=r"evaluate\.measure\.of: 'pig' is no class of the data set \(cat, dog, owl\)"):
        Measured(predict(), CLASSES, make_params(measure=measure))


def test_a_test_set_without_the_class_defines_no_sensitivity(predict: Any, make_params: MakeParams) -> None:
    predictions = predict()
    others = shuffled(predictions, np.arange(10), np.flatnonzero(predictions.truth != 1))
    measure = {"sensitivity_at_specificity": 0.9, "of": "dog"}
    with pytest.raises(UserError, match=r"evaluate\.measure needs test images"):
        Measured(others, CLASSES, make_params(measure=measure))


def test_the_strongest_rival_is_the_one_least_beaten() -> None:
    assert worst({"a": Contrast(0.02), "b": Contrast(-0.01), "c": Contrast(0.01)}) == "b"


def outcomes(measured: Measured) -> tuple[str, str]:
    """Of augment and of stand_in, by an arm and one rival."""
    question = QuestionParams(arms=("gan",), rivals=("classic",))
    rule = Rule(0.05, 0.02, measured.replicates, 1, 1, "accuracy", {})
    gains, lags = (measured.contrasts(question, margin, 1)["gan"] for margin in (0.02, -0.02))
    return augment_outcome(gains, "classic", rule), stand_in_outcome(lags, rule)


def test_equal_arms_are_rarely_told_apart(make_tables: MakeTables, make_params: MakeParams) -> None:
    """The 99th percentile of what a true 5 % does in 12 is 3; benchmarks.verdict counts more of them."""
    found = []
    for seed in range(12):
        tables, truth = make_tables({"classic": 0.8, "gan": 0.8}, images=60, seed=seed)
        found += outcomes(Measured(align(tables, truth, 3), CLASSES, make_params(bootstrap=100)))
    assert sum(found.count(each) for each in ("helps", "worse", "falls_short")) <= 3


def test_large_differences_are_found(make_tables: MakeTables, make_params: MakeParams) -> None:
    def of(classic: float, gan: float) -> tuple[str, str]:
        tables, truth = make_tables({"classic": classic, "gan": gan})
        return outcomes(Measured(align(tables, truth, 3), CLASSES, make_params(margin=0.02)))

    assert of(0.9, 0.6) == ("worse", "falls_short")
    assert of(0.6, 0.9) == ("helps", "stands_in")
