"""The answer to the question whether a published set gives away the real images that it was made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stages.comparison.budget import budget_words
from stages.comparison.persons import judge_persons, number
from stages.comparison.privacy import KINDS
from stages.comparison.wording import percent

Outcome = Literal["no_sign", "leaks", "cannot_tell"]
Entry = Mapping[str, Any]

TRANSLATED = "each is one of the labelled real images in other looks, and who knows that image may recognise it."
KEPT = "each is one of the labelled real images, kept to the pixel but for one region."
SURELY_FOUND = 0.5  # of a kind of planted copy: where less is found, the filter is blind to it
ANSWERS: dict[Outcome, str] = {
    "no_sign": "No sign of a leak",
    "leaks": "Yes, they leak",
    "cannot_tell": "Cannot tell whether they leak",
}
WORST: tuple[Outcome, ...] = ("leaks", "cannot_tell", "no_sign")  # the question is answered by the worst set


@dataclass(frozen=True)
class SetLeak:
    """One generator's set.

    sentence: for people, why it has this outcome. attacks: as `published.attack_published` gives them. worst: the one
    that gives the set away, or else the one whose interval reaches farthest from a guess; None where nothing could be
    attacked. least_found: the kind of planted copy that the filter finds least often, and its share `detected`; None
    where none was planted. persons: as `reidentification.reidentify` gives it, on which the outcome then rests; None
    where nobody was looked for.
    """

    outcome: Outcome
    sentence: str
    attacks: Mapping[str, Entry]
    worst: Entry | None
    least_found: Mapping[str, Any] | None
    persons: Entry | None = None


def judge_set(
    attacks: Mapping[str, Entry],
    privacy: Entry,
    margin: float,
    made_here: bool,
    translated: bool = False,
    persons: Entry | None = None,
) -> SetLeak:
    """In this order: leaks, cannot tell, no sign.

    It leaks where an attack's whole interval lies beyond .5 +- margin, on either side (a hole around the images that
    were seen gives them away too), where too many images resemble the real one that they were drawn from, or where each
    is a real one in other looks. Nobody can tell where nothing could be attacked, where an interval reaches beyond the
    margin, where the filter misses half of some kind of planted copy, or where the images were made elsewhere, out of
    nobody knows what.

    Args:
        attacks: as `published.attack_published` gives them, with intervals that hold together.
        privacy: metrics/filter_memorized/<generator>.json.
        margin: `evaluate.leak_margin`, 0..0.5.
        made_here: whether a generator of this project drew the images.
        translated: whether each of them is a real image, carried to the looks of another domain.
        persons: as `reidentification.reidentify` gives it, of real images whose region was drawn anew. It alone decides
            then: that such an image's source is found is no news.
    """
    planted = privacy.get("planted", {})
    least = min(planted, key=lambda kind: planted[kind]["detected"], default=None)
    found = None if least is None else {"kind": least, "detected": planted[least]["detected"]}
    beyond = [each for each in attacks.values() if _is_beyond(each, margin)]
    worst = max(beyond or attacks.values(), key=_reach, default=None)
    outcome, sentence = _finding(worst, privacy, found, margin, made_here)
    if translated:
        outcome, sentence = "leaks", f"{TRANSLATED} As to the images whose looks they have: {sentence}"
    if persons is not None:
        outcome, sentence = judge_persons(persons, margin)
    return SetLeak(outcome, sentence, attacks, worst, found, persons)


def leak_answer(
    sets: Mapping[str, SetLeak],
    published: Mapping[str, bool],
    words: Mapping[str, str],
    margin: float,
    promises: Mapping[str, Entry],
) -> dict[str, Any]:
    """`answers.leak` of metrics/evaluate.json. The worst set answers for all.

    sets: by generator, at least one. published: whether a generator's set is given away. words: what draws its images,
    in words. promises: of those with a privacy budget, `promise` of metrics/train_gan/<generator>.json.
    """
    outcome = next(each for each in WORST if any(own.outcome == each for own in sets.values()))
    deciding = {name: own for name, own in sets.items() if own.outcome == outcome}
    name = max(deciding, key=lambda each: _reach(deciding[each].worst))
    sentences = [f"{words[each]} images: {own.sentence}" for each, own in deciding.items()]
    sentences += [f"{words[each]} images: {budget_words(promise)}" for each, promise in promises.items()]
    withheld = [each for each in sets if not published[each]]
    if withheld:
        sentences.append(f"Withheld: the {', '.join(words[each] for each in withheld)} images.")
    return {
        "outcome": outcome,
        "answer": ANSWERS[outcome],
        "number": _headline(words[name], deciding[name]),
        "sentence": " ".join(sentences),
        "margin": margin,
        "sets": {
            each: {
                "outcome": own.outcome,
                "sentence": own.sentence,
                "published": int(published[each]),
                "attacks": {attack: dict(entry) for attack, entry in own.attacks.items()},
                **({"promise": dict(promises[each])} if each in promises else {}),
                **({"least_found": dict(own.least_found)} if own.least_found else {}),
                **({"persons": dict(own.persons)} if own.persons else {}),
            }
            for each, own in sets.items()
        },
    }


def withheld(outcome: Outcome, privacy: Entry, publish_leaking: bool) -> bool:
    """Whether a set is not given away: it shows its sources, or it leaks and nobody said that it may."""
    own_source = privacy.get("own_source")
    shows_sources = own_source is not None and not own_source["publishable"]
    return shows_sources or (outcome == "leaks" and not publish_leaking)


def _headline(words: str, own: SetLeak) -> str:
    if own.persons is not None:
        return number(own.persons, words)
    return f"best attack on the {words} images: {_number(own.worst)}"


def _finding(
    worst: Entry | None, privacy: Entry, least_found: Entry | None, margin: float, made_here: bool
) -> tuple[Outcome, str]:
    if worst is not None and _is_beyond(worst, margin):
        return "leaks", _what_it_tells(worst)
    own_source = privacy.get("own_source")
    if own_source is not None and own_source.get("kept"):
        unsearched = own_source.get("not_searched")
        return "leaks", KEPT + (f" No person was looked for: {unsearched}." if unsearched else "")
    if own_source is not None and not own_source["publishable"]:
        share = percent(own_source["share"])
        return "leaks", f"{share} of the images show the very real image that they were drawn from."
    if not made_here:
        return "cannot_tell", "they were made elsewhere, and nothing here knows from which images."
    if worst is None:
        return "cannot_tell", "too few real images were held out to try an attack; raise `prepare.calibration`."
    if least_found is not None and least_found["detected"] < SURELY_FOUND:
        kind, share = KINDS.get(least_found["kind"], least_found["kind"]), percent(least_found["detected"])
        return "cannot_tell", (
            f"the search for copies is blind to some. Of real images copied on purpose, {kind}, it finds {share}."
        )
    if worst["high"] > 0.5 + margin or worst["low"] < 0.5 - margin:
        return "cannot_tell", (
            f"the best attack is {_number(worst)}, which allows for no more than a guess and for a leak. More "
            "replicates or more calibration images would tell."
        )
    return "no_sign", _how_little_it_tells(worst, margin)


def _what_it_tells(attack: Entry) -> str:
    """Of a leak, in words that need no statistics."""
    named = ""
    if "detected" in attack:
        named = f" It names {percent(attack['detected'])} of those used while it wrongly names 1 % of the others."
    if attack["auc"] > 0.5:
        return (
            "whoever holds them can tell which real images they were made from. Shown one that was used and one that "
            f"was not, an attacker is {_number(attack)}.{named}"
        )
    return (
        "they keep so far from the real images that they were made from that the gap gives these away. Shown one that "
        f"was used and one that was not, an attacker who looks for gaps is {_number(_mirrored(attack))}."
    )


def _how_little_it_tells(attack: Entry, margin: float) -> str:
    shown = attack if attack["auc"] >= 0.5 else _mirrored(attack)
    chance = f"That is more than chance, and within the {100 * margin:g} points allowed." if shown["low"] > 0.5 else ""
    told = f"shown a real image that was used and one that was not, the best attack is {_number(shown)}."
    return f"{told} {chance}".strip()


def _mirrored(attack: Entry) -> dict[str, float]:
    """The same attack by one who takes the less likely image for the one that was used."""
    return {"auc": 1 - attack["auc"], "low": 1 - attack["high"], "high": 1 - attack["low"]}


def _number(attack: Entry | None) -> str:
    if attack is None:
        return "none could be tried"
    low, high = (f"{100 * attack[end]:.0f}" for end in ("low", "high"))
    return f"right in {100 * attack['auc']:.0f} % of cases ({low} to {high}; 50 is a guess)"


def _is_beyond(attack: Entry, margin: float) -> bool:
    """Whether the whole interval lies farther from a guess than the margin."""
    return bool(attack["low"] > 0.5 + margin or attack["high"] < 0.5 - margin)


def _reach(attack: Entry | None) -> float:
    """How far from a guess an attack's interval reaches."""
    return -1.0 if attack is None else max(attack["high"] - 0.5, 0.5 - attack["low"])
