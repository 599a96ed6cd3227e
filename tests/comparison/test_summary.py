"""The few numbers that DVC shows: of the arms that the questions name first, and no wider than a screen."""

import json
from typing import Any

import pytest

from stages.comparison.params import EvaluateParams, QuestionParams
from stages.comparison.summary import summarise
from stages.plumbing.workdir import METRICS

AUGMENT = QuestionParams(arms=("gan_classic", "gan_balanced"), rivals=("classic", "fixmatch"))
STAND_IN = QuestionParams(arms=("synthetic_only",), rivals=("classic", "pseudo_label"))
MEANS = {
    "classic": 0.9,
    "fixmatch": 0.95,
    "pseudo_label": 0.93,
    "gan_classic": 0.9412,
    "gan_balanced": 1,
    "synthetic_only": 0.8,
}
FILTERED = {"gan": {"generated": 1000, "dropped": 30}, "gaussian": {"generated": 3000, "dropped": 10}}


def make_numbers(*aucs: float) -> dict[str, Any]:
    """Of metrics/evaluate.json, a set for each AUC."""
    answers: dict[str, Any] = {
        question: {
            "arms": {
                arm: {"rivals": {rival: {"mean": MEANS[arm] - MEANS[rival]} for rival in section.rivals}}
                for arm in section.arms
            }
        }
        for question, section in (("augment", AUGMENT), ("stand_in", STAND_IN))
    }
    sets = {f"g{place}": {"attacks": {"distance": {"auc": auc}}} for place, auc in enumerate(aucs)}
    answers["leak"] = {"sets": sets | {"few": {"attacks": {}}}}
    arms = {arm: {"accuracy": {"mean": 0.123}, "auroc": {"mean": mean}} for arm, mean in MEANS.items()}
    return {"answers": answers, "arms": arms}


def made(*aucs: float, filtered: Any = FILTERED) -> dict[str, float]:
    params = EvaluateParams.model_construct(measure="auroc", augment=AUGMENT, stand_in=STAND_IN)
    return summarise(make_numbers(*aucs), filtered, params)


def test_the_numbers_are_those_of_the_arms_that_are_named_first() -> None:
    assert made(0.58, 0.55) == {
        "usual": 90.0,
        "added": 94.1,
        "alone": 80.0,
        "gain": 4.1,
        "edge": -0.9,
        "lag": -13.0,
        "copy": 1.0,
        "leak": 0.58,
    }


@pytest.mark.parametrize(("aucs", "worst"), [((0.6, 0.35), 0.35), ((0.6, 0.45), 0.6)])
def test_an_attack_far_below_a_guess_is_as_bad_as_one_above(aucs: tuple[float, ...], worst: float) -> None:
    assert made(*aucs)["leak"] == worst


def test_what_was_not_measured_is_left_out() -> None:
    assert {"leak", "copy"}.isdisjoint(made(filtered={}))


def test_a_question_that_is_not_asked_has_no_numbers() -> None:
    params = EvaluateParams.model_construct(
        measure="auroc", augment=QuestionParams(arms=(), rivals=("classic",)), stand_in=STAND_IN
    )
    assert set(summarise(make_numbers(0.5), FILTERED, params)) == {"usual", "alone", "lag", "copy", "leak"}


def test_they_fit_a_screen_of_100_columns() -> None:
    """As DVC prints them: a column is as wide as its name or its number, and four spaces part them."""
    widths = [max(len(name), len(json.dumps(number))) for name, number in made(0.58).items()]
    assert len(f"{METRICS}/evaluate_summary.json") + sum(width + 4 for width in widths) <= 100
