"""metrics/evaluate.json holds what the parts say, and leaves out what the data do not allow."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.comparison.evidence import Evidence, Outcomes
from stages.comparison.examination import Examination
from stages.comparison.fidelity import ClassFidelity, Fidelity
from stages.comparison.numbers import all_numbers
from stages.comparison.params import QuestionParams
from stages.comparison.scores import align, align_models

CLASSES = ["cat", "dog", "owl"]
CHANCES = {"classic_2": 0.5, "classic_5": 0.7, "classic": 0.9, "gan": 0.8}
AUGMENT = {"arms": ["gan"], "rivals": ["classic_5"]}
LABELS = {"classic_2": 2, "classic_5": 5, "classic": 10, "gan": 10}
MakeTables = Callable[..., tuple[dict[str, pd.DataFrame], "pd.Series[int]"]]
Make = Callable[..., Evidence]


def fidelity(kid: float, classes: dict[int, ClassFidelity]) -> Fidelity:
    measures, floor = {"kid": kid, "two_sample_auc": 0.5 + kid}, {"kid": 0.0, "two_sample_auc": 0.5}
    return Fidelity(images=60, measures=measures, floor=floor, classes=classes)


@pytest.fixture(scope="module")
def make(make_tables: MakeTables, make_params: Any, make_evidence: Any) -> Make:
    def build(replicates: int = 8, curve: tuple[str, ...] = ("classic_2", "classic_5", "classic")) -> Evidence:
        tables, truth = make_tables(CHANCES, replicates=replicates, images=300)
        models = {arm: table.assign(classifier="forest") for arm, table in tables.items()}
        predictions = align(tables, truth, 3)
        outcomes = Outcomes(
            predictions=predictions,
            models=align_models(models, truth, 3, predictions.replicates),
            facts={arm: {"labels_used": 3 * LABELS[arm], "validation_scores": [0.8] * replicates} for arm in tables},
            examinations=[],
            groups=None,
            controls=[],
            plain={"gan": "classic_5"},
            words={arm: f"{arm} images" for arm in tables},
            shifted=False,
            unseen=False,
        )
        return make_evidence(outcomes=outcomes, params=make_params(learning_curve=curve, augment=AUGMENT))

    return build


def with_outcomes(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, outcomes=replace(evidence.outcomes, **changes))


def test_the_answers_rest_on_the_differences_that_are_told(make: Make) -> None:
    numbers, _ = all_numbers(make())
    assert numbers["labels"] == {"total": 80, "train": 50, "validation": 30}
    assert numbers["answers"].keys() == {"augment", "stand_in", "leak"}
    augment, stand_in = numbers["answers"]["augment"], numbers["answers"]["stand_in"]
    assert (augment["outcome"], stand_in["outcome"]) == ("helps", "not_asked")
    rows = augment["arms"]["gan"]["rivals"]
    told = numbers["differences"]["gan"]["classic_5"]["accuracy"]
    assert told == {name: rows["classic_5"][name] for name in ("mean", "low", "high")}
    assert "gan images" in augment["sentence"]
    assert numbers["warnings"] == []


def test_generated_images_alone_are_held_against_the_margin_and_their_control(make: Make) -> None:
    evidence = make()
    question = QuestionParams(arms=("gan", "classic_2"), rivals=("classic_5",))
    params = evidence.params.model_copy(update={"stand_in": question})
    asked = with_outcomes(replace(evidence, params=params), controls=[("gan", "classic_2")])
    answer = all_numbers(asked)[0]["answers"]["stand_in"]
    assert answer["outcome"] == "stands_in"
    assert {arm: each["outcome"] for arm, each in answer["arms"].items()} == {
        "gan": "stands_in",
        "classic_2": "falls_short",
    }
    assert answer["number"].startswith("gan images against classic_5 images: +")
    assert answer["sentence"].index("With gan images") < answer["sentence"].index("With classic_2 images")
    assert "points to what classic_2 images would do" in answer["sentence"]


def test_where_the_reference_guesses_nothing_is_answered_but_the_leak(make: Make) -> None:
    evidence = make()
    predictions = evidence.outcomes.predictions
    same = {arm: np.zeros_like(labels) for arm, labels in predictions.arms.items()}
    numbers, _ = all_numbers(with_outcomes(evidence, predictions=replace(predictions, arms=same)))
    assert numbers["answers"]["augment"]["outcome"] == "no_answer"
    assert numbers["answers"]["augment"]["arms"]["gan"]["outcome"] == "no_answer"
    assert "Nothing can be concluded" in numbers["answers"]["augment"]["sentence"]
    assert numbers["answers"]["leak"]["outcome"] != "no_answer"
    assert any("clearly worse than scikit-learn" in each for each in numbers["warnings"])


def test_the_parts_agree_with_each_other(make: Make) -> None:
    numbers, scores = all_numbers(make())
    json.dumps(numbers, allow_nan=False)
    gan = numbers["arms"]["gan"]
    assert gan["accuracy"]["mean"] == pytest.approx(scores["gan"]["accuracy"].mean())
    assert {"auroc", "log_loss", "calibration_error"} <= set(gan)
    # the forest's predictions are here the network's own
    assert numbers["models"]["network"] == numbers["models"]["forest"]
    sensitivity = [row["sensitivity"] for row in numbers["per_class"]["gan"].values()]
    assert np.mean(sensitivity) == pytest.approx(gan["balanced_accuracy"]["mean"])
    assert list(numbers["per_class"]["gan"]) == CLASSES


def test_an_arm_is_worth_as_many_labels_as_reach_its_score(make: Make) -> None:
    numbers, _ = all_numbers(make())
    assert list(numbers["learning_curve"]) == ["2", "5", "10"]
    worth = numbers["worth"]["gan"]
    assert worth["labels_per_class"] == 10
    assert 5 < worth["low"] < worth["labels"] < worth["high"] < 10
    assert worth["sentence"].startswith("10 labels per class with gan images reach what 7 without reach")


def test_what_the_data_do_not_allow_is_left_out(make: Make) -> None:
    evidence = make(curve=())
    numbers, _ = all_numbers(with_outcomes(evidence, models={arm: {} for arm in evidence.outcomes.models}))
    assert {"models", "worth", "learning_curve", "fidelity", "robustness", "controls"}.isdisjoint(numbers)
    assert "fidelity_pretrained" not in numbers
    single, _ = all_numbers(make(replicates=1))
    assert "worth" not in single
    assert single["learning_curve"]["5"].keys() == {"mean"}


def test_two_budgets_that_are_one_make_no_curve(make: Make) -> None:
    numbers, _ = all_numbers(make(curve=("classic", "gan")))
    assert "learning_curve" not in numbers


def test_examinations_are_averaged_over_the_replicates_that_have_them(make: Make) -> None:
    known = {0: ClassFidelity(0.5, 0.25, 30, {"kid": 0.2}, {"kid": 0.0})}
    examinations = [
        Examination({"gan": fidelity(0.1, known), "few": None}, {"gan": {"pgd_8": 0.5}}, {"gan": fidelity(0.4, known)}),
        Examination({"gan": None, "few": None}, {"gan": {"pgd_8": 0.7}}, {"gan": fidelity(0.6, known)}),
        Examination({"gan": fidelity(0.3, known | {1: known[0]}), "few": None}, {"gan": {"pgd_8": 0.6}}, {"gan": None}),
    ]
    numbers, _ = all_numbers(with_outcomes(make(), examinations=examinations))
    assert list(numbers["fidelity"]) == ["gan"], "a generator with too few images has no figures"
    of_gan = numbers["fidelity"]["gan"]
    assert of_gan["measures"]["kid"] == pytest.approx({"mean": 0.2, "std": np.sqrt(0.02)})
    assert of_gan["two_sample"]["beyond"] == pytest.approx(0.2)
    assert list(of_gan["classes"]) == ["cat"]
    assert of_gan["classes"]["cat"]["measures"] == {"kid": pytest.approx(0.2)}
    assert numbers["fidelity_pretrained"]["gan"]["measures"]["kid"]["mean"] == pytest.approx(0.5)
    assert numbers["robustness"]["gan"]["pgd_8"] == pytest.approx({"mean": 0.6, "std": 0.1})


def test_an_arm_is_held_against_its_control_as_against_any_rival(make: Make) -> None:
    numbers, _ = all_numbers(with_outcomes(make(), controls=[("gan", "classic_5")]))
    for measure, entry in numbers["controls"]["gan"]["classic_5"].items():
        against_rival = numbers["differences"]["gan"]["classic_5"][measure]
        assert entry == against_rival
    alone, _ = all_numbers(with_outcomes(make(replicates=1), controls=[("gan", "classic_5")]))
    assert alone["controls"]["gan"]["classic_5"]["accuracy"].keys() == {"mean"}


def test_more_arms_and_generators_change_no_number_of_the_others_by_a_bit(make: Make) -> None:
    evidence = make(curve=())
    outcomes = evidence.outcomes

    def of(arms: tuple[str, ...], controls: list[tuple[str, str]]) -> dict[str, Any]:
        predictions = outcomes.predictions
        own = replace(
            predictions,
            arms={arm: predictions.arms[arm] for arm in arms},
            probabilities={arm: predictions.probabilities[arm] for arm in arms},
        )
        parts = {
            "predictions": own,
            "models": {arm: outcomes.models[arm] for arm in arms},
            "facts": {arm: outcomes.facts[arm] for arm in arms},
            "controls": controls,
        }
        return all_numbers(with_outcomes(evidence, **parts))[0]

    few, many = of(("classic_5", "gan"), []), of(tuple(CHANCES), [("classic", "classic_2")])
    assert few.keys() | {"controls"} == many.keys()
    for part in ("answers", "warnings", "labels", "per_class", "replicates"):
        assert few[part] == many[part]
    for part in ("arms", "differences", "labels_used"):
        assert few[part] == {arm: many[part][arm] for arm in few[part]}
    for classifier, arms in few["models"].items():
        assert arms == {arm: many["models"][classifier][arm] for arm in arms}


def test_whole_groups_widen_the_interval(make: Make) -> None:
    evidence = make()
    outcomes = evidence.outcomes
    predicted, truth = outcomes.predictions.arms, outcomes.predictions.truth
    gains = ((predicted["gan"] == truth) * 1.0 - (predicted["classic_5"] == truth)).mean(axis=0)
    alike = np.argsort(np.argsort(gains)) // 30  # ten groups of images on which the arms differ alike
    of_images, of_groups = (
        all_numbers(each)[0]["differences"]["gan"]["classic_5"]["accuracy"]
        for each in (evidence, with_outcomes(evidence, groups=alike))
    )
    assert of_groups["high"] - of_groups["low"] > 1.5 * (of_images["high"] - of_images["low"])
