"""Whether an experiment can answer anything: is the reference above chance, and what must be said on top otherwise."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.comparison.contrasts import Measured
from stages.comparison.params import SensitivityParams
from stages.comparison.scores import MEASURES, Scores
from stages.comparison.statistics import least_p, percentile_interval
from stages.comparison.wording import classifier_words, listed, percent

Floats = NDArray[np.float64]
ROUNDING = 1e-9  # of a mean of shares
# Beyond this, validation is clearly another thing than the test set.
SHIFT = 0.1
MOST_NAMES = 5  # that a sentence lists


def dead(measured: Measured, reference: str, words: Mapping[str, str]) -> str | None:
    """Why nothing can be concluded, in one sentence, where the reference is not clearly better than guessing.

    Clearly: the interval lies above chance. Of AUROC chance is one half, of sensitivity 1 - specificity; of all other
    measures the balanced accuracy counts, whose chance is one over the test set's classes, because accuracy is high for
    who always names the commonest class.
    """
    key, chance = _chance(measured)
    mean = float(measured.scores[reference][key].mean())
    low = mean
    if measured.draws:
        low, _ = percentile_interval(measured.draws.means[reference][key], measured.params.confidence)
    if low > chance + ROUNDING:
        return None
    return (
        f"Nothing can be concluded: {words[reference]}, the reference, is not clearly better than guessing "
        f"({key.replace('_', ' ')} {percent(mean)}, guessing {percent(chance)}). Raise "
        "train_downstream.classifier.steps, change its learning_rate, or take more labels (prepare.labels_per_class)."
    )


def _chance(measured: Measured) -> tuple[str, float]:
    measure = measured.params.measure
    if isinstance(measure, SensitivityParams):
        return measured.params.measure_key, 1 - measure.sensitivity_at_specificity
    if measure == "auroc":
        return "auroc", 0.5
    return "balanced_accuracy", 1 / len(np.unique(measured.predictions.truth))


def warnings(
    measured: Measured,
    reference: str,
    models: Scores,
    validation: Sequence[float | None] | None,
    contrasts: int,
) -> list[str]:
    """Sentences that belong on top of the report.

    models: classifier of scikit-learn on the reference's images -> measure -> (R,). validation: under domain shift, the
    reference's scores by replicate; None where the test set is of the labelled images' domain. contrasts: how many a
    question has at least.
    """
    level = round(1 - measured.params.confidence, 12)
    found = [_weak_network(measured, reference, models)]
    if validation is not None:
        found.append(_shift(measured, reference, validation))
    if least_p(measured.replicates, contrasts) > level:
        found.append(
            f"{measured.replicates} replicate{'s are' if measured.replicates > 1 else ' is'} too few to show any "
            "difference: raise prepare.replicates to 10."
        )
    return [each for each in found if each]


def swapped_classes(qualities: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """A sentence for each set of images whose labels are wrong because the translation swaps classes.

    qualities: what draws the images, in words -> what `train_gan` measured, by replicate.
    """
    counts = {words: sum(each.get("flipped", 0) > 0 for each in own) for words, own in qualities.items()}
    return [
        f"In {count} of {len(qualities[words])} replicates the {words} images have other classes than their labels "
        "say, by the labelled images of the target: do not use these images. range: local, which cannot redraw what an "
        "image shows, or fewer steps may help."
        for words, count in counts.items()
        if count
    ]


def emptied_classes(emptied: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A sentence for each set of images that lacks a class, as nothing of it passed the filter.

    emptied: what draws the images, in words -> class -> in how many replicates it has no image.
    """
    return [
        f"Nothing of {_some(list(classes))} passed the filter in up to {max(classes.values())} replicates of the "
        f"{words} images: arms that train on these alone never name such a class, and others learn it from its real "
        "images. Draw more of it (generate.plan), or give it more labels."
        for words, classes in emptied.items()
        if classes
    ]


def _some(names: Sequence[str]) -> str:
    """The first of these names, and how many more there are."""
    more = len(names) - MOST_NAMES
    return listed([*map(repr, names[:MOST_NAMES]), *([f"{more} more classes"] if more > 0 else [])])


def _weak_network(measured: Measured, reference: str, models: Scores) -> str | None:
    """Where the best of scikit-learn's classifiers on the same images is clearly better: the t-interval over replicates
    of the paired differences lies more than the margin below 0."""
    from scipy.stats import t

    key = measured.params.measure_key if measured.params.measure_key in MEASURES else MEASURES[0]
    if measured.replicates == 1 or not models:
        return None
    best = max(models, key=lambda name: models[name][key].mean())
    network, other = measured.scores[reference][key], models[best][key]
    differences = network - other
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    high = differences.mean() + t.ppf((1 + measured.params.confidence) / 2, len(differences) - 1) * error
    if high >= -measured.params.margin:
        return None
    return (
        f"The network is clearly worse than scikit-learn's {classifier_words(best)} on the same images "
        f"({percent(network.mean())} and {percent(other.mean())} {key.replace('_', ' ')}): it has learned too little, "
        "and what is compared here may not hold for one that has. Raise train_downstream.classifier.steps, or change "
        "its learning_rate."
    )


def _shift(measured: Measured, reference: str, validation: Sequence[float | None]) -> str:
    known = [each for each in validation if each is not None]
    test = measured.scores[reference]["accuracy"].mean()
    said = "All settings were chosen on images like the labelled ones, while the test set comes from another source"
    if known and np.mean(known) - test > SHIFT:
        said += f", where the reference has {percent(test)} accuracy instead of {percent(float(np.mean(known)))}"
    return f"{said}: another choice might do better there."
