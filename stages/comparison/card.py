"""The data card of the synthetic sets: one page of Markdown for all generators."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stages.comparison.budget import budget_words
from stages.comparison.evidence import Evidence, GeneratorEvidence
from stages.comparison.origin import Spread, made_from, spreads
from stages.comparison.privacy import privacy_section
from stages.comparison.templates import template
from stages.comparison.wording import QUESTIONS, notices, percent


def render_card(evidence: Evidence, numbers: Mapping[str, Any]) -> str:
    """Markdown with YAML front matter as the Hugging Face hub reads it. numbers: as metrics/evaluate.json."""
    sets = {name: _told(evidence, name, each, numbers) for name, each in evidence.generators.items()}
    published = {name: sets[name] for name in evidence.published}
    return template("card.md.j2").render(
        evidence=evidence,
        numbers=numbers,
        notices=notices(numbers),
        sets=sets,
        published=published,
        kinds={own["section"]["kind"] for own in published.values()},
        teachers=[name for name, own in published.items() if own["section"]["labels"] == "teacher"],
        image_shape=next(iter(evidence.generators.values())).synthetic[0].shape[1:],
        size=_size_category(sum(sum(own["kept"]) for own in published.values())),
    )


def _told(evidence: Evidence, name: str, generator: GeneratorEvidence, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says of one generator's set."""
    found, labels = spreads(generator.quality), evidence.labelled + evidence.validation
    return {
        "section": generator.section,
        "candidates": generator.candidates,
        "withheld": generator.withheld,
        "tested_for": _tested_for(evidence, name, generator, numbers),
        "kept": np.bincount(generator.synthetic[1], minlength=len(evidence.classes)).tolist(),
        "made_from": made_from(generator.section, evidence.dataset, numbers["replicates"], evidence.seen, labels),
        "found": found,
        "measured": _measured(found),
        "budget": budget_words(generator.promise) if generator.promise else "",
        "privacy": privacy_section(generator.privacy, generator.promise),
    }


def _tested_for(evidence: Evidence, name: str, generator: GeneratorEvidence, numbers: Mapping[str, Any]) -> str:
    """The questions that a generator's images were put to, in the words of the card's first lines."""
    told = numbers["answers"]
    questions = {name: question for name, question in evidence.params.questions.items() if name in told}
    asked = [name for name, question in questions.items() if set(question.arms) & set(generator.arms)]
    leak = ["leak"] if name in told["leak"]["sets"] else []
    return " ".join(QUESTIONS[question] for question in asked + leak) or "nothing"


def _measured(found: Mapping[str, Spread]) -> list[tuple[str, str]]:
    """(measure, value) of samples at the end of the trainings, in words; measures that were not taken are left out."""
    words: dict[str, tuple[str, Callable[[float], str]]] = {
        "kid": ("distance of its images' distribution from that of the real ones (KID, 0 is best)", "{:.3f}".format),
        "recall": ("real images that have their like among its images (recall)", percent),
        "confused": ("its images that a classifier takes for another class", percent),
    }
    return [
        (measure, f"{form(found[name].mean)} ({form(found[name].low)} to {form(found[name].high)})")
        for name, (measure, form) in words.items()
        if name in found
    ]


def _size_category(images: int) -> str:
    """The hub's words for a size."""
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((word for bound, word in bounds if images < bound), "n>1M")
