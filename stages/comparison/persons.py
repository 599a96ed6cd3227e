"""Whether persons are found again in images whose region was drawn anew: outcome, sentence and rows of a table."""

from collections.abc import Mapping
from typing import Any, Literal

from stages.comparison.wording import count, percent

BEFORE, AFTER, RIVALS = "before", "after", ("blur", "pixels", "black")  # what was done to a region
Found = Mapping[str, Any]  # as `reidentification.reidentify` gives it
AT_ONCE = (
    "Whoever has the very photograph that an image was made from finds it at once: all but the region is kept to the "
    "pixel."
)
ATTACKERS = {
    "whole": "nearest photograph, all pixels",
    "region": "nearest photograph, the region alone",
    "rest": "nearest photograph, all but the region",
    "classifier": "classifier of persons",
    "alike": "classifier of persons who are treated alike",
    "backbone": "nearest photograph, pretrained network",
}
COLUMNS = {BEFORE: "photograph", AFTER: "generated", "blur": "blurred", "pixels": "pixelated", "black": "blacked out"}


def judge_persons(found: Found, margin: float) -> tuple[Literal["no_sign", "leaks", "cannot_tell"], str]:
    """Outcome and sentence. margin: how far above chance an attacker may be, 0..1.

    It leaks where an attacker's whole interval lies farther above chance, and there is no sign where all of them lie
    nearer: of these intervals, which hold together, one that does not decides.
    """
    views = found["views"]
    if any(each[AFTER]["low"] - each["chance"] > margin for each in views.values()):
        outcome: Literal["no_sign", "leaks", "cannot_tell"] = "leaks"
    elif all(each[AFTER]["high"] - each["chance"] < margin for each in views.values()):
        outcome = "no_sign"
    else:
        outcome = "cannot_tell"
    return outcome, f"{_OUTCOMES[outcome]} {_told(found)} {AT_ONCE}"


def number(found: Found, words: str) -> str:
    """The one line that is read first. words: what draws the images."""
    own = found["views"][_best(found)]
    return f"the person is named in {_range(own[AFTER])} of the {words} images; a guess: {percent(own['chance'])}"


def rows(found: Found) -> list[tuple[str, list[str], str]]:
    """A row for each attacker: in words, the share of images in which it names the person, by COLUMNS, and chance."""
    return [
        (
            ATTACKERS[view],
            [_range(own[way]) if way == AFTER else percent(own[way]["rate"]) for way in COLUMNS],
            percent(own["chance"]),
        )
        for view, own in found["views"].items()
    ]


_OUTCOMES = {
    "leaks": "persons are found again.",
    "no_sign": "no attacker that was tried finds persons much more often than a guess does.",
    "cannot_tell": "too few persons were looked for to tell whether they are found.",
}


def _told(found: Found) -> str:
    view = _best(found)
    own, rest = found["views"][view], found["views"]["rest"]
    rivals = ", ".join(f"{COLUMNS[way]} {percent(own[way]['rate'])}" for way in RIVALS)
    return (
        f"{count(found['persons'])} persons (groups of images) were looked for among {count(found['photographs'])} "
        f"other photographs. The best attacker ({ATTACKERS[view]}) names the person in {_range(own[AFTER])}; in the "
        f"photographs themselves in {percent(own[BEFORE]['rate'])}, with the same region {rivals}; a guess is right in "
        f"{percent(own['chance'])}. "
        "What lies outside the region, such as background and clothes, gives away "
        f"{percent(rest[AFTER]['rate'])} by itself."
    )


def _best(found: Found) -> str:
    """The attacker that is surest to be above chance."""
    views = found["views"]
    return max(views, key=lambda view: (views[view][AFTER]["low"] - views[view]["chance"], views[view][AFTER]["rate"]))


def _range(rate: Found) -> str:
    return f"{percent(rate['rate'])} ({percent(rate['low'])} to {percent(rate['high'])})"
