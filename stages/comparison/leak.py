"""The answer to whether the published sets give away those that they were learned from."""

from collections.abc import Mapping
from typing import Any

Answer = dict[str, Any]
ORDER = ("leaks", "cannot_tell", "no_sign")  # the worst set decides
HEADLINES = {"leaks": "Yes, it leaks", "cannot_tell": "Cannot be told", "no_sign": "No sign of a leak found"}


def leak_answer(sets: Mapping[str, Mapping[str, Any]], margin: float) -> Answer:
    """sets: generator -> outcome, sentence, attacks, ... of its published set."""
    outcome = next(each for each in ORDER if any(of["outcome"] == each for of in sets.values()))
    worst = {name: _worst(of["attacks"]) for name, of in sets.items() if of["attacks"]}
    named = max(worst, key=lambda name: abs(worst[name][1] - 0.5), default=None)
    return {
        "outcome": outcome,
        "answer": HEADLINES[outcome],
        "number": f"strongest attack: AUC {worst[named][1]:.2f} (0.5 is a guess)" if named else "no attack was made",
        "sentence": " ".join(of["sentence"] for of in sets.values() if of["outcome"] == outcome),
        "margin": margin,
        "sets": dict(sets),
    }


def sets_of_filter(privacy: Mapping[str, Mapping[str, Any]], margin: float) -> dict[str, dict[str, Any]]:
    """privacy: generator -> metrics/filter_memorized/<generator>.json, whose attacks on what was kept are taken."""
    return {name: _set(name, of.get("attacks", {}).get("after", {}), margin) for name, of in privacy.items()}


def _set(name: str, attacks: Mapping[str, Mapping[str, float]], margin: float) -> dict[str, Any]:
    if not attacks:
        outcome, said = "cannot_tell", "there were too few images to attack the set"
    elif any(each["low"] > 0.5 + margin or each["high"] < 0.5 - margin for each in attacks.values()):
        outcome, said = "leaks", "an attack tells training images from others"
    elif all(each["low"] >= 0.5 - margin and each["high"] <= 0.5 + margin for each in attacks.values()):
        outcome, said = "no_sign", "no attack does better than a guess by more than the margin"
    else:
        outcome, said = "cannot_tell", "the attacks' intervals are too wide"
    found = {kind: dict(each) for kind, each in attacks.items()}
    return {"outcome": outcome, "sentence": f"Images of {name}: {said}.", "published": 1, "attacks": found}


def _worst(attacks: Mapping[str, Mapping[str, float]]) -> tuple[str, float]:
    kind = max(attacks, key=lambda each: abs(attacks[each]["auc"] - 0.5))
    return kind, attacks[kind]["auc"]
