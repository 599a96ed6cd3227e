"""All that the last stage publishes, made from what the stages before it left: numbers, pictures, report, data card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stages.comparison import figures
from stages.comparison.gans import Quality, spreads
from stages.comparison.numbers import Outcomes, all_numbers
from stages.comparison.params import EvaluateParams
from stages.comparison.report import CardContent, ReportContent, render_card, render_report
from stages.comparison.scores import confusion, score_table
from stages.sources.findings import Finding

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class Evidence:
    """What there is to publish from. Images are uint8 (N, C, H, W), labels int64 (N,).

    outcomes: what is compared. privacy: metrics/filter_memorized.json. real: labelled examples, and pairs:
    generated images, the real ones nearest to them and captions: `publish` decides who sees them.
    real_images: how many the checks of `prepare` saw, and left_out: how many of them it dropped or could not read.
    checks: `checks` of metrics/prepare.json: kind -> `images` in which it was found, and how many of them were
    `dropped`, some for several reasons. findings: examples; finding_pictures: of each, itself and the one it resembles
    (None where there is no picture).
    made_from: what the GANs saw, in words. generator: the GAN's parameters. gans: `replicates` of
    metrics/train_gan.json, none where no GAN was trained. validation_labels: how many each replicate has. run:
    fingerprints and versions.
    """

    dataset: str
    classes: Sequence[str]
    real_images: int
    left_out: int
    checks: Mapping[str, Mapping[str, int]]
    findings: Sequence[Finding]
    finding_pictures: Sequence[figures.PicturePair]
    params: EvaluateParams
    outcomes: Outcomes
    privacy: Mapping[str, Any]
    synthetic: Labelled
    real: Labelled
    pairs: tuple[NDArray[np.uint8], NDArray[np.uint8], Sequence[str]]
    made_from: str
    generator: Mapping[str, Any]
    run: Mapping[str, str]
    parameters: str
    gans: Quality
    validation_labels: int


@dataclass(frozen=True)
class Publication:
    """numbers: metrics/evaluate.json. scores: one row per arm and replicate. pictures: name -> PNG bytes.

    All but `private_report` may be given away: it shows real images and what is known of single ones in any case, and
    is the same page as `report` where that may show them too.
    """

    numbers: dict[str, Any]
    scores: pd.DataFrame
    pictures: dict[str, bytes]
    report: str
    private_report: str
    card: str


@dataclass(frozen=True)
class _Results:
    """What both reports tell, with PNG bytes: the comparison, other charts by name, confusions by arm."""

    numbers: dict[str, Any]
    comparison: bytes
    charts: Mapping[str, bytes]
    confusions: Mapping[str, bytes]


def publish(evidence: Evidence) -> Publication:
    """Compares the arms and renders everything; no input is changed.

    Unless `evaluate.publish_real_images` is true, nothing published depends on a real image's pixels or name, on a
    dropped image or on a p-value of a single image.
    """
    params, outcomes = evidence.params, evidence.outcomes
    facts, predictions = outcomes.facts, outcomes.predictions
    numbers, scores = all_numbers(outcomes, evidence.classes, params)
    counts = {arm: confusion(predictions, arm) for arm in (*params.contrast.arms, *params.contrast.rivals)}
    results = _Results(
        numbers=numbers,
        comparison=figures.comparison_figure(scores, numbers, params),
        charts=_charts(numbers, facts, params),
        confusions={arm: figures.confusion_figure(table, evidence.classes, arm) for arm, table in counts.items()},
    )
    validation = {arm: each["validation_scores"] for arm, each in facts.items()}
    examples = _examples(evidence, params.publish_real_images)
    report = _report(evidence, results, examples, params.publish_real_images)
    private = report if params.publish_real_images else _report(evidence, results, _examples(evidence, True), True)
    confusions = {f"confusion_{arm}": picture for arm, picture in results.confusions.items()}
    return Publication(
        numbers=numbers,
        scores=score_table(scores, predictions.replicates, validation),
        pictures={"comparison": results.comparison, **results.charts, **examples, **confusions},
        report=report,
        private_report=private,
        card=_card(evidence, numbers),
    )


def _charts(
    numbers: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]], params: EvaluateParams
) -> dict[str, bytes]:
    """Name -> PNG bytes, of those for which there is something to show."""
    charts = {
        "learning_curve": figures.learning_curve_figure(numbers, params),
        "models": figures.models_figure(numbers, params),
        "settings": figures.settings_figure(facts, params),
    }
    return {name: png for name, png in charts.items() if png is not None}


def _examples(evidence: Evidence, show_real: bool) -> dict[str, bytes]:
    """Pictures of single images: generated ones that were kept, and all others only with `show_real`."""
    per_class = evidence.params.examples_per_class
    if not show_real:
        return {"samples": figures.sample_grid(*evidence.synthetic, evidence.classes, per_class)}
    pictures = {
        "samples": figures.sample_grid(*evidence.synthetic, evidence.classes, per_class, *evidence.real),
        "pairs": figures.nearest_pairs(*evidence.pairs),
    }
    shown = _numbered_pictures(evidence)
    if shown:
        captions = [f"{number}: {evidence.findings[number - 1].action}" for number in shown]
        pictures["findings"] = figures.finding_pairs(list(shown.values()), captions)
    return pictures


def _numbered_pictures(evidence: Evidence) -> dict[int, figures.PicturePair]:
    """Number of a finding, from 1, -> its pictures, where it has any: a file that cannot be read has none."""
    numbered = enumerate(evidence.finding_pictures, 1)
    return {number: pair for number, pair in numbered if any(image is not None for image in pair)}


def _report(evidence: Evidence, results: _Results, examples: Mapping[str, bytes], show_real: bool) -> str:
    content = ReportContent(
        dataset=evidence.dataset,
        classes=evidence.classes,
        real_images=evidence.real_images,
        left_out=evidence.left_out,
        checks=evidence.checks,
        shows_real=show_real,
        findings=evidence.findings if show_real else None,
        findings_png=examples.get("findings"),
        params=evidence.params,
        numbers=results.numbers,
        arms=evidence.outcomes.facts,
        test_images=np.bincount(evidence.outcomes.predictions.truth, minlength=len(evidence.classes)).tolist(),
        privacy=evidence.privacy,
        comparison_png=results.comparison,
        learning_curve_png=results.charts.get("learning_curve"),
        models_png=results.charts.get("models"),
        settings_png=results.charts.get("settings"),
        samples_png=examples["samples"],
        pairs_png=examples.get("pairs"),
        pair_captions=evidence.pairs[2] if show_real else (),
        confusions=results.confusions,
        run=evidence.run,
        parameters=evidence.parameters,
    )
    return render_report(content)


def _card(evidence: Evidence, numbers: Mapping[str, Any]) -> str:
    images, labels = evidence.synthetic
    channels, height, width = images.shape[1:]
    content = CardContent(
        dataset=evidence.dataset,
        classes=evidence.classes,
        kept=np.bincount(labels, minlength=len(evidence.classes)).tolist(),
        image_shape=(channels, height, width),
        real_images=evidence.real_images,
        left_out=evidence.left_out,
        made_from=evidence.made_from,
        generator=evidence.generator,
        gans=spreads(evidence.gans),
        validation_labels=evidence.validation_labels,
        numbers=numbers,
        privacy=evidence.privacy,
        licence=evidence.params.licence,
        run=evidence.run,
    )
    return render_card(content)
