"""All that the last stage publishes, made from what the stages before it left: numbers, pictures, report, data card."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from stages.comparison import figures
from stages.comparison.card import render_card
from stages.comparison.evidence import Evidence
from stages.comparison.numbers import all_numbers
from stages.comparison.questions import leak
from stages.comparison.report import ReportContent, render_report, side_by_side
from stages.comparison.scores import Scores, confusion, score_table

Pictures = dict[str, bytes]  # by name, PNG


@dataclass(frozen=True)
class Publication:
    """numbers: metrics/evaluate.json. scores: one row per arm and replicate. pictures: name -> PNG bytes.

    All but `private_report` may be given away: it shows real images and what is known of single ones in any case, and
    is the same page as `report` where that may show them too.
    """

    numbers: dict[str, Any]
    scores: pd.DataFrame
    pictures: Pictures
    report: str
    private_report: str
    card: str


def publish(evidence: Evidence) -> Publication:
    """Compares the arms and renders everything; no input is changed.

    Unless `evaluate.publish_real_images` is true, nothing published depends on a real image's pixels or name, on a
    dropped image or on a p-value of a single image; but for a set of real images whose region was drawn anew, in which
    persons were looked for, where `evaluate.publish_leaking` is true.
    """
    params, outcomes = evidence.params, evidence.outcomes
    numbers, scores = all_numbers(evidence)
    charts = _charts(evidence, numbers, scores)
    pages = {
        shows_real: ReportContent(evidence, numbers, charts | _examples(evidence, shows_real), shows_real)
        for shows_real in {True, params.publish_real_images}
    }
    validation = {arm: each["validation_scores"] for arm, each in outcomes.facts.items()}
    return Publication(
        numbers=numbers,
        scores=score_table(scores, outcomes.predictions.replicates, validation),
        pictures=pages[params.publish_real_images].pictures,
        report=render_report(pages[params.publish_real_images]),
        private_report=render_report(pages[True]),
        card=render_card(evidence, numbers),
    )


def card_of_sets(evidence: Evidence, replicates: int) -> str:
    """The data card where no arm was trained: what the sets are, and whether they give real images away."""
    return render_card(evidence, {"answers": leak(evidence), "warnings": [], "replicates": replicates, "arms": {}})


def _charts(evidence: Evidence, numbers: Mapping[str, Any], scores: Scores) -> Pictures:
    """Those for which there is something to show."""
    params, outcomes, words = evidence.params, evidence.outcomes, evidence.outcomes.words
    charts = {
        "arms": figures.arms_figure(scores, params, words),
        "comparison": figures.comparison_figure(scores, numbers["answers"], params, words),
        "learning_curve": figures.learning_curve_figure(numbers, params, words),
        "models": figures.models_figure(numbers, params, words),
        "settings": figures.settings_figure(outcomes.facts, params, words),
    } | {
        f"confusion_{arm}": figures.confusion_figure(confusion(outcomes.predictions, arm), evidence.classes, words[arm])
        for arm in side_by_side(numbers, params)
    }
    return {name: png for name, png in charts.items() if png is not None}


def _examples(evidence: Evidence, show_real: bool) -> Pictures:
    """Pictures of single images: generated ones that may be given away, and all others only with `show_real`."""
    pictures, per_class = {}, evidence.params.examples_per_class
    # Under a shift the first labelled images are of the source.
    title = "real, of the source" if evidence.outcomes.shifted and not evidence.outcomes.unseen else "real"
    real = (title, *evidence.real) if show_real else None
    for name, each in evidence.generators.items():
        if show_real or not each.withheld:
            pictures[f"samples_{name}"] = figures.sample_grid(*each.synthetic, evidence.classes, per_class, real)
        if show_real and each.pairs[2]:
            pictures[f"pairs_{name}"] = figures.nearest_pairs(*each.pairs)
    numbered = {number: each for number, each in enumerate(evidence.findings, 1) if each.has_picture}
    if show_real and numbered:
        pairs = [(each.picture, each.other_picture) for each in numbered.values()]
        captions = [f"{number}: {each.action}" for number, each in numbered.items()]
        pictures["findings"] = figures.finding_pairs(pairs, captions)
    return pictures
