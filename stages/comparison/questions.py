"""Puts the evidence to the three questions: which contrasts answer them, and whether anything can be concluded."""

from collections.abc import Mapping
from typing import Any

from stages.comparison import soundness
from stages.comparison.answers import Rule, augment, no_answer, not_asked, stand_in, with_control
from stages.comparison.arm_words import maker_words
from stages.comparison.contrasts import Measured
from stages.comparison.evidence import Evidence
from stages.comparison.leak import leak_answer
from stages.comparison.origin import ADDERS
from stages.comparison.params import QuestionParams
from stages.comparison.scores import Scores
from stages.comparison.wording import measure_words


def answers(evidence: Evidence, measured: Measured) -> dict[str, Any]:
    """`answers` of metrics/evaluate.json: augment, stand_in, leak."""
    outcomes, params = evidence.outcomes, evidence.params
    found = {}
    for name, question in (("augment", params.augment), ("stand_in", params.stand_in)):
        if name not in params.questions:
            found[name] = not_asked(params.margin)
            continue
        rule = _rule(measured, question, outcomes.words)
        if name == "augment":
            contrasts = measured.contrasts(question, params.margin, tests=rule.contrasts)
            found[name] = augment(contrasts, outcomes.plain, rule)
        else:
            contrasts = measured.contrasts(question, -params.margin, tests=rule.arms)
            found[name] = stand_in(contrasts, rule)
        for arm, control in outcomes.controls:
            if arm in question.arms:
                difference = measured.differences(arm, control)[params.measure_key]
                found[name] = with_control(found[name], control, difference, rule, _adder(evidence, arm))
        reason = soundness.dead(measured, question.rivals[0], outcomes.words)
        if reason is not None:
            found[name] = no_answer(found[name], reason)
    return found | leak(evidence)


def _adder(evidence: Evidence, arm: str) -> str:
    """What an arm's generator has that a control has not, as the subject of a sentence."""
    kinds = [each.section["kind"] for each in evidence.generators.values() if arm in each.arms]
    return next((ADDERS[kind] for kind in kinds if kind in ADDERS), "The GAN")


def leak(evidence: Evidence) -> dict[str, Any]:
    """The one answer that needs no arms."""
    sets = {name: each.leak for name, each in evidence.generators.items()}
    given_away = {name: not each.withheld for name, each in evidence.generators.items()}
    promises = {name: each.promise for name, each in evidence.generators.items() if each.promise is not None}
    return {"leak": leak_answer(sets, given_away, _makers(evidence), evidence.params.leak_margin, promises)}


def warnings(evidence: Evidence, measured: Measured, models: Mapping[str, Scores]) -> list[str]:
    """`warnings` of metrics/evaluate.json."""
    params, outcomes = measured.params, evidence.outcomes
    contrasts = min(len(each.arms) * len(each.rivals) for each in params.questions.values())
    reference = params.reference
    validation = outcomes.facts[reference]["validation_scores"] if outcomes.unseen else None
    makers = _makers(evidence)
    swapped = {makers[name]: list(each.quality.values()) for name, each in evidence.generators.items()}
    return [
        *soundness.warnings(measured, reference, models.get(reference, {}), validation, contrasts),
        *soundness.swapped_classes(swapped),
        *soundness.emptied_classes({makers[name]: each.emptied for name, each in evidence.generators.items()}),
    ]


def _makers(evidence: Evidence) -> dict[str, str]:
    """What draws each generator's images, in words, by its name."""
    kinds = {name: each.section["kind"] for name, each in evidence.generators.items()}
    return {name: maker_words(name, kinds) for name in kinds}


def _rule(measured: Measured, question: QuestionParams, words: Mapping[str, str]) -> Rule:
    params = measured.params
    return Rule(
        level=round(1 - params.confidence, 12),
        margin=params.margin,
        replicates=measured.replicates,
        contrasts=len(question.arms) * len(question.rivals),
        arms=len(question.arms),
        measure=measure_words(params.measure),
        words=words,
    )
