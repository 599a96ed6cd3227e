"""The answers to augment and stand_in: what the contrasts come to, by rules fixed beforehand, and in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.comparison.contrasts import Contrast, worst
from stages.comparison.statistics import least_p
from stages.comparison.wording import listed, signed_points

Answer = dict[str, Any]
Rivals = Mapping[str, Contrast]
# The best outcome first: where one arm comes to it, the question as a whole does.
AUGMENT = ("helps", "undecided", "no_better", "worse")
STAND_IN = ("stands_in", "undecided", "falls_short")


@dataclass(frozen=True)
class Rule:
    """What contrasts are held against, and the words of measure and arms. contrasts, arms: how many there are."""

    level: float
    margin: float
    replicates: int
    contrasts: int
    arms: int
    measure: str
    words: Mapping[str, str]

    def above(self, contrast: Contrast) -> bool:
        """Both must agree: Holm's p knows the replicates alone, the interval also the choice of test images."""
        return contrast.p_holm <= self.level and contrast.low > 0

    def below(self, contrast: Contrast) -> bool:
        return contrast.p_holm <= self.level and contrast.high < 0

    def no_gain(self, contrast: Contrast) -> bool:
        """A gain as large as the margin is ruled out, by a one-sided test among all contrasts."""
        return contrast.p_margin_holm / 2 <= self.level and contrast.inner_high < self.margin

    def within(self, contrast: Contrast) -> bool:
        """Not the margin or more below. One-sided; each rival must be met so that only arms share the level
        (Berger (1982), "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24)."""
        return self.arms * contrast.p_margin / 2 <= self.level and contrast.inner_low > -self.margin

    def short(self, contrast: Contrast) -> bool:
        return contrast.p_margin_holm <= self.level and contrast.high < -self.margin


def augment_outcome(rivals: Rivals, plain: str, rule: Rule) -> str:
    """helps: above every rival. worse: below `plain`, the same training on the same labels without generated images.
    no_better: over some rival a gain as large as the margin is ruled out. Else undecided."""
    if rule.replicates == 1:
        return "undecided"
    if all(map(rule.above, rivals.values())):
        return "helps"
    if rule.below(rivals[plain]):
        return "worse"
    return "no_better" if any(map(rule.no_gain, rivals.values())) else "undecided"


def stand_in_outcome(rivals: Rivals, rule: Rule) -> str:
    """stands_in: less than the margin below every rival. falls_short: more than the margin below some rival."""
    if rule.replicates == 1:
        return "undecided"
    if all(map(rule.within, rivals.values())):
        return "stands_in"
    return "falls_short" if any(map(rule.short, rivals.values())) else "undecided"


def augment(arms: Mapping[str, Rivals], plain: Mapping[str, str], rule: Rule) -> Answer:
    """The answer to whether adding generated images helps. plain: arm -> the rival that it must not fall below."""
    outcomes = {arm: augment_outcome(rivals, plain[arm], rule) for arm, rivals in arms.items()}
    sentences = {arm: _augment_sentence(arm, outcomes[arm], arms[arm], plain[arm], rule) for arm in arms}
    outcome, arm = _leading(outcomes, arms, AUGMENT)
    rivals, words = arms[arm], rule.words
    decisive = plain[arm] if outcome in ("worse", "no_better") else worst(rivals)
    headline = {
        "helps": "Yes, better than every rival",
        "worse": f"No, worse than {words[plain[arm]]}",
        "no_better": f"No better than {words[_excluded(rivals, rule)]}",
        "undecided": "Not decided",
    }
    return _answer(outcome, headline[outcome], _number(arm, rivals, decisive, rule), sentences, outcomes, arms, rule)


def stand_in(arms: Mapping[str, Rivals], rule: Rule) -> Answer:
    """The answer to whether generated images can take the place of the real ones."""
    outcomes = {arm: stand_in_outcome(rivals, rule) for arm, rivals in arms.items()}
    sentences = {arm: _stand_in_sentence(arm, outcomes[arm], arms[arm], rule) for arm in arms}
    outcome, arm = _leading(outcomes, arms, STAND_IN)
    strongest = worst(arms[arm])
    headline = {
        "stands_in": f"Yes, within {_margin(rule).replace('percentage ', '')} of real images",
        "falls_short": f"No, {100 * abs(arms[arm][strongest].mean):.1f} points behind {rule.words[strongest]}",
        "undecided": "Not decided",
    }
    return _answer(
        outcome, headline[outcome], _number(arm, arms[arm], strongest, rule), sentences, outcomes, arms, rule
    )


def with_control(
    answer: Answer, control: str, difference: Mapping[str, float], rule: Rule, adder: str = "The GAN"
) -> Answer:
    """The same answer, and what the network adds, or whatever else `adder` names.

    control: the arm that differs from one in question in nothing but its generator, which is none of a GAN. difference:
    `mean` of the one minus the other, with `low` and `high` where replicates allow them.
    """
    name = rule.words[control]
    if answer["arms"].get(control, {}).get("outcome") == "stands_in":
        said = f"No GAN is needed for that: {name} will do."
    elif difference.get("high", 0) < 0:
        said = f"{adder} takes {100 * abs(difference['mean']):.1f} points from what {name} would do."
    elif difference.get("high", rule.margin) < rule.margin:
        said = f"{adder} adds less than {_margin(rule)} to what {name} would do."
    elif difference.get("low", 0) > 0:
        said = f"{adder} adds {signed_points(difference['mean'])} points to what {name} would do."
    else:
        return answer
    return answer | {"sentence": f"{answer['sentence']} {said}"}


def no_answer(answer: Answer, reason: str) -> Answer:
    """The same question's answer where nothing can be concluded; its numbers stay."""
    arms = {arm: of | {"outcome": "no_answer", "sentence": reason} for arm, of in answer["arms"].items()}
    return answer | {
        "outcome": "no_answer",
        "answer": "No answer: nothing was learned",
        "sentence": reason,
        "arms": arms,
    }


def not_asked(margin: float) -> Answer:
    """Of a question that no arm is named for."""
    return {"outcome": "not_asked", "answer": "Not asked", "number": "no arm is named"} | {
        "sentence": "No arm is named for this question.",
        "margin": margin,
        "arms": {},
    }


def _leading(outcomes: Mapping[str, str], arms: Mapping[str, Rivals], order: tuple[str, ...]) -> tuple[str, str]:
    """The outcome of the question, and of the arms that come to it the one that does best against its rivals."""
    outcome = next(each for each in order if each in outcomes.values())
    decisive = [arm for arm in arms if outcomes[arm] == outcome]
    return outcome, max(decisive, key=lambda arm: arms[arm][worst(arms[arm])].mean)


def _answer(
    outcome: str,
    headline: str,
    number: str,
    sentences: Mapping[str, str],
    outcomes: Mapping[str, str],
    arms: Mapping[str, Rivals],
    rule: Rule,
) -> Answer:
    first = [arm for arm in arms if outcomes[arm] == outcome]
    rest = [arm for arm in arms if arm not in first]
    return {
        "outcome": outcome,
        "answer": headline,
        "number": number,
        "sentence": " ".join(sentences[arm] for arm in first + rest),
        "margin": rule.margin,
        "arms": {
            arm: {
                "outcome": outcomes[arm],
                "sentence": sentences[arm],
                "rivals": {rival: contrast.numbers() for rival, contrast in rivals.items()},
            }
            for arm, rivals in arms.items()
        },
    }


def _augment_sentence(arm: str, outcome: str, rivals: Rivals, plain: str, rule: Rule) -> str:
    strongest, least = worst(rivals), _margin(rule)
    if outcome == "worse":
        remark = "the same training without these images"
        return f"{_compared(arm, plain, rivals[plain], rule, remark)}: they make it worse."
    if outcome == "helps":
        return f"{_compared(arm, strongest, rivals[strongest], rule, 'the strongest rival')}: the images help."
    head = _compared(arm, strongest, rivals[strongest], rule)
    if outcome == "no_better":
        level = [rule.words[each] for each in rivals if rule.no_gain(rivals[each])]
        return f"{head}: a gain of {least} or more over {listed(level)} is ruled out."
    return f"{head}: whether the images help remains open{_remedy(rivals, f'a gain of {least}', rule)}."


def _stand_in_sentence(arm: str, outcome: str, rivals: Rivals, rule: Rule) -> str:
    strongest, least = worst(rivals), _margin(rule)
    ends = {
        "stands_in": f"less than {least} behind every rival, so they can stand in for real images",
        "falls_short": f"they fall short of real images by more than {least}",
        "undecided": f"whether they can stand in for real images remains open"
        f"{_remedy(rivals, 'it of images as good as real ones', rule)}",
    }
    return f"{_compared(arm, strongest, rivals[strongest], rule, 'the strongest rival')}: {ends[outcome]}."


def _compared(arm: str, rival: str, contrast: Contrast, rule: Rule, remark: str = "") -> str:
    size, rival_words = f"{100 * abs(contrast.mean):.1f}", f"that of {rule.words[rival]}"
    where = f"{size} percentage points {'above' if contrast.mean > 0 else 'below'} {rival_words}"
    if size == "0.0":
        where = f"level with {rival_words}"
    interval = "" if rule.replicates == 1 else f" ({100 * (1 - rule.level):g} % interval {_range(contrast)})"
    return f"With {rule.words[arm]}, {rule.measure} is {where}{f', {remark}' if remark else ''}{interval}"


def _remedy(rivals: Rivals, what: str, rule: Rule) -> str:
    """What would decide it."""
    if rule.replicates == 1:
        return "; a single replicate allows no interval"
    if least_p(rule.replicates, rule.contrasts) > rule.level:
        return f"; {rule.replicates} replicates are too few to show any difference"
    needed = [contrast.needed for contrast in rivals.values()]
    if None in needed:
        return f"; more test images are needed to show {what}"
    most = max(each for each in needed if each is not None)
    return f"; about {most} replicates would show {what} four times out of five" if most > rule.replicates else ""


def _excluded(rivals: Rivals, rule: Rule) -> str:
    """The strongest of the rivals over which a gain is ruled out; of all where it is over none."""
    return worst({rival: each for rival, each in rivals.items() if rule.no_gain(each)} or rivals)


def _number(arm: str, rivals: Rivals, rival: str, rule: Rule) -> str:
    """The one line that is read first; it names the arm where there are several."""
    contrast, named = rivals[rival], f"{rule.words[arm]} " if rule.arms > 1 else ""
    interval = "" if rule.replicates == 1 else f" ({_range(contrast)})"
    return f"{named}against {rule.words[rival]}: {signed_points(contrast.mean)} points{interval}"


def _range(contrast: Contrast) -> str:
    return f"{signed_points(contrast.low)} to {signed_points(contrast.high)}"


def _margin(rule: Rule) -> str:
    return f"{100 * rule.margin:g} percentage point{'' if rule.margin == 0.01 else 's'}"
