from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.comparison.gate import Check, check
from stages.comparison.params import EvaluateParams, GateParams

NOTHING: dict[str, Any] = {
    "augment": None,
    "stand_in": None,
    "leak": None,
    "least_gain": None,
    "greatest_copy_rate": None,
    "least_detection": {},
    "greatest_attack_auc": None,
    "greatest_epsilon": None,
}
ALL = {
    "augment": "no_better",
    "stand_in": "undecided",
    "leak": "cannot_tell",
    "least_gain": 0.02,
    "greatest_copy_rate": 0.05,
    "least_detection": {"exact": 0.9, "shift": 0.8},
    "greatest_attack_auc": 0.6,
    "greatest_epsilon": 0.9,
}
Metrics = dict[str, Any]
# Name of a check -> where its figure stands, and whether a figure meets ALL.
FIGURES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "least_gain": ("answers.augment.arms.gan.rivals.classic.mean", lambda x: x >= 0.02),
    "greatest_copy_rate": ("dropped_share", lambda x: x <= 0.05),
    "least_detection.shift": ("planted.shift.detected", lambda x: x >= 0.8),
    "greatest_epsilon": ("answers.leak.sets.gan.promise.published_epsilon", lambda x: x <= 0.9),
    "greatest_attack_auc": ("answers.leak.sets.gan.attacks.nearest.auc", lambda x: 0.4 <= x <= 0.6),
}


@pytest.fixture(scope="module")
def held(make_params: Callable[..., EvaluateParams]) -> Callable[..., list[Check]]:
    """Every check of `demands` on the metrics of evaluate and of one generator's filter."""
    params = make_params(augment={"arms": ["gan", "other"], "rivals": ["classic", "pool"]})

    def run(demands: Metrics, comparison: Metrics, filtered: Metrics, **more: Metrics) -> list[Check]:
        return check(GateParams.model_validate(demands), params, comparison, {"gan": filtered} | more)

    return run


@pytest.fixture(scope="module")
def failed(held: Callable[..., list[Check]]) -> Callable[..., dict[str, str]]:
    """Name of each demand that failed -> its words."""
    return lambda *metrics: {each.demand: each.words for each in held(*metrics) if not each.met}


def put(metrics: tuple[Metrics, Metrics], path: str, figure: float) -> None:
    """Sets the figure in whichever of the two files it stands."""
    *above, last = path.split(".")
    here = metrics[0] if above[:1] == ["answers"] else metrics[1]
    for key in above:
        here = here[key]
    here[last] = figure


def good() -> tuple[Metrics, Metrics]:
    """Metrics that meet ALL: of evaluate and of filter_memorized."""
    arms = {"gan": 0.03, "other": -1.0}
    comparison = {
        "answers": {
            "augment": {
                "outcome": "helps",
                "arms": {
                    arm: {"rivals": {"classic": {"mean": mean}, "pool": {"mean": 0}}} for arm, mean in arms.items()
                },
            },
            "stand_in": {"outcome": "undecided"},
            "leak": {
                "outcome": "no_sign",
                "sets": {
                    "gan": {
                        "published": 1,
                        "promise": {"kept": 1, "published_epsilon": 0.5},
                        "attacks": {"nearest": {"auc": 0.55}, "five_nearest": {"auc": 0.5}},
                    }
                },
            },
        }
    }
    filtered = {
        "dropped_share": 0.01,
        "planted": {"exact": {"detected": 1.0}, "shift": {"detected": 0.9}, "mix": {"detected": 0.1}},
    }
    return comparison, filtered


OUTCOMES = {
    "augment": ["helps", "no_better", "undecided", "worse"],
    "stand_in": ["stands_in", "undecided", "falls_short"],
    "leak": ["no_sign", "cannot_tell", "leaks"],
}


@pytest.mark.parametrize("question", OUTCOMES)
def test_an_answer_is_met_by_itself_and_by_all_better_ones(question: str, failed: Any) -> None:
    """A dead experiment, a question not asked and a missing answer meet no demand."""
    order = OUTCOMES[question]
    for least in order[:-1]:
        for outcome in [*order, "no_answer", "not_asked", None]:
            metrics = good()
            metrics[0]["answers"][question]["outcome"] = outcome
            met = outcome in order and order.index(outcome) <= order.index(least)
            words = failed(NOTHING | {question: least}, *metrics)
            assert (question not in words) == met
            assert met or str(outcome) in words[question]


@pytest.mark.parametrize("question", OUTCOMES)
def test_the_worst_answer_cannot_be_demanded(question: str) -> None:
    with pytest.raises(ValidationError):
        GateParams.model_validate(NOTHING | {question: OUTCOMES[question][-1]})


@pytest.mark.parametrize("name", FIGURES)
@given(figure=st.floats(-1, 1))
def test_each_demand_fails_exactly_when_its_figure_breaks_it(failed: Any, name: str, figure: float) -> None:
    path, meets = FIGURES[name]
    metrics = good()
    put(metrics, path, figure)
    assert set(failed(ALL, *metrics)) == (set() if meets(figure) else {name})


@pytest.mark.parametrize(("name", "figure"), [(name, x) for name in FIGURES for x in (-1.0, 1.0)])
def test_what_is_not_demanded_is_not_looked_at(name: str, figure: float, failed: Any) -> None:
    metrics = good()
    put(metrics, FIGURES[name][0], figure)
    field = name.split(".")[0]
    assert failed(ALL | {field: NOTHING[field]}, *metrics) == {}


def test_null_demands_nothing_even_of_no_metrics(held: Any) -> None:
    assert held(NOTHING, {}, {}) == []


def test_every_failure_is_named_at_once_and_nothing_passes_for_want_of_metrics(held: Any, failed: Any) -> None:
    metrics = good()
    for path, meets in FIGURES.values():
        put(metrics, path, next(x for x in (-1.0, 1.0) if not meets(x)))
    assert set(failed(ALL, *metrics)) == set(FIGURES)
    checks = held(ALL, {}, {})
    assert {each.demand for each in checks} == {*FIGURES, *OUTCOMES, "least_detection.exact"}
    assert not any(each.met for each in checks)


def test_every_generator_must_meet_the_demands_and_is_named(held: Any) -> None:
    comparison, filtered = good()
    leaky = good()[1] | {"dropped_share": 0.5}
    checks = held(ALL, comparison, filtered, gaussian=leaky)
    assert [each.words for each in checks if not each.met] == [
        "share of the images of gaussian dropped as copies: 0.5, demanded at most 0.05"
    ]
    assert len(checks) == len(held(ALL, comparison, filtered)) + 3


def test_words_hold_the_figure_and_the_demand(failed: Any) -> None:
    comparison, filtered = good()
    filtered["planted"]["shift"]["detected"] = 0.79999
    words = failed(ALL, comparison, filtered)["least_detection.shift"]
    assert words == "share found of the copies planted for gan: 0.79999, demanded at least 0.8"


def test_the_best_arm_brings_the_gain_over_the_first_rival(held: Any) -> None:
    words = [each.words for each in held(ALL, *good()) if each.demand == "least_gain"]
    assert words == ["accuracy of gan, the best arm, over classic: 0.03, demanded at least 0.02"]


def test_an_attack_that_is_wrong_too_often_fails_too(failed: Any) -> None:
    comparison, filtered = good()
    put((comparison, filtered), "answers.leak.sets.gan.attacks.nearest.auc", 0.3)
    words = failed(ALL, comparison, filtered)["greatest_attack_auc"]
    assert words == "AUC of the attack nearest on the images of gan: 0.3, demanded at least 0.4"


def sets_of(comparison: Metrics) -> Metrics:
    return comparison["answers"]["leak"]["sets"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        (
            "least_gain",
            lambda c, _: c["answers"]["augment"]["arms"].pop("other"),
            "no mean accuracy of other against classic",
        ),
        ("greatest_copy_rate", lambda _, f: f.pop("dropped_share"), "filter_memorized/gan.json has no share"),
        (
            "least_detection.shift",
            lambda _, f: f["planted"].pop("shift"),
            "copies planted for gan (kinds planted: exact, mix)",
        ),
        ("greatest_attack_auc", lambda c, _: sets_of(c)["gan"].pop("attacks"), "no AUC of the attack of any kind"),
        ("greatest_attack_auc", lambda c, _: sets_of(c).clear(), "no AUC of the attack of any kind"),
        (
            "greatest_attack_auc",
            lambda c, _: sets_of(c)["gan"]["attacks"]["nearest"].clear(),
            "no AUC of the attack nearest",
        ),
        ("greatest_epsilon", lambda c, _: sets_of(c)["gan"].pop("promise"), "no epsilon of the images of gan"),
        ("greatest_epsilon", lambda c, _: sets_of(c)["gan"]["promise"].update(kept=0), "no epsilon of the images"),
        ("greatest_copy_rate", lambda _, f: f.update(dropped_share=float("nan")), "nan, demanded at most 0.05"),
        ("greatest_attack_auc", lambda c, _: sets_of(c).update(gan=["?"]), "no AUC of the attack of any kind"),
    ],
)
def test_a_figure_that_the_metrics_lack_fails_in_words(
    failed: Any, name: str, spoil: Callable[[Metrics, Metrics], None], words: str
) -> None:
    metrics = good()
    spoil(*metrics)
    assert words in failed(ALL, *metrics)[name]
