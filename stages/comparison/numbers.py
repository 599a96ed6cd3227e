"""All numbers of metrics/evaluate.json: the answers and the contrasts that they rest on, and what lies beside them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.comparison.contrasts import Measured
from stages.comparison.evidence import Evidence, Outcomes
from stages.comparison.measures import measure, per_class
from stages.comparison.params import EvaluateParams
from stages.comparison.questions import answers, warnings
from stages.comparison.scores import MEASURES, Scores, score_models, summarise
from stages.comparison.worth import Worth, worth_in_labels

if TYPE_CHECKING:
    from stages.comparison.fidelity import Fidelity

Floats = NDArray[np.float64]

NETWORK = "network"  # among the classifiers, the one that the arms are about

Numbers = dict[str, Any]


def all_numbers(evidence: Evidence) -> tuple[Numbers, Scores]:
    """Nested numbers, shares in 0..1 but for log loss, Brier score and distances; and each arm's scores by replicate.

    Arms in question meet all their rivals, every other arm the first rival, as exploration. A part that the data do not
    allow (`worth`, `fidelity`, ...) is left out; one replicate leaves means alone.
    """
    outcomes, classes, params = evidence.outcomes, evidence.classes, evidence.params
    measured = Measured(outcomes.predictions, classes, params, outcomes.groups)
    models = score_models(outcomes.models, outcomes.predictions)
    arms = {
        arm: further | {name: summarise(values) for name, values in measured.scores[arm].items()}
        for arm, further in measure(outcomes.predictions).items()
    }
    parts = {
        "per_class": {
            arm: {classes[int(row.pop("class"))]: row for row in per_class(outcomes.predictions, arm)}
            for arm in (*params.arms, *params.rivals)
        },
        "controls": _differences(measured, outcomes.controls),
        "models": _models(models, measured),
        "fidelity": _by_generator([each.fidelity for each in outcomes.examinations], classes),
        "fidelity_pretrained": _by_generator([each.pretrained for each in outcomes.examinations], classes),
        "robustness": _robustness([each.robustness for each in outcomes.examinations]),
    } | _worth(outcomes, measured, len(classes))
    numbers = {
        "answers": answers(evidence, measured),
        "warnings": warnings(evidence, measured, models),
        "labels": {"total": evidence.labelled + evidence.validation}
        | {"train": evidence.labelled, "validation": evidence.validation},
        "replicates": measured.replicates,
        "arms": arms,
        "differences": _differences(measured, _pairs(list(arms), params)),
        "labels_used": {arm: each["labels_used"] for arm, each in outcomes.facts.items()},
    }
    return numbers | {name: part for name, part in parts.items() if part}, measured.scores


def _pairs(arms: list[str], params: EvaluateParams) -> list[tuple[str, str]]:
    """Every arm of a question against its rivals, and every other arm against the first rival."""
    others = [arm for arm in arms if arm not in params.arms and arm != params.reference]
    return params.pairs + [(arm, params.reference) for arm in others]


def _differences(measured: Measured, pairs: Iterable[tuple[str, str]]) -> Numbers:
    """Arm -> other arm -> measure -> paired difference with its interval."""
    table: Numbers = {}
    for arm, other in pairs:
        table.setdefault(arm, {})[other] = measured.differences(arm, other)
    return table


def _models(models: Mapping[str, Mapping[str, Mapping[str, Floats]]], measured: Measured) -> Numbers:
    """Classifier -> arm -> {mean, std} on the answers' measure, or accuracy where that needs probabilities, which
    scikit-learn's classifiers were not asked for."""
    key = measured.params.measure_key
    name, table = key if key in MEASURES else MEASURES[0], dict[str, Numbers]()
    for arm, of_arm in models.items():
        for classifier, values in of_arm.items():
            table.setdefault(classifier, {})[arm] = summarise(values[name])
    return {NETWORK: {arm: summarise(values[name]) for arm, values in measured.scores.items()}} | table if table else {}


def _worth(outcomes: Outcomes, measured: Measured, classes: int) -> Numbers:
    """`learning_curve`: labels per class -> {mean, std}, and `worth`: arm in question -> what it reaches on it."""
    params, facts = measured.params, outcomes.facts
    scores = {arm: values[params.measure_key] for arm, values in measured.scores.items()}
    budgets = {round(facts[arm]["labels_used"] / classes): arm for arm in params.learning_curve}
    curve = {budget: scores[arm] for budget, arm in sorted(budgets.items())}
    if len(curve) < 2:
        return {}
    numbers: Numbers = {"learning_curve": {str(budget): summarise(values) for budget, values in curve.items()}}
    if measured.draws is None:
        return numbers
    draws = {arm: of[params.measure_key] for arm, of in measured.draws.means.items()}
    drawn = {budget: draws[arm] for budget, arm in budgets.items()}
    numbers["worth"] = {
        arm: _of_arm(
            worth_in_labels(curve, scores[arm], drawn, draws[arm], params.confidence),
            outcomes.words[arm],
            round(facts[arm]["labels_used"] / classes),
        )
        for arm in params.arms
    }
    return numbers


def _of_arm(worth: Worth, words: str, labels: int) -> Numbers:
    """An arm's worth in numbers and words; words: its name in these; labels: how many it used per class."""
    bounds = {name: getattr(worth, name) for name in ("labels", "low", "high")}
    finite = {name: value for name, value in bounds.items() if 0 < value < math.inf}
    return {"labels_per_class": labels, "sentence": worth.sentence(words, labels), **finite}


def _by_generator(found: Sequence[Mapping[str, "Fidelity | None"]], classes: Sequence[str]) -> Numbers:
    """Generator -> how like real images its synthetic ones are, of those that have images enough to say."""
    names = found[0] if found else {}
    numbers = {name: _fidelity([each[name] for each in found], classes) for name in names}
    return {name: own for name, own in numbers.items() if own}


def _fidelity(of_replicates: Sequence["Fidelity | None"], classes: Sequence[str]) -> Numbers:
    """Means over the replicates that allow figures at all, and deviations for all classes together."""
    known = [each for each in of_replicates if each is not None]
    if not known:
        return {}
    from stages.comparison.fidelity import two_sample  # torch, which only examined images need

    labels = sorted(set.intersection(*(set(each.classes) for each in known)))
    by_class = {label: [each.classes[label] for each in known] for label in labels}
    return {
        "images": min(each.images for each in known),
        "two_sample": two_sample(known),
        "measures": _summaries(each.measures for each in known),
        "floor": _summaries(each.floor for each in known),
        "classes": {
            classes[label]: {
                "images": min(each.images for each in own),
                "real_share": float(np.mean([each.real_share for each in own])),
                "synthetic_share": float(np.mean([each.synthetic_share for each in own])),
                "measures": _means(each.measures for each in own),
                "floor": _means(each.floor for each in own),
            }
            for label, own in by_class.items()
        },
    }


def _robustness(of_replicates: Sequence[Mapping[str, Mapping[str, float]]]) -> Numbers:
    """Arm -> disturbance -> {mean, std}."""
    arms = of_replicates[0] if of_replicates else {}
    return {arm: _summaries(each[arm] for each in of_replicates) for arm in arms}


def _summaries(measured: Iterable[Mapping[str, float]]) -> Numbers:
    return {name: summarise(values) for name, values in _columns(measured).items()}


def _means(measured: Iterable[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in _columns(measured).items()}


def _columns(measured: Iterable[Mapping[str, float]]) -> dict[str, Floats]:
    """Measure -> (R,), of those that every replicate has."""
    rows = list(measured)
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: np.array([row[name] for row in rows]) for name in shared}
