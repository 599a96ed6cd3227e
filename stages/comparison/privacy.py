"""What the report and the data card say about privacy, out of metrics/filter_memorized/<generator>.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.comparison.wording import count, percent
from stages.memorization.conformal import LIMIT, calibration_needed, guarantee
from stages.memorization.params import CONFIDENCE

MEMORISED = 0.5  # share dropped beyond which the generator copies more than it invents
MOSTLY = 0.95  # found of a kind of copy: less and it is named as one that is missed

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
KEEPS_ALL = (
    "All are kept, whatever they resemble: this generator keeps a privacy budget, which does not account for what the "
    "filter knows of the real images."
)
# On each replicate's images by themselves, to see what the filter changes.
ATTACKS = {
    "distance": "How near is the nearest generated image?",
    "monte_carlo": "How many generated images lie near?",
    "domias": "Do more generated images lie near than real ones?",
}
# On the set as it is published: the images of all replicates, each told by its replicate.
PUBLISHED_ATTACKS = {
    "nearest": "Is the nearest image of a replicate nearer than those of the other replicates?",
    "five_nearest": "Are a replicate's five nearest images nearer than those of the other replicates?",
}
NEARER, GUESS, FARTHER = "members are nearer", "a guess", "members are farther"

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class PrivacySection:
    """All that is said about the privacy of one generator's images: numbers of `metrics` and their words.

    Every number is about many images, none about a single one. metrics: metrics/filter_memorized/<generator>.json.
    fresh, fresh_blurred: share of real images that would be dropped by mistake, None where none were held out.
    keeps_promise: whether `fresh` is compatible with alpha. planted: (copy in words, its entry), empty where the filter
    was not tested; often_missed: those that are. attacks: (question, entry on all images, entry on those kept), with a
    `reading` in each entry; empty where there were too few images for one. attack_summary: what they say of the images
    kept. before, after: tests of all images and of those kept, with a `reading`, or None. own_source: how many
    resemble the real image that they were drawn from, in words; '' where they were drawn from none.
    """

    metrics: Entry
    memorised: bool
    outcome: str
    promise: str
    fresh: Entry | None
    fresh_blurred: Entry | None
    keeps_promise: bool
    planted: Sequence[tuple[str, Entry]]
    often_missed: Sequence[tuple[str, Entry]]
    attacks: Sequence[tuple[str, Entry, Entry]]
    attack_summary: str
    before: Entry | None
    after: Entry | None
    own_source: str


def privacy_section(metrics: Entry, promise: Entry | None) -> PrivacySection:
    """metrics: as metrics/filter_memorized/<generator>.json. promise: as in metrics/train_gan/<generator>.json."""
    fresh, found = metrics.get("false_positive_rate"), metrics.get("planted", {})
    planted = [(KINDS.get(kind, kind.replace("_", " ")), found[kind]) for kind in _in_order(found, KINDS)]
    attacks = _attacks(metrics.get("attacks", {"before": {}, "after": {}}))
    set_level = metrics.get("set_level", {})
    return PrivacySection(
        metrics=metrics,
        memorised=metrics["dropped_share"] > MEMORISED,
        outcome=KEEPS_ALL if promise else _outcome(metrics["dropped_share"], metrics["alpha"]),
        promise=_promise(metrics),
        fresh=fresh,
        fresh_blurred=metrics.get("false_positive_rate_blurred"),
        keeps_promise=fresh is None or fresh["low"] <= metrics["alpha"],
        planted=planted,
        often_missed=[(words, entry) for words, entry in planted if entry["detected"] < MOSTLY],
        attacks=attacks,
        attack_summary=_attack_summary(attacks),
        before=_set_tests(set_level.get("before")),
        after=_set_tests(set_level.get("after")),
        own_source=_own_source(metrics.get("own_source")),
    )


def attack_words(name: str) -> str:
    """What an attacker asks."""
    return (ATTACKS | PUBLISHED_ATTACKS).get(name, name.replace("_", " "))


def _outcome(dropped_share: float, alpha: float) -> str:
    """What the share dropped says about the generator."""
    if dropped_share > MEMORISED:
        return "The generator has memorised: most of its images lie suspiciously close to training images."
    if dropped_share > 2 * alpha:
        return (
            "That is more than twice as often as the threshold allows for fresh real images: this generator comes "
            "close to the training images."
        )
    if dropped_share > alpha:
        return "That is somewhat more often than the threshold allows for fresh real images."
    return "That is no more often than the threshold allows for fresh real images."


def _promise(metrics: Mapping[str, Any]) -> str:
    """What the threshold promises: by full conformal prediction, by class, or pooled."""
    return f"{_promise_of_mode(metrics)}{_exception(metrics['near_twins'])}"


def _exception(near_twins: float) -> str:
    """Whom the promise leaves out; nothing where near-twins are too few to be grouped."""
    if not near_twins:
        return ""
    return (
        f" {percent(near_twins)} of the calibration images have a near-twin among the training images, such as another "
        "picture of the same thing, and are compared with all others. The promise is about images without a near-twin: "
        "one that has one may be dropped, as a copy may."
    )


def _promise_of_mode(metrics: Mapping[str, Any]) -> str:
    alpha, calibration = metrics["alpha"], metrics["calibration"]
    confidence = CONFIDENCE if metrics["with_confidence"] else None
    if not calibration:
        return (
            "No real images were held out to set the threshold. Each generated image was ranked among the training "
            "images instead, as if it were one more of them (full conformal prediction). Of fresh real images, drawn "
            f"like those, the filter drops at most {alpha:.2%} on average. {LIMIT}"
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


def _attacks(found: Mapping[str, Mapping[str, Entry]]) -> list[tuple[str, Entry, Entry]]:
    questions = {name: ATTACKS.get(name, name.replace("_", " ")) for name in _in_order(found["before"], ATTACKS)}
    return [
        (question, _with_reading(found["before"][name]), _with_reading(found["after"][name]))
        for name, question in questions.items()
    ]


def _with_reading(attack: Entry) -> Entry:
    reading = NEARER if attack["low"] > 0.5 else FARTHER if attack["high"] < 0.5 else GUESS
    return {**attack, "reading": reading}


def _attack_summary(rows: Sequence[tuple[str, Entry, Entry]]) -> str:
    """What the attacks on the images kept say together; nothing where there was none."""
    readings = {after["reading"] for _, _, after in rows}
    said = []
    if NEARER in readings:
        said.append("What was kept still tells something about which images were training images.")
    if any(after["reading"] == FARTHER != before["reading"] for _, before, after in rows):
        said.append(
            "What was kept leaves a hole around the training images, and who looks for holes finds them: the filter "
            "drops too much."
        )
    elif FARTHER in readings:
        said.append(
            "What was kept lies farther from the training images than from others, which tells something about them "
            "too. So did all generated images: it is not the filter's doing."
        )
    if readings == {GUESS}:
        said.append("None of these attacks on the images kept is clearly better than a guess.")
    return " ".join(said)


def _set_tests(entry: Entry | None) -> Entry | None:
    if entry is None:
        return None
    nearer, farther = entry["data_copying_high"] < 0, entry["data_copying_low"] > 0
    reading = "nearer than fresh" if nearer else "farther than fresh" if farther else "as near as fresh"
    return {**entry, "reading": reading}


def _own_source(entry: Entry | None) -> str:
    if entry is None:
        return ""
    if entry.get("searched"):
        outcome = (
            "Somebody said so: this set is given away." if entry["publishable"] else "The set is therefore withheld."
        )
        return (
            "Each image is a real one, kept to the pixel but for one region. That persons were looked for promises "
            "nothing: nothing of it is published unless somebody says that real images may be "
            f"(evaluate.publish_real_images), or these (evaluate.publish_leaking). {outcome}"
        )
    if entry.get("kept"):
        outcome = "So may this set." if entry["publishable"] else "The set is therefore withheld."
        return (
            "Each image is a real one, kept to the pixel but for one region: nothing of it may be published unless the "
            f"real images themselves may (evaluate.publish_real_images). {outcome}"
        )
    share, low, high = (percent(entry[name]) for name in ("share", "low", "high"))
    outcome = "This is rare enough to give the set away." if entry["publishable"] else "The set is therefore withheld."
    return (
        f"Each image was drawn from a real one. {count(entry['resembling'])} of {count(entry['images'])} resemble it "
        f"as a copy would ({share}, 95 % interval {low} to {high}). {outcome}"
    )


def _in_order(found: Mapping[str, Any], order: Mapping[str, str]) -> list[str]:
    """The names that were found, those known in their order and others after them."""
    return [*(name for name in order if name in found), *(name for name in found if name not in order)]
