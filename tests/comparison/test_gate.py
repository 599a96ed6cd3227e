from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.comparison.gate import check
from stages.comparison.params import ContrastParams, GateParams

CONTRAST = ContrastParams(arms=("gan", "synthetic"), rivals=("classic", "pool"), measure="accuracy")
NOTHING = {
    "least_gain": None,
    "greatest_harm": None,
    "greatest_copy_rate": None,
    "least_detection": {},
    "greatest_attack_auc": None,
}
ALL = {
    "least_gain": 0.02,
    "greatest_harm": 0.01,
    "greatest_copy_rate": 0.05,
    "least_detection": {"exact": 0.9, "shift": 0.8},
    "greatest_attack_auc": 0.6,
}
Metrics = dict[str, Any]
# Name of a check -> where its figure stands, and whether a figure meets ALL.
FIGURES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "least_gain": ("differences.gan.classic.accuracy.mean", lambda x: x >= 0.02),
    "greatest_harm": ("differences.synthetic.pool.accuracy.high", lambda x: x >= -0.01),
    "greatest_copy_rate": ("dropped_share", lambda x: x <= 0.05),
    "least_detection.shift": ("planted.shift.detected", lambda x: x >= 0.8),
    "greatest_attack_auc": ("attacks.after.domias.auc", lambda x: x <= 0.6),
}


def put(metrics: tuple[Metrics, Metrics], path: str, figure: float) -> None:
    """Sets the figure in whichever of the two files it stands."""
    *above, last = path.split(".")
    here = metrics[0] if above[:1] == ["differences"] else metrics[1]
    for key in above:
        here = here[key]
    here[last] = figure


def good() -> tuple[Metrics, Metrics]:
    """Metrics that meet ALL: of evaluate and of filter_memorized."""

    def difference(mean: float) -> Metrics:
        return {"accuracy": {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "p": 0.5}}

    comparison = {
        "replicates": 10,
        "differences": {
            "gan": {"classic": difference(0.03), "pool": difference(0.0)},
            "synthetic": {"classic": difference(-0.02), "pool": difference(-0.01)},
        },
    }
    filtered = {
        "dropped_share": 0.01,
        "planted": {"exact": {"detected": 1.0}, "shift": {"detected": 0.9}, "mix": {"detected": 0.1}},
        "attacks": {
            "before": {"distance": {"auc": 0.9}, "domias": {"auc": 0.9}},
            "after": {"distance": {"auc": 0.55}, "domias": {"auc": 0.5}},
        },
    }
    return comparison, filtered


def failed(demands: Metrics, comparison: Metrics, filtered: Metrics) -> dict[str, str]:
    """Name of each demand that failed -> its words."""
    checks = check(GateParams.model_validate(demands), CONTRAST, comparison, {"gan": filtered})
    return {each.demand: each.words for each in checks if not each.met}


@pytest.mark.parametrize("name", FIGURES)
@given(figure=st.floats(-1, 1))
def test_each_demand_fails_exactly_when_its_figure_breaks_it(name: str, figure: float) -> None:
    path, meets = FIGURES[name]
    metrics = good()
    put(metrics, path, figure)
    assert set(failed(ALL, *metrics)) == (set() if meets(figure) else {name})


@pytest.mark.parametrize(("name", "figure"), [(name, x) for name in FIGURES for x in (-1.0, 1.0)])
def test_what_is_not_demanded_is_not_looked_at(name: str, figure: float) -> None:
    metrics = good()
    put(metrics, FIGURES[name][0], figure)
    field = name.split(".")[0]
    assert failed(ALL | {field: NOTHING[field]}, *metrics) == {}


def test_null_demands_nothing_even_of_no_metrics() -> None:
    assert check(GateParams.model_validate(NOTHING), CONTRAST, {}, {"gan": {}}) == []


def test_every_failure_is_named_at_once_and_nothing_passes_for_want_of_metrics() -> None:
    metrics = good()
    for path, meets in FIGURES.values():
        put(metrics, path, next(x for x in (-1.0, 1.0) if not meets(x)))
    assert set(failed(ALL, *metrics)) == set(FIGURES)
    checks = check(GateParams.model_validate(ALL), CONTRAST, {}, {"gan": {}})
    assert {each.demand for each in checks} == {*FIGURES, "least_detection.exact"}
    assert not any(each.met for each in checks)


def test_every_generator_must_meet_the_demands_and_is_named() -> None:
    comparison, filtered = good()
    leaky = good()[1] | {"dropped_share": 0.5}
    checks = check(GateParams.model_validate(ALL), CONTRAST, comparison, {"gan": filtered, "gaussian": leaky})
    assert [each.words for each in checks if not each.met] == [
        "share of the images of gaussian dropped as copies: 0.5, demanded at most 0.05"
    ]
    alone = check(GateParams.model_validate(ALL), CONTRAST, comparison, {"gan": filtered})
    assert len(checks) == len(alone) + 5


def test_words_hold_the_figure_and_the_demand() -> None:
    comparison, filtered = good()
    filtered["planted"]["shift"]["detected"] = 0.79999
    words = failed(ALL, comparison, filtered)["least_detection.shift"]
    assert words == "share found of the copies planted for gan: 0.79999, demanded at least 0.8"


def test_the_best_arm_brings_the_gain_and_every_arm_may_harm() -> None:
    comparison, filtered = good()
    checks = check(GateParams.model_validate(ALL), CONTRAST, comparison, {"gan": filtered})
    of = {
        demand: [each.words for each in checks if each.demand == demand] for demand in ("least_gain", "greatest_harm")
    }
    assert of["least_gain"] == ["accuracy of gan, the best arm, over classic: 0.03, demanded at least 0.02"]
    assert len(of["greatest_harm"]) == len(CONTRAST.arms) * len(CONTRAST.rivals)


def test_a_loss_that_may_be_chance_is_no_harm() -> None:
    comparison, filtered = good()
    comparison["differences"]["synthetic"]["classic"]["accuracy"] = {"mean": -0.2, "low": -0.4, "high": 0.0}
    assert failed(ALL | {"least_gain": None}, comparison, filtered) == {}


def test_one_replicate_cannot_show_that_there_is_no_harm() -> None:
    comparison, filtered = good()
    comparison["replicates"] = 1
    for rivals in comparison["differences"].values():
        for measures in rivals.values():
            measures["accuracy"] = {"mean": measures["accuracy"]["mean"]}
    words = failed(ALL, comparison, filtered)
    assert set(words) == {"greatest_harm"}
    assert "one replicate has no interval" in words["greatest_harm"]


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("least_gain", lambda c, _: c["differences"].pop("synthetic"), "no mean accuracy of synthetic against classic"),
        (
            "greatest_harm",
            lambda c, _: c["differences"]["gan"].pop("pool"),
            "no upper end of the interval of accuracy of gan against pool",
        ),
        ("greatest_copy_rate", lambda _, f: f.pop("dropped_share"), "filter_memorized/gan.json has no share"),
        (
            "least_detection.shift",
            lambda _, f: f["planted"].pop("shift"),
            "copies planted for gan (kinds planted: exact, mix)",
        ),
        ("greatest_attack_auc", lambda _, f: f.pop("attacks"), "no AUC of the attack of any kind"),
        ("greatest_attack_auc", lambda _, f: f["attacks"]["after"]["domias"].clear(), "no AUC of the attack domias"),
        ("greatest_copy_rate", lambda _, f: f.update(dropped_share=float("nan")), "nan, demanded at most 0.05"),
        ("greatest_attack_auc", lambda _, f: f.update(attacks=["?"]), "no AUC of the attack of any kind"),
    ],
)
def test_a_figure_that_the_metrics_lack_fails_in_words(
    name: str, spoil: Callable[[Metrics, Metrics], None], words: str
) -> None:
    metrics = good()
    spoil(*metrics)
    assert words in failed(ALL, *metrics)[name]
