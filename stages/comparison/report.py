"""The report: one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.comparison.arm_words import glossary, maker_words
from stages.comparison.evidence import Evidence, Facts, Finding, Outcomes
from stages.comparison.figures import model_arms
from stages.comparison.params import EvaluateParams
from stages.comparison.privacy import privacy_section
from stages.comparison.templates import template
from stages.comparison.wording import (
    ACTIONS,
    CHECKS,
    FIDELITY_MEASURES,
    FURTHER_MEASURES,
    MEASURE_NAMES,
    check_words,
    classifier_words,
    notices,
    percent,
    setting_words,
    signed_points,
    two_sample_words,
)

TEST = "two_sample_auc"


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
    params, outcomes, found = evidence.params, evidence.outcomes, _found(evidence.prepared["checks"])
    pairs = params.pairs
    return template("report.html.j2").render(
        content=content,
        evidence=evidence,
        params=params,
        numbers=numbers,
        answers=numbers["answers"],
        notices=notices(numbers),
        makers=maker_names(evidence),
        in_words=outcomes.words,
        glossary=glossary(outcomes.words[arm] for arm in (*params.arms, *params.rivals)),
        pictures=content.pictures,
        arms=outcomes.facts,
        test_images=np.bincount(outcomes.predictions.truth, minlength=len(evidence.classes)).tolist(),
        exploratory=[(a, b) for a, rivals in numbers["differences"].items() for b in rivals if (a, b) not in pairs],
        inferred=numbers["replicates"] > 1,
        choosers={arm: each for arm, each in outcomes.facts.items() if len(each["settings"]) > 1},
        arms_text=_arms_text(content),
        comparison_text=_comparison_text(content),
        privacy={name: privacy_section(each.privacy, each.promise) for name, each in evidence.generators.items()},
        found=found,
        findings_text=_findings_text(content.findings),
        **_optional_parts(content),
    )


def maker_names(evidence: Evidence) -> dict[str, str]:
    """Generator -> what draws its images, in words."""
    kinds = {name: each.section["kind"] for name, each in evidence.generators.items()}
    return {name: maker_words(name, kinds) for name in kinds}


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
        "side_by_side": side_by_side(numbers, content.evidence.params),
        "fidelity": fidelity,
        "fidelity_pretrained": numbers.get("fidelity_pretrained", {}),
        "told_apart": _told_apart(fidelity),
        "fidelity_measures": [
            name for name in FIDELITY_MEASURES if any(name in each["measures"] for each in fidelity.values())
        ],
        "robustness": robustness,
        "disturbances": list(dict.fromkeys(name for scores in robustness.values() for name in scores)),
        "settings_text": _settings_text(content.evidence.outcomes),
    }


def side_by_side(numbers: Facts, params: EvaluateParams) -> list[str]:
    """The arm in question that scores best, and the first rival, where classes are known of them."""
    per_class = numbers.get("per_class", {})
    means = {arm: numbers["arms"][arm][params.measure_key]["mean"] for arm in params.arms if arm in per_class}
    best = [max(means, key=means.__getitem__)] if means else []
    return best + [arm for arm in (params.reference,) if arm in per_class]


def _told_apart(fidelity: Facts) -> list[dict[str, Any]]:
    """The two-sample test of each generator's images, where it was made: its name, AUC, floor and words."""
    tested = {name: (each["measures"], each["floor"]) for name, each in fidelity.items()}
    return [
        {
            "name": name,
            "auc": own[TEST]["mean"],
            "floor": floor[TEST]["mean"],
            "words": two_sample_words(fidelity[name]),
        }
        for name, (own, floor) in tested.items()
        if TEST in own and TEST in floor
    ]


def _arms_text(content: ReportContent) -> str:
    """The figure of the arms for those who cannot see it."""
    params, outcomes = content.evidence.params, content.evidence.outcomes
    means = {arm: content.numbers["arms"][arm][params.measure_key]["mean"] for arm in (*params.rivals, *params.arms)}
    told = ", ".join(f"{outcomes.words[arm]} {percent(mean)}" for arm, mean in means.items())
    return f"Mean test {MEASURE_NAMES[params.measure_key]}: {told}."


def _comparison_text(content: ReportContent) -> str:
    """The figure of the differences for those who cannot see it."""
    params, words = content.evidence.params, content.evidence.outcomes.words
    told = ", ".join(
        f"{words[arm]} minus {words[rival]} "
        f"{signed_points(content.numbers['differences'][arm][rival][params.measure_key]['mean'])}"
        for arm, rival in params.pairs
    )
    return f"Mean paired differences in points: {told}."


def _curve_text(content: ReportContent) -> str:
    """The learning curve for those who cannot see it."""
    numbers, measure = content.numbers, content.evidence.params.measure_key
    words, curve = content.evidence.outcomes.words, numbers.get("learning_curve", {})
    points = ", ".join(f"{percent(curve[each]['mean'])} with {each}" for each in sorted(curve, key=int))
    arms = ", ".join(
        f"{words[arm]} {percent(numbers['arms'][arm][measure]['mean'])} with {worth['labels_per_class']}"
        for arm, worth in numbers.get("worth", {}).items()
    )
    without = f"Mean test {MEASURE_NAMES[measure]} by labels per class. Without synthetic images: {points}."
    return f"{without} With them: {arms}." if arms else without


def _models_text(content: ReportContent) -> str:
    """The figure model by model for those who cannot see it."""
    params, models, words = content.evidence.params, content.numbers.get("models", {}), content.evidence.outcomes.words
    rows = []
    for classifier, scores in models.items():
        means = [f"{words[arm]} {percent(scores[arm]['mean'])}" for arm in model_arms(models, params) if arm in scores]
        rows.append(f"{classifier_words(classifier)}: {', '.join(means)}")
    return f"Mean test {MEASURE_NAMES[params.measure_key]}. {'; '.join(rows)}."


def _settings_text(outcomes: Outcomes) -> str:
    """The figure of the settings tried for those who cannot see it."""
    rows = []
    for arm, facts in outcomes.facts.items():
        if len(facts["settings"]) > 1:
            tried = zip(facts["settings"], facts["validation"], strict=True)
            scores = ", ".join(f"{setting_words(setting)}: {percent(score)}" for setting, score in tried)
            rows.append(
                f"{outcomes.words[arm]} ({scores}; chosen: {setting_words(facts['settings'][facts['chosen']])})"
            )
    return f"Mean validation scores by setting. {'; '.join(rows)}."


def _found(checks: Mapping[str, Mapping[str, int]]) -> list[tuple[str, int, int]]:
    """(kind, images, dropped) of what was found at all, in the order of CHECKS."""
    order = [*CHECKS, *(kind for kind in checks if kind not in CHECKS)]
    return [
        (kind, checks[kind]["images"], checks[kind]["dropped"]) for kind in order if checks.get(kind, {}).get("images")
    ]


def _findings_text(findings: Sequence[Finding]) -> str:
    """The pictures of the findings for those who cannot see them."""
    return "; ".join(f"{n}: {check_words(each.kind)}, {ACTIONS[each.action]}" for n, each in enumerate(findings, 1))
