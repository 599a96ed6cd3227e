"""The words and the forms of numbers in the report and the data card."""

from collections.abc import Mapping, Sequence
from typing import Any

from stages.comparison.params import Measure, SensitivityParams

MEASURE_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "auroc": "AUROC",
    "sensitivity_at_specificity": "sensitivity at a stated specificity",
}
# The questions that every page answers, in the order of the answers.
QUESTIONS = {
    "augment": "Do they help, added to the real images?",
    "stand_in": "Can they stand in for the real images?",
    "leak": "Do they give away the real images?",
}
# The tone and the sign of an outcome: good news, bad news, or neither.
_GOOD, _BAD = ("good", "\N{CHECK MARK}"), ("bad", "\N{MULTIPLICATION X}")
TONES = {
    "helps": _GOOD,
    "stands_in": _GOOD,
    "no_sign": _GOOD,
    "worse": _BAD,
    "falls_short": _BAD,
    "leaks": _BAD,
    "no_better": ("neutral", "="),
}
# What the checks of `prepare` look for, in the words and the order of the report.
CHECKS = {
    "empty": "file without content",
    "undecodable": "file that cannot be read as what its name says",
    "truncated": "file that breaks off before its end",
    "too_large": "too large to be opened safely",
    "animated": "moving picture",
    "forbidden": "file that may not be read",
    "outside": "link to a place outside the folder",
    "not_a_number": "recording with values that are no numbers",
    "duplicate": "copy of another image of its class",
    "near_duplicate": "nearly a copy of another image of its class",
    "contradicting_labels": "copy of an image of another class",
    "near_contradicting_labels": "nearly a copy of an image of another class",
    "leak": "also in the test or validation set",
    "constant": "one colour throughout",
    "channel_outlier": "grey among images in colour, or the reverse",
    "size_outlier": "size or shape unlike all others",
    "upscaled": "smaller than it is used here, so enlarged",
    "wrong_extension": "name and content of the file disagree about its format",
    "class_too_small": "in a class with too few images",
}
# Measures beside the headline ones: name, what it is in plain words.
FURTHER_MEASURES = {
    "auroc": ("AUROC", "how often an image of a class is held likelier to be of it than another is; 0.5 is chance"),
    "average_precision": ("average precision", "how few others are among the likeliest images of a class; 1 is best"),
    "calibration_error": ("calibration error", "how far probabilities are from how often they are right; 0 is best"),
    "log_loss": ("log loss", "punishes confident mistakes; 0 is best"),
    "brier": ("Brier score", "squared error of the probabilities, 0 to 2; 0 is best"),
}
# Measures of fidelity: name, what it is in plain words.
FIDELITY_MEASURES = {
    "precision": ("precision", "synthetic images that look like some real one; low: many look wrong"),
    "recall": ("recall", "real images that look like some synthetic one; low: whole kinds are missing"),
    "coverage": ("coverage", "real images with a synthetic one close by; outliers hardly move it"),
    "density": ("density", "how crowded synthetic images are where real ones lie; 1 is as crowded"),
    "two_sample_auc": ("two-sample test", "how well a computer tells the two apart: 0.5 not at all, 1 always"),
    "frechet_distance": (
        "Fréchet distance",
        "FID's formula: how far apart the two clouds of images lie; lower is better",
    ),
    "kid": ("kernel distance (KID)", "the same by a formula that is fair to small sets; about 0 is best"),
}
# Decimals of those that are no shares.
_FIDELITY_DIGITS = {"density": 2, "two_sample_auc": 2, "frechet_distance": 2, "kid": 3}
# Of the two-sample test's AUC: beyond this nearly all images are told from real ones; how far off a floor may be.
EASILY_TOLD, ODD_FLOOR = 0.9, 0.1
# Disturbances of the test images, in words, and the words of their degrees.
DISTURBANCES = {
    "gaussian_noise": "noise",
    "gaussian_blur": "blur",
    "contrast": "less contrast",
    "brightness": "too bright",
    "jpeg": "coarse JPEG",
    "fgsm": "attack in one step (FGSM)",
    "pgd": "attack in many steps (PGD)",
}
_DEGREES = {"1": "slight", "2": "medium", "3": "strong"}
CLASSIFIERS = {
    "network": "neural network",
    "logistic_regression": "logistic regression",
    "linear_svm": "linear SVM",
    "random_forest": "random forest",
    "nearest_neighbours": "nearest neighbours",
}
ACTIONS = {"dropped": "dropped", "kept": "kept", "unlabelled": "kept without its label", "skipped": "skipped"}


def percent(share: float, digits: int = 1) -> str:
    """Of a share 0..1."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def count(number: int) -> str:
    """In groups of three digits."""
    return f"{number:,}".replace(",", "\N{NO-BREAK SPACE}")


def p_value(p: float) -> str:
    """To three decimals, as far as they mean anything."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def setting_words(setting: Mapping[str, Any]) -> str:
    """What an arm chose, in words: synthetic share 0.5, loss weight 0.5, filter by confidence keep 0.8."""
    words = {name.replace("_", " "): value for name, value in setting.items()}
    parts = [f"{name} {_inner(value) if isinstance(value, Mapping) else value}" for name, value in words.items()]
    return ", ".join(parts) or "none to choose"


def _inner(setting: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {value}" for name, value in setting.items())


def disturbance_words(name: str) -> str:
    """What was done to the images, in words: gaussian_noise_2 is noise, medium."""
    kind, _, degree = name.rpartition("_")
    words = DISTURBANCES.get(kind, kind.replace("_", " "))
    attack = kind in ("fgsm", "pgd")
    return f"{words}, {f'{degree} grey levels' if attack else _DEGREES.get(degree, degree)}"


def fidelity_value(value: float, measure: str) -> str:
    """A value of one of FIDELITY_MEASURES, shares in percent."""
    digits = _FIDELITY_DIGITS.get(measure)
    if digits is None:
        return percent(value)
    rounded = round(value, digits) + 0.0  # the sum turns -0.0 into 0.0
    return f"{rounded:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def two_sample_words(found: Mapping[str, Any]) -> str:
    """What the two-sample test says of a set, in one sentence; found: of one generator in `fidelity`.

    Its floor, what other real images get, says whether the test itself can be believed: they are real, so .5 is right.
    """
    auc, floor = found["measures"]["two_sample_auc"]["mean"], found["floor"]["two_sample_auc"]["mean"]
    if abs(floor - 0.5) > ODD_FLOOR:
        return (
            f"The test is of no use here: it takes other real images for something else, too ({floor:.2f} where 0.50 "
            f"is right), because {found['images']} images are too few."
        )
    if auc > EASILY_TOLD:
        return "A simple computer program tells nearly all of them from real images."
    if auc > floor + ODD_FLOOR:
        return "A simple computer program tells many of them from real images."
    return "A simple computer program hardly tells them from real images."


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def tone(outcome: str) -> tuple[str, str]:
    """good, bad or neutral, and a sign that says the same without colour."""
    return TONES.get(outcome, ("neutral", "?"))


def notices(numbers: Mapping[str, Any]) -> list[str]:
    """What belongs on top of any page: why there is no answer, where there is none, and the warnings."""
    dead = [each["sentence"] for each in numbers["answers"].values() if each["outcome"] == "no_answer"]
    return list(dict.fromkeys(dead + numbers["warnings"]))


def heeded(warning: str) -> tuple[str, str]:
    """The words of a warning that matter, up to its first colon, and the rest; all of it where it has none."""
    head, colon, rest = warning.partition(": ")
    return (f"{head}{colon.strip()}", rest) if colon else (warning, "")


def check_words(kind: str) -> str:
    """What a check of `prepare` found, in words."""
    return CHECKS.get(kind, kind.replace("_", " "))


def classifier_words(name: str) -> str:
    """A classifier beside which the arms are compared, in words."""
    return CLASSIFIERS.get(name, name.replace("_", " "))


def shortened(name: str, most: int = 48) -> str:
    """A long name without its middle: folders and the file itself are told by the ends."""
    end = (most - 1) // 2
    return name if len(name) <= most else f"{name[: most - 1 - end]}\N{HORIZONTAL ELLIPSIS}{name[-end:]}"


def markdown_cell(text: str) -> str:
    """Text that can break neither out of a Markdown table's cell nor into HTML."""
    flat = " ".join(str(text).split())
    for character in "&\\|`*[]<>":
        flat = flat.replace(character, f"&#{ord(character)};")
    return flat


def measure_words(measure: Measure) -> str:
    """A measure of the answers in words."""
    if isinstance(measure, SensitivityParams):
        return f"sensitivity for {measure.of} at {100 * measure.sensitivity_at_specificity:g} % specificity"
    return MEASURE_NAMES[measure]


def signed_points(share: float) -> str:
    """A share as percentage points with its sign: 0.012 is +1.2; the minus is the typographic one."""
    points = f"{100 * share:+.1f}".replace("-", "\N{MINUS SIGN}")
    return "0.0" if float(points[1:]) == 0 else points


def listed(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
