"""What the report and the data card say about privacy, as plain data out of metrics/filter_memorized.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.memorization.conformal import LIMIT, calibration_needed, guarantee
from stages.memorization.params import CONFIDENCE

MEMORISED = 0.5  # share dropped beyond which the generator copies more than it invents
MOSTLY = 0.95  # found of a kind of copy: less and it is named as one that is missed
COPYING_Z = -3.0  # of the data-copying test; as far above 0 there is a hole

# How a copy was disguised, in the words and the order of the report.
KINDS = {
    "exact": "the image itself",
    "noise": "with noise",
    "shift": "moved by a pixel or 3 %",
    "flip": "mirrored",
    "brightness": "darker or brighter",
    "contrast": "with less or more contrast",
    "jpeg": "compressed as a JPEG of poor quality",
    "blur": "blurred",
    "rotation": "turned by 5 degrees",
    "mix": "mixed with a fifth of another image",
    "crop": "cropped and enlarged",
    "shift_brightness_noise": "moved, darker or brighter, and with noise",
    "flip_contrast": "mirrored, with less or more contrast",
}
ATTACKS = {
    "distance": "How near is the nearest generated image?",
    "monte_carlo": "How many generated images lie near?",
    "domias": "Do more generated images lie near than real ones?",
}
NEARER, GUESS, FARTHER = "members are nearer", "a guess", "members are farther"


@dataclass(frozen=True)
class Rate:
    """A share 0..1 with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PlantedKind:
    """One kind of planted copy: how it was disguised, share found 0..1, how many there were, AUC 0..1 if measured."""

    words: str
    found: float
    copies: int
    auc: float | None


@dataclass(frozen=True)
class Attack:
    """AUC of one attack and its reading in words; detected: members named at 1 % false positives, if measured."""

    auc: Rate
    reading: str
    detected: Rate | None


@dataclass(frozen=True)
class AttackRow:
    """One attack, as the question it asks, on all generated images and on those kept."""

    words: str
    before: Attack
    after: Attack


@dataclass(frozen=True)
class SetTests:
    """Tests of a whole set: see `memorization.set_level`. copied: class -> share 0..1, where it has images."""

    data_copying_z: float
    reading: str
    authentic: float
    authentic_fresh: float
    copied: Mapping[str, float]


@dataclass(frozen=True)
class ClassRow:
    """Images of a class, and share of them suspiciously near to real ones, None where that is not known."""

    name: str
    generated: int
    dropped: int
    near_before: float | None
    near_after: float | None


@dataclass(frozen=True)
class PrivacySection:
    """All that is said about privacy. Every number in it is about many images: none is about a single one.

    alpha and dropped_share: 0..1. fresh and fresh_blurred: share of real images that would be dropped by mistake, None
    where none were held out. keeps_promise: whether `fresh` is compatible with alpha. planted: empty where the filter
    was not tested. often_missed: those of `planted` that are. attacks: empty where there were too few images for one.
    attack_summary: what they say of the images kept. before, after: tests of all generated images and of those kept.
    """

    alpha: float
    generated: int
    dropped: int
    dropped_share: float
    memorised: bool
    outcome: str
    promise: str
    labels_used: int
    fresh: Rate | None
    keeps_promise: bool
    fresh_blurred: Rate | None
    classes: tuple[ClassRow, ...]
    planted: tuple[PlantedKind, ...]
    often_missed: tuple[PlantedKind, ...]
    attacks: tuple[AttackRow, ...]
    attack_summary: str
    before: SetTests | None
    after: SetTests | None


def privacy_section(classes: Sequence[str], metrics: Mapping[str, Any]) -> PrivacySection:
    """classes: names, in the order of their rows. metrics: as metrics/filter_memorized.json."""
    fresh = _rate(metrics.get("false_positive_rate"))
    planted, attacks = _planted(metrics), _attacks(metrics)
    before, after = (_set_tests(metrics, when) for when in ("before", "after"))
    return PrivacySection(
        alpha=metrics["alpha"],
        generated=metrics["generated"],
        dropped=metrics["dropped"],
        dropped_share=metrics["dropped_share"],
        memorised=metrics["dropped_share"] > MEMORISED,
        outcome=_outcome(metrics["dropped_share"], metrics["alpha"]),
        promise=_promise(metrics),
        labels_used=metrics.get("labels_used", 0),
        fresh=fresh,
        keeps_promise=fresh is None or fresh.low <= metrics["alpha"],
        fresh_blurred=_rate(metrics.get("false_positive_rate_blurred")),
        classes=tuple(_class_row(name, metrics["classes"][name], before, after) for name in classes),
        planted=planted,
        often_missed=tuple(kind for kind in planted if kind.found < MOSTLY),
        attacks=attacks,
        attack_summary=_attack_summary(attacks),
        before=before,
        after=after,
    )


def _outcome(dropped_share: float, alpha: float) -> str:
    """What the share dropped says about the generator."""
    if dropped_share > MEMORISED:
        return "The GAN has memorised: most of what it generated lies suspiciously close to images that it saw."
    if dropped_share > 2 * alpha:
        return (
            "That is more than twice as often as the threshold allows for fresh real images: this GAN comes close to "
            "the images it saw."
        )
    if dropped_share > alpha:
        return "That is somewhat more often than the threshold allows for fresh real images."
    return "That is no more often than the threshold allows for fresh real images."


def _promise(metrics: Mapping[str, Any]) -> str:
    """What the threshold promises: by full conformal prediction, by class, or pooled."""
    alpha, calibration = metrics["alpha"], metrics["calibration"]
    confidence = CONFIDENCE if metrics["with_confidence"] else None
    if not calibration:
        return (
            "No real images were held out to set the threshold. Each generated image was ranked among the images that "
            "its GAN saw instead, as if it were one more of them (full conformal prediction). Of fresh real images, "
            f"drawn like those, the filter drops at most {alpha:.2%} on average. {LIMIT}"
        )
    if metrics["per_class"]:
        how = "on average" if confidence is None else f"with {confidence:.0%} confidence"
        return (
            f"Each class with at least {calibration_needed(alpha, confidence)} calibration images has a threshold of "
            f"its own. Of the fresh real images of such a class, the filter drops at most {alpha:.2%} {how}. Classes "
            f"with fewer share one threshold, set on all {calibration} calibration images; of each of them alone "
            f"nothing is promised. {LIMIT}"
        )
    return guarantee(alpha, calibration, confidence)


def _class_row(name: str, counts: Mapping[str, int], before: SetTests | None, after: SetTests | None) -> ClassRow:
    near_before, near_after = (None if tests is None else tests.copied.get(name) for tests in (before, after))
    return ClassRow(name, counts["generated"], counts["dropped"], near_before, near_after)


def _planted(metrics: Mapping[str, Any]) -> tuple[PlantedKind, ...]:
    found = metrics.get("planted", {})
    return tuple(
        PlantedKind(
            words=KINDS.get(kind, kind.replace("_", " ")),
            found=found[kind]["detected"],
            copies=found[kind]["copies"],
            auc=found[kind].get("auc"),
        )
        for kind in _in_order(found, KINDS)
    )


def _attacks(metrics: Mapping[str, Any]) -> tuple[AttackRow, ...]:
    found = metrics.get("attacks", {"before": {}, "after": {}})
    return tuple(
        AttackRow(
            words=ATTACKS.get(name, name.replace("_", " ")),
            before=_attack(found["before"][name]),
            after=_attack(found["after"][name]),
        )
        for name in _in_order(found["before"], ATTACKS)
    )


def _attack(entry: Mapping[str, float]) -> Attack:
    reading = NEARER if entry["low"] > 0.5 else FARTHER if entry["high"] < 0.5 else GUESS
    detected = None
    if "detected" in entry:
        detected = Rate(entry["detected"], entry["detected_low"], entry["detected_high"])
    return Attack(Rate(entry["auc"], entry["low"], entry["high"]), reading, detected)


def _attack_summary(rows: Sequence[AttackRow]) -> str:
    """What the attacks on the images kept say together; nothing where there was none."""
    readings = {row.after.reading for row in rows}
    said = []
    if NEARER in readings:
        said.append("What was kept still tells something about which images the GAN saw.")
    if any(row.after.reading == FARTHER != row.before.reading for row in rows):
        said.append(
            "What was kept leaves a hole around the images that the GAN saw, and who looks for holes finds them: the "
            "filter drops too much."
        )
    elif FARTHER in readings:
        said.append(
            "What was kept lies farther from the images that the GAN saw than from others, which tells something about "
            "them too. So did all generated images: it is not the filter's doing."
        )
    if readings == {GUESS}:
        said.append("None of these attacks on the images kept is clearly better than a guess.")
    return " ".join(said)


def _set_tests(metrics: Mapping[str, Any], when: str) -> SetTests | None:
    entry = metrics.get("set_level", {}).get(when)
    if entry is None:
        return None
    z = entry["data_copying_z"]
    reading = "data copying" if z < COPYING_Z else "farther than fresh" if z > -COPYING_Z else "as near as fresh"
    return SetTests(z, reading, entry["authentic"], entry["authentic_fresh"], entry["copied"])


def _rate(entry: Mapping[str, float] | None) -> Rate | None:
    return None if entry is None else Rate(entry["rate"], entry["low"], entry["high"])


def _in_order(found: Mapping[str, Any], order: Mapping[str, str]) -> list[str]:
    """The names that were found, those known in their order and others after them."""
    return [*(name for name in order if name in found), *(name for name in found if name not in order)]
