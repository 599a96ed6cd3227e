"""metrics/evaluate.json holds what the parts say, and leaves out what the data do not allow."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.comparison.evidence import Outcomes
from stages.comparison.examination import Examination
from stages.comparison.fidelity import ClassFidelity, Fidelity
from stages.comparison.numbers import all_numbers
from stages.comparison.params import EvaluateParams
from stages.comparison.scores import align, align_models

CLASSES = ["cat", "dog", "owl"]
CHANCES = {"classic_2": 0.5, "classic": 0.7, "classic_all": 0.9, "gan": 0.8}
LABELS = {"classic_2": (2, 2), "classic": (5, 5), "classic_all": (5, 10), "gan": (5, 5)}
MakeTables = Callable[..., tuple[dict[str, pd.DataFrame], "pd.Series[int]"]]
Make = Callable[..., tuple[Outcomes, EvaluateParams]]


def facts(arm: str) -> dict[str, Any]:
    from_train, trained = LABELS[arm]
    used = 30 if arm == "gan" else 3 * trained
    return {"labels_of_train": 3 * from_train, "trained_on_labels": 3 * trained, "labels_used": used}


def fidelity(kid: float, classes: dict[int, ClassFidelity]) -> Fidelity:
    measures, floor = {"kid": kid, "two_sample_auc": 0.5 + kid}, {"kid": 0.0, "two_sample_auc": 0.5}
    return Fidelity(images=60, measures=measures, floor=floor, classes=classes)


@pytest.fixture(scope="module")
def make(make_tables: MakeTables, make_params: Callable[..., EvaluateParams]) -> Make:
    def build(replicates: int = 8, curve: tuple[str, ...] = ("classic_2", "classic", "classic_all")) -> Any:
        tables, truth = make_tables(CHANCES, replicates=replicates, images=300)
        models = {arm: table.assign(classifier="forest") for arm, table in tables.items()}
        predictions = align(tables, truth, 3)
        outcomes = Outcomes(
            predictions=predictions,
            models=align_models(models, truth, 3, predictions.replicates),
            facts={arm: facts(arm) for arm in tables},
            examinations=[],
            groups=None,
            controls=[],
        )
        return outcomes, make_params(learning_curve=curve)

    return build


def test_the_parts_agree_with_each_other(make: Make) -> None:
    outcomes, params = make()
    numbers, scores = all_numbers(outcomes, CLASSES, params)
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
    numbers, _ = all_numbers(*_with_classes(make()))
    assert list(numbers["learning_curve"]) == ["2", "5", "10"]
    worth = numbers["worth"]["gan"]
    assert worth["labels_per_class"] == 5
    assert 5 < worth["low"] < worth["labels"] < worth["high"] < 10
    assert worth["sentence"].startswith("5 labels per class with gan reach what 7 without reach")
    assert worth["sentence"].endswith("; choices took 5 more labels per class.")


def _with_classes(made: tuple[Outcomes, EvaluateParams]) -> tuple[Outcomes, list[str], EvaluateParams]:
    return made[0], CLASSES, made[1]


def test_what_the_data_do_not_allow_is_left_out(make: Make) -> None:
    outcomes, params = make(curve=())
    bare = replace(outcomes, models={arm: {} for arm in outcomes.models})
    numbers, _ = all_numbers(bare, CLASSES, params)
    assert {"models", "worth", "learning_curve", "fidelity", "robustness", "controls"}.isdisjoint(numbers)
    single, _ = all_numbers(*_with_classes(make(replicates=1)))
    assert "worth" not in single
    assert single["learning_curve"]["5"].keys() == {"mean"}


def test_two_budgets_that_are_one_make_no_curve(make: Make) -> None:
    numbers, _ = all_numbers(*_with_classes(make(curve=("classic", "gan"))))
    assert "learning_curve" not in numbers


def test_examinations_are_averaged_over_the_replicates_that_have_them(make: Make) -> None:
    outcomes, params = make()
    known = {0: ClassFidelity(0.5, 0.25, 30, {"kid": 0.2}, {"kid": 0.0})}
    examinations = [
        Examination({"gan": fidelity(0.1, known), "few": None}, {"gan": {"pgd_8": 0.5}}),
        Examination({"gan": None, "few": None}, {"gan": {"pgd_8": 0.7}}),
        Examination({"gan": fidelity(0.3, known | {1: known[0]}), "few": None}, {"gan": {"pgd_8": 0.6}}),
    ]
    numbers, _ = all_numbers(replace(outcomes, examinations=examinations), CLASSES, params)
    assert list(numbers["fidelity"]) == ["gan"], "a generator with too few images has no figures"
    of_gan = numbers["fidelity"]["gan"]
    assert of_gan["measures"]["kid"] == pytest.approx({"mean": 0.2, "std": np.sqrt(0.02)})
    assert of_gan["two_sample"]["beyond"] == pytest.approx(0.2)
    assert list(of_gan["classes"]) == ["cat"]
    assert of_gan["classes"]["cat"]["measures"] == {"kid": pytest.approx(0.2)}
    assert numbers["robustness"]["gan"]["pgd_8"] == pytest.approx({"mean": 0.6, "std": 0.1})


def test_an_arm_is_held_against_its_control_as_against_any_rival(make: Make) -> None:
    outcomes, params = make()
    numbers, _ = all_numbers(replace(outcomes, controls=[("gan", "classic")]), CLASSES, params)
    for measure, entry in numbers["controls"]["gan"]["classic"].items():
        against_rival = numbers["differences"]["gan"]["classic"][measure]
        assert entry == {name: against_rival[name] for name in ("mean", "low", "high")}
    alone, _ = all_numbers(replace(make(replicates=1)[0], controls=[("gan", "classic")]), CLASSES, params)
    assert alone["controls"]["gan"]["classic"]["accuracy"].keys() == {"mean"}


def test_more_arms_and_generators_change_no_number_of_the_others_by_a_bit(make: Make) -> None:
    outcomes, params = make(curve=())

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
        return all_numbers(replace(outcomes, **parts), CLASSES, params)[0]

    few, many = of(("classic", "gan"), []), of(tuple(CHANCES), [("gan", "classic_all")])
    assert few.keys() | {"controls"} == many.keys()
    for part in ("verdict", "power", "per_class", "replicates"):
        assert few[part] == many[part]
    for part in ("arms", "differences", "labels_used"):
        assert few[part] == {arm: many[part][arm] for arm in few[part]}
    for classifier, arms in few["models"].items():
        assert arms == {arm: many["models"][classifier][arm] for arm in arms}


def test_whole_groups_widen_the_interval(make: Make) -> None:
    outcomes, params = make()
    predicted, truth = outcomes.predictions.arms, outcomes.predictions.truth
    gains = ((predicted["gan"] == truth) * 1.0 - (predicted["classic"] == truth)).mean(axis=0)
    alike = np.argsort(np.argsort(gains)) // 30  # ten groups of images on which the arms differ alike
    of_images, of_groups = (
        all_numbers(each, CLASSES, params)[0]["differences"]["gan"]["classic"]["accuracy"]
        for each in (outcomes, replace(outcomes, groups=alike))
    )
    assert of_groups["high"] - of_groups["low"] > 1.5 * (of_images["high"] - of_images["low"])
