"""From scores to the numbers of metrics/evaluate.json and a verdict in plain words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.comparison.params import EvaluateParams
from stages.comparison.power import MOST_REPLICATES, Criterion, Power, foresee
from stages.comparison.scores import MEASURES, Predictions, Scores, summarise
from stages.comparison.statistics import (
    Groups,
    bootstrap_means,
    equivalence_confidence,
    holm,
    is_equivalent,
    least_p,
    paired_differences,
    percentile_interval,
    sign_flip_p,
    variance_parts,
)
from stages.plumbing.errors import UserError

Outcome = Literal["helps", "hurts", "equivalent", "undecided"]
Pair = tuple[str, str]
Draws = Mapping[str, Mapping[str, NDArray[np.float64]]]
Powers = Mapping[str, Mapping[str, Power]]

ROUNDING = 1e-9  # of a mean of differences: less is 0
# Variances need fewer resamples than an interval's ends do.
VARIANCE_RESAMPLES = 500
MEASURE_NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1"}
ANSWERS: dict[Outcome, str] = {
    "helps": "Yes",
    "hurts": "No",
    "equivalent": "No difference that matters",
    "undecided": "Not decided",
}


@dataclass(frozen=True)
class Evidence:
    """What is known of one arm against one rival on the measure named; shares, not points.

    `low` and `high` bound the interval at the confidence level, `inner` is the narrower interval of the
    equivalence test, `power` what such replicates can find. With one replicate there is a mean and nothing else.
    """

    rival: str
    mean: float
    low: float = np.nan
    high: float = np.nan
    p_holm: float = np.nan
    inner: tuple[float, float] = (np.nan, np.nan)
    power: Power | None = None


@dataclass(frozen=True)
class Rule:
    """What evidence is held against: all that a verdict depends on beside the evidence."""

    measure: str
    confidence: float
    margin: float
    replicates: int
    contrasts: int

    def gains(self, evidence: Evidence) -> bool:
        """Both must agree: Holm's p knows the replicates alone, the interval also the choice of test images."""
        return evidence.p_holm <= self.level and evidence.low > 0

    def loses(self, evidence: Evidence) -> bool:
        return evidence.p_holm <= self.level and evidence.high < 0

    def level_with(self, evidence: Evidence) -> bool:
        return is_equivalent(*evidence.inner, self.margin)

    @property
    def level(self) -> float:
        return round(1 - self.confidence, 12)

    @property
    def criterion(self) -> Criterion:
        return Criterion(self.level, self.contrasts)


@dataclass(frozen=True)
class Verdict:
    """Outcome and one sentence; `arms` holds one verdict per arm of the contrast in the overall one."""

    outcome: Outcome
    sentence: str
    arms: dict[str, "Verdict"] = field(default_factory=dict)


def compare(
    predictions: Predictions,
    scores: Scores,
    draws: Draws,
    labels_used: Mapping[str, int],
    params: EvaluateParams,
    groups: Groups | None = None,
) -> dict[str, Any]:
    """What is compared in metrics/evaluate.json, shares in 0..1 and differences in -1..1.

    scores: as `score(predictions)` returns them; draws: as `draw_means` does with the same groups. labels_used: arm ->
    labels that its training and its choices took. groups: (n,) the patient, speaker, ... of every test image, where it
    is these that were sampled.
    The arms of the contrast meet all their rivals; every other arm meets the first rival, as exploration. Holm's
    p (`p_holm`) and `power` are there for the contrast on its measure only. One replicate leaves means alone: no
    deviation, no interval, no p, no power. Raises UserError when an arm or rival of the contrast has no predictions.
    """
    _check_named(scores, params)
    replicates = len(predictions.replicates)
    powers = _powers(predictions, scores, params, groups) if draws else {}
    differences: dict[str, Any] = {}
    for arm, against in _pairs(list(scores), params):
        differences.setdefault(arm, {})[against] = _differences(arm, against, scores, draws, params)
    if draws:
        _add_holm(differences, params)
    verdict = judge(_evidence(differences, draws, powers, params), _rule(params, replicates))
    return {
        "arms": {arm: {m: summarise(values[m]) for m in MEASURES} for arm, values in scores.items()},
        "differences": differences,
        "power": {arm: {rival: _numbers(power) for rival, power in of.items()} for arm, of in powers.items()},
        "verdict": {
            "outcome": verdict.outcome,
            "sentence": verdict.sentence,
            "arms": {a: {"outcome": v.outcome, "sentence": v.sentence} for a, v in verdict.arms.items()},
        },
        "replicates": replicates,
        "labels_used": dict(labels_used),
    }


def draw_means(predictions: Predictions, params: EvaluateParams, groups: Groups | None = None) -> Draws:
    """Arm -> measure -> bootstrap draws of its mean score; nothing of one replicate, which allows no interval."""
    if len(predictions.replicates) == 1:
        return {}
    return bootstrap_means(
        predictions.truth, predictions.arms, predictions.classes, params.bootstrap, params.seed, groups
    )


def named_pairs(params: EvaluateParams) -> list[Pair]:
    """The contrasts that the verdict is about: every arm against every rival."""
    return [(arm, rival) for arm in params.contrast.arms for rival in params.contrast.rivals]


def _check_named(scores: Scores, params: EvaluateParams) -> None:
    for name in (*params.contrast.arms, *params.contrast.rivals):
        if name not in scores:
            raise UserError(
                f"evaluate.contrast names the arm {name}, which has no predictions; there are {', '.join(scores)}"
            )


def _pairs(arms: list[str], params: EvaluateParams) -> list[Pair]:
    baseline = params.contrast.rivals[0]
    others = [arm for arm in arms if arm not in params.contrast.arms and arm != baseline]
    return named_pairs(params) + [(arm, baseline) for arm in others]


def _powers(
    predictions: Predictions, scores: Scores, params: EvaluateParams, groups: Groups | None
) -> dict[str, dict[str, Power]]:
    """Arm of the contrast -> rival -> what replicates like these can find on the measure of the contrast."""
    measure, replicates = params.contrast.measure, len(predictions.replicates)
    criterion = _rule(params, replicates).criterion
    powers: dict[str, dict[str, Power]] = {arm: {} for arm in params.contrast.arms}
    for arm, rival in named_pairs(params):
        pair = (predictions.arms[arm], predictions.arms[rival])
        parts = variance_parts(
            predictions.truth, pair, predictions.classes, measure, VARIANCE_RESAMPLES, params.seed, groups
        )
        seen = float(paired_differences(scores[arm][measure], scores[rival][measure]).mean())
        powers[arm][rival] = foresee(parts, replicates, seen, params.margin, criterion)
    return powers


def _numbers(power: Power) -> dict[str, float]:
    return {name: number for name, number in asdict(power).items() if number is not None}


def paired(arm: str, against: str, scores: Scores, draws: Draws, confidence: float) -> dict[str, dict[str, float]]:
    """Measure -> `mean` paired difference, and the bounds of its interval, `low` and `high`, where there are draws."""
    table = {}
    for measure in MEASURES:
        table[measure] = {"mean": float(paired_differences(scores[arm][measure], scores[against][measure]).mean())}
        if draws:
            spread = draws[arm][measure] - draws[against][measure]
            table[measure] |= dict(zip(("low", "high"), percentile_interval(spread, confidence), strict=True))
    return table


def _differences(
    arm: str, against: str, scores: Scores, draws: Draws, params: EvaluateParams
) -> dict[str, dict[str, float]]:
    """Measure -> mean, and low, high and p where the replicates allow them."""
    table = paired(arm, against, scores, draws, params.confidence)
    for measure, entry in table.items() if draws else ():
        differences = paired_differences(scores[arm][measure], scores[against][measure])
        entry["p"] = sign_flip_p(differences, params.seed)
    return table


def _add_holm(differences: dict[str, Any], params: EvaluateParams) -> None:
    rows = [differences[arm][rival][params.contrast.measure] for arm, rival in named_pairs(params)]
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted


def _rule(params: EvaluateParams, replicates: int) -> Rule:
    return Rule(
        MEASURE_NAMES[params.contrast.measure],
        params.confidence,
        params.margin,
        replicates,
        len(named_pairs(params)),
    )


def _evidence(
    differences: dict[str, Any], draws: Draws, powers: Powers, params: EvaluateParams
) -> dict[str, list[Evidence]]:
    measure = params.contrast.measure
    evidence: dict[str, list[Evidence]] = {arm: [] for arm in params.contrast.arms}
    for arm, rival in named_pairs(params):
        row = differences[arm][rival][measure]
        if draws:
            spread = draws[arm][measure] - draws[rival][measure]
            inner = percentile_interval(spread, equivalence_confidence(params.confidence))
            evidence[arm].append(
                Evidence(rival, row["mean"], row["low"], row["high"], row["p_holm"], inner, powers[arm][rival])
            )
        else:
            evidence[arm].append(Evidence(rival, row["mean"]))
    return evidence


def judge(evidence: Mapping[str, list[Evidence]], rule: Rule) -> Verdict:
    """Verdict on every arm, and on the question as a whole.

    The question is whether there is a named way to use the generated images that helps. So the whole helps when an
    arm does (Holm has paid for there being several) and hurts when every arm hurts; otherwise the arms that do not
    hurt decide: undecided when one of them is, else equivalent. The sentence names every arm, and of the deciding ones
    the difference from the strongest rival; each arm's own sentence has all of them.
    """
    outcomes = {arm: arm_outcome(rivals, rule) for arm, rivals in evidence.items()}
    order: tuple[Outcome, ...] = ("helps", "undecided", "equivalent", "hurts")
    overall = next(outcome for outcome in order if outcome in outcomes.values())
    decisive = [
        _gist(arm, o, evidence[arm], rule) + ("" if _limit(rule) else _reason(o, evidence[arm], rule))
        for arm, o in outcomes.items()
        if o == overall
    ]
    others = [_head(arm, outcome, evidence[arm], rule) for arm, outcome in outcomes.items() if outcome != overall]
    sentence = f"{ANSWERS[overall]}: over {_count(rule)}, {'; '.join(decisive + others)}{_limit(rule)}."
    arms = {arm: Verdict(o, _sentence(arm, o, evidence[arm], rule)) for arm, o in outcomes.items()}
    return Verdict(overall, sentence, arms)


def arm_outcome(rivals: list[Evidence], rule: Rule) -> Outcome:
    """In this order: hurts (loses to a rival), helps (beats every rival), equivalent, undecided.

    Equivalent: level with the strongest rivals, whatever others it beats. What is certain then is that it is of no more
    use than these, and more replicates would not change that.
    """
    if any(rule.loses(rival) for rival in rivals):
        return "hurts"
    if all(rule.gains(rival) for rival in rivals):
        return "helps"
    if all(rule.level_with(rival) or rule.gains(rival) for rival in rivals):
        return "equivalent"
    return "undecided"


def _sentence(arm: str, outcome: Outcome, rivals: list[Evidence], rule: Rule) -> str:
    return f"Over {_count(rule)}, {_finding(arm, outcome, rivals, rule)}{_reason(outcome, rivals, rule)}."


def _finding(arm: str, outcome: Outcome, rivals: list[Evidence], rule: Rule) -> str:
    beaten = [rival for rival in rivals if outcome == "equivalent" and not rule.level_with(rival)]
    rest = [rival for rival in rivals if rival not in beaten]
    clauses = [_clause(rival, outcome, rule, first=i == 0) for i, rival in enumerate(rest)]
    clauses += [_clause(rival, "helps", rule, first=i == 0) for i, rival in enumerate(beaten)]
    return f"{_head(arm, outcome, rivals, rule)}, its {rule.measure} being {listed(clauses)}"


def _gist(arm: str, outcome: Outcome, rivals: list[Evidence], rule: Rule) -> str:
    strongest = min(rivals, key=lambda rival: rival.mean)
    clause = _clause(strongest, outcome, rule, first=True)
    remark = ", its strongest rival" if len(rivals) > 1 else ""
    return f"{_head(arm, outcome, rivals, rule)}, its {rule.measure} being {clause}{remark}"


def _head(arm: str, outcome: Outcome, rivals: list[Evidence], rule: Rule) -> str:
    beaten = [rival.rival for rival in rivals if not rule.level_with(rival)]
    level = [rival.rival for rival in rivals if rule.level_with(rival)]
    beside = f" beside {listed(level)}, though it beats {listed(beaten)}" if level and beaten else ""
    heads: dict[Outcome, str] = {
        "helps": f"{arm} helps",
        "hurts": f"{arm} hurts",
        "equivalent": f"{arm} makes no difference as large as {_margin(rule)}{beside}",
        "undecided": f"it remains open whether {arm} helps",
    }
    return heads[outcome]


def _margin(rule: Rule) -> str:
    return f"{100 * rule.margin:g} percentage point{'' if rule.margin == 0.01 else 's'}"


def _count(rule: Rule) -> str:
    return "1 replicate" if rule.replicates == 1 else f"{rule.replicates} replicates"


def _clause(rival: Evidence, outcome: Outcome, rule: Rule, first: bool) -> str:
    """The difference from one rival with its interval, in percentage points; units are spelt out once."""
    size, unit = f"{100 * abs(rival.mean):.1f}", "percentage points" if first else "points"
    text = f"{size} {unit} {'above' if rival.mean > 0 else 'below'} {rival.rival}'s"
    if size == "0.0":
        text = f"level with {rival.rival}'s"
    if rule.replicates == 1:
        return text
    confidence, (low, high) = rule.confidence, (rival.low, rival.high)
    if outcome == "equivalent":
        confidence, (low, high) = equivalence_confidence(rule.confidence), rival.inner
    label = f"{100 * confidence:g} % interval " if first else ""
    return f"{text} ({label}{signed_points(low)} to {signed_points(high)})"


def _limit(rule: Rule) -> str:
    """Why these replicates cannot decide at all; empty when they can."""
    if rule.replicates == 1:
        return "; a single replicate allows no interval and no p-value"
    least = least_p(rule.replicates, rule.contrasts)
    if least > rule.level:
        return f"; so few replicates cannot show any difference (least possible p: {least:.2g})"
    return ""


def _reason(outcome: Outcome, rivals: list[Evidence], rule: Rule) -> str:
    """Why the outcome is no better, and what would decide it; empty when it is decided."""
    if outcome != "undecided":
        return ""
    if _limit(rule):
        return _limit(rule)
    beaten = [rival.rival for rival in rivals if rule.gains(rival)]
    unclear = [rival for rival in rivals if not (rule.gains(rival) or rule.level_with(rival))]
    remedy = _remedy(unclear, rule)
    if beaten:
        return f"; only the gain over {listed(beaten)} is beyond chance{remedy}"
    return f"; this shows neither a gain, nor a loss, nor that there is no difference{remedy}"


def _remedy(rivals: list[Evidence], rule: Rule) -> str:
    """How many replicates would find a gain of the margin over the rival that takes most of them."""
    foreseen = [(rival, rival.power) for rival in rivals if rival.power]
    if not foreseen:
        return ""
    rival, power = max(foreseen, key=lambda pair: pair[1].needed or math.inf)
    gain = f"a gain of {_margin(rule)} over {rival.rival} four times out of five"
    if power.needed is None:
        remedy = f"more test images are needed: with these, not even {MOST_REPLICATES} replicates would show {gain}"
    elif power.needed > rule.replicates:
        remedy = f"about {power.needed} replicates would show {gain}"
    else:
        remedy = f"such replicates show {gain}, and a smaller difference takes more of them"
    if abs(rival.mean) > rule.margin and (power.needed_as_seen or 0) > rule.replicates:
        remedy += f", and about {power.needed_as_seen} a difference as large as that seen"
    return f"; {remedy}"


def listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def signed_points(share: float) -> str:
    """A share as percentage points with its sign: 0.012 is +1.2; the minus is the typographic one."""
    return "0.0" if abs(share) < ROUNDING else f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")
