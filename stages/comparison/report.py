"""The report (one self-contained HTML page) and the data card of the synthetic set (Markdown)."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from stages.comparison.figures import CLASSIFIER_NAMES, model_arms
from stages.comparison.gans import Spread
from stages.comparison.params import EvaluateParams
from stages.comparison.power import MOST_REPLICATES
from stages.comparison.privacy import privacy_section
from stages.comparison.scores import MEASURES
from stages.comparison.statistics import equivalence_confidence, least_p
from stages.comparison.verdict import MEASURE_NAMES, named_pairs, signed_points
from stages.comparison.wording import (
    ACTIONS,
    CHECKS,
    FIDELITY_MEASURES,
    FURTHER_MEASURES,
    OUTCOMES,
    check_words,
    count,
    disturbance_words,
    fidelity_value,
    markdown_cell,
    p_value,
    percent,
    sentence,
    setting_words,
    shortened,
)
from stages.sources.findings import Finding


@dataclass(frozen=True)
class ReportContent:
    """All that the report shows, as plain data.

    numbers: as metrics/evaluate.json; arms: arm -> its facts (`settings`, `chosen`, `validation`, `labels_used`,
    `trained_on_labels`, `synthetic_images`, `steps`); test_images: per class; privacy: as
    metrics/filter_memorized.json; figures: PNG bytes, None where there is nothing to show or shows_real is false;
    confusions: arm -> PNG bytes; run: what was run (fingerprints, versions), label -> value; parameters: the text of
    params.yaml. real_images: how many real images the
    checks saw, left_out of them dropped or unreadable; checks: kind -> `images` in which it was found and how many of
    them were `dropped`; shows_real: whether this page shows real images and what is known of single ones. Where it
    does not, findings is None, for their file names may tell as much, and pair_captions is empty, for they carry
    p-values; findings_png: pictures of the findings; pair_captions: of the pairs in pairs_png, in their order.
    """

    dataset: str
    classes: Sequence[str]
    real_images: int
    left_out: int
    checks: Mapping[str, Mapping[str, int]]
    shows_real: bool
    findings: Sequence[Finding] | None
    findings_png: bytes | None
    params: EvaluateParams
    numbers: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    test_images: Sequence[int]
    privacy: Mapping[str, Any]
    comparison_png: bytes
    learning_curve_png: bytes | None
    models_png: bytes | None
    settings_png: bytes | None
    samples_png: bytes | None
    pairs_png: bytes | None
    pair_captions: Sequence[str]
    confusions: Mapping[str, bytes]
    run: Mapping[str, str]
    parameters: str


@dataclass(frozen=True)
class CardContent:
    """All that the data card of the synthetic set says.

    kept: images per class in the set; image_shape: (channels, height, width); made_from: how many real images the
    GANs saw and how, in words; generator: parameters of the GAN, name -> value; gans: what their training found,
    measure -> its spread over the replicates, none where no GAN was trained; validation_labels: how many each
    replicate has; real_images, left_out, numbers, privacy and run as in ReportContent.
    """

    dataset: str
    classes: Sequence[str]
    kept: Sequence[int]
    image_shape: tuple[int, int, int]
    real_images: int
    left_out: int
    made_from: str
    generator: Mapping[str, Any]
    gans: Mapping[str, Spread]
    validation_labels: int
    numbers: Mapping[str, Any]
    privacy: Mapping[str, Any]
    licence: str
    run: Mapping[str, str]


def render_report(content: ReportContent) -> str:
    """One HTML page that loads nothing from elsewhere; every name in it is escaped."""
    params, numbers, found = content.params, content.numbers, _found(content.checks)
    named = named_pairs(params)
    exploratory = [(a, b) for a, rivals in numbers["differences"].items() for b in rivals if (a, b) not in named]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            content=content,
            params=params,
            numbers=numbers,
            named=named,
            exploratory=exploratory,
            inferred=numbers["replicates"] > 1,
            choosers={arm: facts for arm, facts in content.arms.items() if len(facts["settings"]) > 1},
            least_p=least_p(numbers["replicates"], len(named)),
            equivalence_confidence=equivalence_confidence(params.confidence),
            comparison_text=_comparison_text(named, content),
            privacy=privacy_section(content.classes, content.privacy),
            found=found,
            checks_text=_checks_text(content.real_images, content.left_out, found),
            findings_text=_findings_text(content.findings or ()),
            **_optional_parts(content),
        )
    )


def _optional_parts(content: ReportContent) -> dict[str, Any]:
    """What the numbers may lack, each part empty where it was not measured, in the form in which it is shown."""
    numbers, params = content.numbers, content.params
    models, robustness = numbers.get("models", {}), numbers.get("robustness", {})
    curve = numbers.get("learning_curve", {})
    return {
        "undecided_power": _undecided_power(numbers),
        "further": [name for name in FURTHER_MEASURES if any(name in scores for scores in numbers["arms"].values())],
        "worth": numbers.get("worth", {}),
        "curve": {budget: curve[budget] for budget in sorted(curve, key=int)},
        "curve_text": _curve_text(content),
        "models": models,
        "models_text": _models_text(models, params),
        "per_class": numbers.get("per_class", {}),
        "side_by_side": _side_by_side(content),
        "fidelity": numbers.get("fidelity", {}),
        "fidelity_measures": [
            name for name in FIDELITY_MEASURES if name in numbers.get("fidelity", {}).get("measures", {})
        ],
        "robustness": robustness,
        "disturbances": list(dict.fromkeys(name for scores in robustness.values() for name in scores)),
        "settings_text": _settings_text(content.arms),
    }


def _undecided_power(numbers: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, float]]]:
    """(arm, rival, power) of the arms that remain undecided."""
    verdicts = numbers["verdict"]["arms"]
    return [
        (arm, rival, power)
        for arm, rivals in numbers.get("power", {}).items()
        if verdicts[arm]["outcome"] == "undecided"
        for rival, power in rivals.items()
    ]


def _side_by_side(content: ReportContent) -> list[str]:
    """The arm of the contrast that scores best on its measure, and the first rival, where classes are known of them."""
    contrast, per_class = content.params.contrast, content.numbers.get("per_class", {})
    means = {arm: content.numbers["arms"][arm][contrast.measure]["mean"] for arm in contrast.arms if arm in per_class}
    best = [max(means, key=means.__getitem__)] if means else []
    return best + [arm for arm in contrast.rivals[:1] if arm in per_class]


def render_card(content: CardContent) -> str:
    """Markdown with YAML front matter as the Hugging Face hub reads it."""
    return (
        _environment()
        .get_template("card.md.j2")
        .render(
            content=content,
            numbers=content.numbers,
            gans=content.gans,
            snapshot_rows=_snapshot_rows(content.gans),
            privacy=privacy_section(content.classes, content.privacy),
            size=_size_category(sum(content.kept)),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stages.comparison", ""),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "points": signed_points,
        "p_value": p_value,
        "count": count,
        "setting": setting_words,
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}",
        "quoted": lambda text: json.dumps(text, ensure_ascii=False),
        "cell": markdown_cell,
        "check": check_words,
        "classifier": lambda name: CLASSIFIER_NAMES.get(name, name.replace("_", " ")),
        "disturbance": disturbance_words,
        "fidelity": fidelity_value,
        "sentence": sentence,
        "action": ACTIONS.__getitem__,
        "shortened": shortened,
    }
    environment.globals |= {
        "measures": MEASURES,
        "measure_names": MEASURE_NAMES,
        "outcomes": OUTCOMES,
        "further_measures": FURTHER_MEASURES,
        "fidelity_words": FIDELITY_MEASURES,
        "most_replicates": MOST_REPLICATES,
    }
    return environment


def _comparison_text(named: Sequence[tuple[str, str]], content: ReportContent) -> str:
    """The comparison figure for those who cannot see it."""
    measure = content.params.contrast.measure
    means = ", ".join(f"{arm} {percent(values[measure]['mean'])}" for arm, values in content.numbers["arms"].items())
    differences = ", ".join(
        f"{arm} minus {rival} {signed_points(content.numbers['differences'][arm][rival][measure]['mean'])}"
        for arm, rival in named
    )
    return f"Mean test {MEASURE_NAMES[measure]}: {means}. Mean paired differences in points: {differences}."


def _curve_text(content: ReportContent) -> str:
    """The learning curve for those who cannot see it."""
    numbers, measure = content.numbers, content.params.contrast.measure
    curve = numbers.get("learning_curve", {})
    points = ", ".join(f"{percent(curve[each]['mean'])} with {each}" for each in sorted(curve, key=int))
    arms = ", ".join(
        f"{arm} {percent(numbers['arms'][arm][measure]['mean'])} with {worth['labels_per_class']}"
        for arm, worth in numbers.get("worth", {}).items()
    )
    without = f"Mean test {MEASURE_NAMES[measure]} by labels per class. Without synthetic images: {points}."
    return f"{without} With them: {arms}." if arms else without


def _models_text(models: Mapping[str, Mapping[str, Any]], params: EvaluateParams) -> str:
    """The figure model by model for those who cannot see it."""
    rows = []
    for classifier, scores in models.items():
        means = [f"{arm} {percent(scores[arm]['mean'])}" for arm in model_arms(models, params) if arm in scores]
        rows.append(f"{CLASSIFIER_NAMES.get(classifier, classifier)}: {', '.join(means)}")
    return f"Mean test {MEASURE_NAMES[params.contrast.measure]}. {'; '.join(rows)}."


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


def _checks_text(real_images: int, left_out: int, found: Sequence[tuple[str, int, int]]) -> str:
    """What was looked at, what for, and what came of it."""
    images = {0: "no image was", 1: "one image was"}.get(left_out, f"{count(left_out)} images were")
    outcome = f"what was found is listed here, and {images} left out for it." if found else "nothing was found."
    return (
        f"All {count(real_images)} real images were searched for files that cannot be read, for copies (within a "
        f"class, in two classes, in training and test set) and for images unlike the others: {outcome}"
    )


def _findings_text(findings: Sequence[Finding]) -> str:
    """The pictures of the findings for those who cannot see them."""
    return "; ".join(f"{n}: {check_words(each.kind)}, {ACTIONS[each.action]}" for n, each in enumerate(findings, 1))


def _snapshot_rows(gans: Mapping[str, Spread]) -> list[tuple[str, str]]:
    """(measure, value) of the snapshots that were kept, in words; measures that were not taken are left out."""
    words: dict[str, tuple[str, Callable[[float], str]]] = {
        "kept_step": ("training steps before it", lambda steps: count(round(steps))),
        "usefulness": ("validation accuracy of a classifier that learned from its images", percent),
        "kid": ("distance of its images' distribution from the real one (KID, 0 is best)", "{:.3f}".format),
        "recall": ("real images that have their like among its images (recall)", percent),
        "nearest_real_ratio": (
            "distance of its images to the nearest that the GAN saw, by that of fresh real images (1 as far, 0 copies)",
            "{:.2f}".format,
        ),
        "most_copied": (
            "of the class copied most, its images nearer to one seen than 95 % of fresh ones are",
            percent,
        ),
        "confused": ("its images that a classifier takes for another class", percent),
    }
    return [
        (measure, f"{form(gans[name].mean)} ({form(gans[name].low)} to {form(gans[name].high)})")
        for name, (measure, form) in words.items()
        if name in gans
    ]


def _size_category(images: int) -> str:
    """The hub's words for a size."""
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((word for bound, word in bounds if images < bound), "n>1M")
