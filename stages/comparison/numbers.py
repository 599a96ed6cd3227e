"""All numbers of metrics/evaluate.json: the comparison and its verdict, and what lies beside them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.comparison.evidence import Outcomes
from stages.comparison.measures import measure, per_class
from stages.comparison.params import EvaluateParams
from stages.comparison.scores import Scores, score, score_models, summarise
from stages.comparison.verdict import Draws, compare, draw_means, paired
from stages.comparison.worth import Worth, worth_in_labels

if TYPE_CHECKING:
    from stages.comparison.fidelity import Fidelity

NETWORK = "network"  # among the classifiers, the one that the arms are about

Numbers = dict[str, Any]


def all_numbers(outcomes: Outcomes, classes: Sequence[str], params: EvaluateParams) -> tuple[Numbers, Scores]:
    """Nested numbers, shares in 0..1 but for log loss, Brier score and distances; and each arm's scores by replicate.

    classes: their names. A part that the data do not allow (`worth`, `fidelity`, ...) is left out.
    """
    predictions = outcomes.predictions
    scores, draws = score(predictions), draw_means(predictions, params, outcomes.groups)
    labels_used = {arm: each["labels_used"] for arm, each in outcomes.facts.items()}
    numbers = compare(predictions, scores, draws, labels_used, params, outcomes.groups)
    for arm, further in measure(predictions).items():
        numbers["arms"][arm] |= further
    numbers["per_class"] = {
        arm: {classes[int(row.pop("class"))]: row for row in per_class(predictions, arm)}
        for arm in (*params.contrast.arms, *params.contrast.rivals)
    }
    parts = {
        "controls": _controls(outcomes, scores, draws, params),
        "models": _models(outcomes, scores, params),
        "fidelity": _fidelity_by_generator(outcomes, classes),
        "robustness": _robustness([each.robustness for each in outcomes.examinations]),
    } | _worth(outcomes, scores, draws, len(classes), params)
    return numbers | {name: part for name, part in parts.items() if part}, scores


def _controls(outcomes: Outcomes, scores: Scores, draws: Draws, params: EvaluateParams) -> Numbers:
    """Arm -> control, that differs in nothing but the generator -> measure -> paired difference with its interval."""
    table: Numbers = {}
    for arm, control in outcomes.controls:
        table.setdefault(arm, {})[control] = paired(arm, control, scores, draws, params.confidence)
    return table


def _models(outcomes: Outcomes, scores: Scores, params: EvaluateParams) -> Numbers:
    """Classifier -> arm -> {mean, std} on the contrast's measure."""
    name, table = params.contrast.measure, dict[str, Numbers]()
    for arm, of_arm in score_models(outcomes.models, outcomes.predictions).items():
        for classifier, values in of_arm.items():
            table.setdefault(classifier, {})[arm] = summarise(values[name])
    return {NETWORK: {arm: summarise(values[name]) for arm, values in scores.items()}} | table if table else {}


def _worth(outcomes: Outcomes, scores: Scores, draws: Draws, classes: int, params: EvaluateParams) -> Numbers:
    """`learning_curve`: labels per class -> {mean, std}, and `worth`: arm of the contrast -> what it reaches on it."""
    name, facts = params.contrast.measure, outcomes.facts
    budgets = {round(facts[arm]["trained_on_labels"] / classes): arm for arm in params.learning_curve}
    curve = {budget: scores[arm][name] for budget, arm in sorted(budgets.items())}
    if len(curve) < 2:
        return {}
    numbers: Numbers = {"learning_curve": {str(budget): summarise(values) for budget, values in curve.items()}}
    if not draws:
        return numbers
    drawn = {budget: draws[arm][name] for budget, arm in budgets.items()}
    numbers["worth"] = {
        arm: _of_arm(
            worth_in_labels(curve, scores[arm][name], drawn, draws[arm][name], params.confidence),
            arm,
            facts[arm],
            classes,
        )
        for arm in params.contrast.arms
    }
    return numbers


def _of_arm(worth: Worth, arm: str, facts: Mapping[str, Any], classes: int) -> Numbers:
    """An arm's worth in numbers and words. The words say that labels were used to choose by, which a plain training on
    as many labels would not need."""
    learned, used = facts["labels_of_train"] / classes, facts["labels_used"] / classes
    choices = f"; choices took {used - learned:g} more labels per class" if worth.supported and used > learned else ""
    bounds = {name: getattr(worth, name) for name in ("labels", "low", "high")}
    finite = {name: value for name, value in bounds.items() if 0 < value < math.inf}
    sentence = worth.sentence(arm, round(learned))
    return {"labels_per_class": round(learned), "sentence": f"{sentence}{choices}.", **finite}


def _fidelity_by_generator(outcomes: Outcomes, classes: Sequence[str]) -> Numbers:
    """Generator -> how like real images its synthetic ones are, of those that have images enough to say."""
    names = outcomes.examinations[0].fidelity if outcomes.examinations else {}
    found = {name: _fidelity([each.fidelity[name] for each in outcomes.examinations], classes) for name in names}
    return {name: numbers for name, numbers in found.items() if numbers}


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


def _columns(measured: Iterable[Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Measure -> (R,), of those that every replicate has."""
    rows = list(measured)
    shared = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: np.array([row[name] for row in rows]) for name in shared}
