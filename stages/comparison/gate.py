"""What a project demands of its metrics, held against them one figure at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stages.comparison.budget import kept_epsilon
from stages.comparison.params import EvaluateParams, GateParams
from stages.comparison.wording import measure_words

Metrics = Mapping[str, Any]
# The outcomes that may be demanded of each question, the best first.
ACCEPTED: dict[str, tuple[str, ...]] = {
    "augment": ("helps", "no_better", "undecided"),
    "stand_in": ("stands_in", "undecided"),
    "leak": ("no_sign", "cannot_tell"),
}


@dataclass(frozen=True)
class Check:
    """One figure held against one demand: the demand's name in params.yaml, and both numbers in words."""

    demand: str
    met: bool
    words: str


def check(
    demands: GateParams, params: EvaluateParams, comparison: Metrics, filtered: Mapping[str, Metrics]
) -> list[Check]:
    """Every demand that is made, met or not; a demand on a figure that the metrics lack is not met.

    params: the section `evaluate`. comparison: metrics/evaluate.json. filtered: generator ->
    metrics/filter_memorized/<generator>.json; each must meet the demands. Figures are shares in 0..1, differences in
    -1..1; a figure that equals its demand meets it.
    """
    answers = [_answer(question, getattr(demands, question), comparison) for question in ACCEPTED]
    checks = [each for each in answers if each] + [*_gain(demands.least_gain, params, comparison)]
    checks += [*_attacks(demands.greatest_attack_auc, comparison), *_budgets(demands.greatest_epsilon, comparison)]
    return checks + [each for name, metrics in filtered.items() for each in _of_filter(demands, name, metrics)]


def _answer(question: str, least: str | None, comparison: Metrics) -> Check | None:
    """An outcome that is demanded is met by itself and by those before it in ACCEPTED; an outcome that is not there, as
    of a dead experiment, by none."""
    if least is None:
        return None
    outcome = _section(comparison, "answers", question).get("outcome")
    accepted = ACCEPTED[question][: ACCEPTED[question].index(least) + 1]
    return Check(question, outcome in accepted, f"{outcome}, demanded {' or '.join(accepted)}")


def _gain(least: float | None, params: EvaluateParams, comparison: Metrics) -> Iterator[Check]:
    """Of the best arm of `augment` over its first rival, in the mean."""
    if least is None:
        return
    (rival, *_), arms, words = params.augment.rivals, params.augment.arms, measure_words(params.measure)
    gains = {arm: _figure(comparison, "answers", "augment", "arms", arm, "rivals", rival, "mean") for arm in arms}
    known = {arm: gain for arm, gain in gains.items() if gain is not None}
    if missing := [arm for arm in gains if arm not in known]:
        of = f"mean {words} of {', '.join(missing)} against {rival}"
        yield _held("least_gain", "evaluate", of, None, "least", least)
        return
    best = max(known, key=known.__getitem__)
    yield _held("least_gain", "evaluate", f"{words} of {best}, the best arm, over {rival}", known[best], "least", least)


def _attacks(greatest: float | None, comparison: Metrics) -> Iterator[Check]:
    """Every attack on every published set. An AUC far below 0.5 tells as much as one as far above: who turns the attack
    round has the other."""
    if greatest is None:
        return
    for name, of in (_section(comparison, "answers", "leak", "sets") or {"any generator": {}}).items():
        attacks = _section(of, "attacks") if isinstance(of, Mapping) else {}
        for kind in attacks or ["of any kind"]:
            words, auc = f"AUC of the attack {kind} on the images of {name}", _figure(attacks, kind, "auc")
            yield _held("greatest_attack_auc", "evaluate", words, auc, "most", greatest)
            if auc is not None and auc < 1 - greatest:
                yield _held("greatest_attack_auc", "evaluate", words, auc, "least", 1 - greatest)


def _budgets(greatest: float | None, comparison: Metrics) -> Iterator[Check]:
    """The epsilon of every set that is given away, of all replicates together; a set that keeps none fails."""
    if greatest is None:
        return
    for name, of in (_section(comparison, "answers", "leak", "sets") or {"any generator": {"published": 1}}).items():
        if isinstance(of, Mapping) and of.get("published"):
            words, epsilon = f"epsilon of the images of {name}", kept_epsilon(_section(of, "promise"))
            yield _held("greatest_epsilon", "evaluate", words, epsilon, "most", greatest)


def _of_filter(demands: GateParams, generator: str, filtered: Metrics) -> Iterator[Check]:
    """Copies dropped, and planted copies found, kind by kind; mirrored ones are planted only where a mirrored image
    keeps its class."""
    file = f"filter_memorized/{generator}"
    if demands.greatest_copy_rate is not None:
        words, share = f"share of the images of {generator} dropped as copies", _figure(filtered, "dropped_share")
        yield _held("greatest_copy_rate", file, words, share, "most", demands.greatest_copy_rate)
    planted = _section(filtered, "planted")
    for kind, least in demands.least_detection.items():
        words, found = f"share found of the copies planted for {generator}", _figure(planted, kind, "detected")
        if found is None:
            words += f" (kinds planted: {', '.join(planted) or 'none'})"
        yield _held(f"least_detection.{kind}", file, words, found, "least", least)


def _held(
    demand: str, file: str, words: str, figure: float | None, bound: Literal["least", "most"], demanded: float
) -> Check:
    """A figure, None where metrics/<file>.json lacks it, against the least or the most that is demanded."""
    if figure is None:
        return Check(demand, False, f"metrics/{file}.json has no {words}")
    met = figure >= demanded if bound == "least" else figure <= demanded
    return Check(demand, met, f"{words}: {figure:.6g}, demanded at {bound} {demanded:g}")


def _section(metrics: Metrics, *keys: str) -> Metrics:
    """What lies below the keys; empty where nothing does."""
    here: Any = metrics
    for key in keys:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def _figure(metrics: Metrics, *keys: str) -> float | None:
    """The number at the end of the keys, or None."""
    *above, last = keys
    number = _section(metrics, *above).get(last)
    return number if isinstance(number, int | float) else None
