"""The report: one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.comparison.evidence import Evidence, Facts, Finding
from stages.comparison.figures import model_arms
from stages.comparison.origin import control_words
from stages.comparison.privacy import privacy_section
from stages.comparison.statistics import least_p
from stages.comparison.templates import template
from stages.comparison.wording import (
    ACTIONS,
    CHECKS,
    FIDELITY_MEASURES,
    FURTHER_MEASURES,
    MEASURE_NAMES,
    check_words,
    classifier_words,
    count,
    percent,
    setting_words,
    signed_points,
)


@dataclass(frozen=True)
class ReportContent:
    """All that the report shows: numbers, as metrics/evaluate.json, and pictures, name -> PNG bytes.

    shows_real: whether this page shows real images and what is known of single ones. Where it does not, the findings'
    file names and the pairs' captions are left out too, for they may tell as much, and `pictures` must show none.
    """

    evidence: Evidence
    numbers: Facts
    pictures: dict[str, bytes]
    shows_real: bool

    @property
    def findings(self) -> Sequence[Finding]:
        """Those that this page may name."""
        return self.evidence.findings if self.shows_real else ()


def render_report(content: ReportContent) -> str:
    """One HTML page that loads nothing from elsewhere; every name in it is escaped."""
    evidence, numbers = content.evidence, content.numbers
    params, facts, found = evidence.params, evidence.outcomes.facts, _found(evidence.prepared["checks"])
    named = params.pairs
    exploratory = [(a, b) for a, rivals in numbers["differences"].items() for b in rivals if (a, b) not in named]
    return template("report.html.j2").render(
        content=content,
        evidence=evidence,
        params=params,
        numbers=numbers,
        pictures=content.pictures,
        arms=facts,
        test_images=np.bincount(evidence.outcomes.predictions.truth, minlength=len(evidence.classes)).tolist(),
        named=named,
        exploratory=exploratory,
        inferred=numbers["replicates"] > 1,
        choosers={arm: each for arm, each in facts.items() if len(each["settings"]) > 1},
        least_p=least_p(numbers["replicates"], len(named)),
        comparison_text=_comparison_text(named, content),
        privacy={name: privacy_section(each.privacy) for name, each in evidence.generators.items()},
        control=control_words([each.section for each in evidence.generators.values()]),
        found=found,
        checks_text=_checks_text(evidence, found),
        findings_text=_findings_text(content.findings),
        **_optional_parts(content),
    )


def _optional_parts(content: ReportContent) -> dict[str, Any]:
    """What the numbers may lack, each part empty where it was not measured, in the form in which it is shown."""
    numbers = content.numbers
    models, robustness = numbers.get("models", {}), numbers.get("robustness", {})
    curve, fidelity = numbers.get("learning_curve", {}), numbers.get("fidelity", {})
    return {
        "further": [name for name in FURTHER_MEASURES if any(name in scores for scores in numbers["arms"].values())],
        "controls": numbers.get("controls", {}),
        "worth": numbers.get("worth", {}),
        "curve": {budget: curve[budget] for budget in sorted(curve, key=int)},
        "curve_text": _curve_text(content),
        "models": models,
        "models_text": _models_text(content),
        "per_class": numbers.get("per_class", {}),
        "side_by_side": _side_by_side(content),
        "fidelity": fidelity,
        "fidelity_measures": [
            name for name in FIDELITY_MEASURES if any(name in each["measures"] for each in fidelity.values())
        ],
        "robustness": robustness,
        "disturbances": list(dict.fromkeys(name for scores in robustness.values() for name in scores)),
        "settings_text": _settings_text(content.evidence.outcomes.facts),
    }


def _side_by_side(content: ReportContent) -> list[str]:
    """The arm of the contrast that scores best on its measure, and the first rival, where classes are known of them."""
    params, per_class = content.evidence.params, content.numbers.get("per_class", {})
    means = {arm: content.numbers["arms"][arm][params.measure_key]["mean"] for arm in params.arms if arm in per_class}
    best = [max(means, key=means.__getitem__)] if means else []
    return best + [arm for arm in params.rivals[:1] if arm in per_class]


def _comparison_text(named: Sequence[tuple[str, str]], content: ReportContent) -> str:
    """The comparison figure for those who cannot see it."""
    measure = content.evidence.params.measure_key
    means = ", ".join(f"{arm} {percent(values[measure]['mean'])}" for arm, values in content.numbers["arms"].items())
    differences = ", ".join(
        f"{arm} minus {rival} {signed_points(content.numbers['differences'][arm][rival][measure]['mean'])}"
        for arm, rival in named
    )
    return f"Mean test {MEASURE_NAMES[measure]}: {means}. Mean paired differences in points: {differences}."


def _curve_text(content: ReportContent) -> str:
    """The learning curve for those who cannot see it."""
    numbers, measure = content.numbers, content.evidence.params.measure_key
    curve = numbers.get("learning_curve", {})
    points = ", ".join(f"{percent(curve[each]['mean'])} with {each}" for each in sorted(curve, key=int))
    arms = ", ".join(
        f"{arm} {percent(numbers['arms'][arm][measure]['mean'])} with {worth['labels_per_class']}"
        for arm, worth in numbers.get("worth", {}).items()
    )
    without = f"Mean test {MEASURE_NAMES[measure]} by labels per class. Without synthetic images: {points}."
    return f"{without} With them: {arms}." if arms else without


def _models_text(content: ReportContent) -> str:
    """The figure model by model for those who cannot see it."""
    params, models = content.evidence.params, content.numbers.get("models", {})
    rows = []
    for classifier, scores in models.items():
        means = [f"{arm} {percent(scores[arm]['mean'])}" for arm in model_arms(models, params) if arm in scores]
        rows.append(f"{classifier_words(classifier)}: {', '.join(means)}")
    return f"Mean test {MEASURE_NAMES[params.measure_key]}. {'; '.join(rows)}."


def _settings_text(arms: Mapping[str, Mapping[str, Any]]) -> str:
    """The figure of the settings tried for those who cannot see it."""
    rows = []
    for arm, facts in arms.items():
        if len(facts["settings"]) > 1:
            tried = zip(facts["settings"], facts["validation"], strict=True)
            scores = ", ".join(f"{setting_words(setting)}: {percent(score)}" for setting, score in tried)
            rows.append(f"{arm} ({scores}; chosen: {setting_words(facts['settings'][facts['chosen']])})")
    return f"Mean validation scores by setting. {'; '.join(rows)}."


def _found(checks: Mapping[str, Mapping[str, int]]) -> list[tuple[str, int, int]]:
    """(kind, images, dropped) of what was found at all, in the order of CHECKS."""
    order = [*CHECKS, *(kind for kind in checks if kind not in CHECKS)]
    return [
        (kind, checks[kind]["images"], checks[kind]["dropped"]) for kind in order if checks.get(kind, {}).get("images")
    ]


def _checks_text(evidence: Evidence, found: Sequence[tuple[str, int, int]]) -> str:
    """What was looked at, what for, and what came of it."""
    left_out = evidence.left_out
    images = {0: "no image was", 1: "one image was"}.get(left_out, f"{count(left_out)} images were")
    outcome = f"what was found is listed here, and {images} left out for it." if found else "nothing was found."
    return (
        f"All {count(evidence.prepared['read'])} real images were searched for files that cannot be read, for copies "
        f"(within a class, in two classes, in training and test set) and for images unlike the others: {outcome}"
    )


def _findings_text(findings: Sequence[Finding]) -> str:
    """The pictures of the findings for those who cannot see them."""
    return "; ".join(f"{n}: {check_words(each.kind)}, {ACTIONS[each.action]}" for n, each in enumerate(findings, 1))
