"""What is told about the generators behind the synthetic sets: in words, and what each replicate's training found."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from stages.comparison.params import QuestionParams
from stages.downstream.params import ArmParams, Head, Plain

# A generator's kind in words, to stand beside its name.
KINDS = {
    "gaussian": "the Gaussian of each class, without a network",
    "external": "images made elsewhere",
    "projection": "one GAN for all classes",
    "auxiliary": "one GAN for all classes, which also learns to name them",
    "per_class": "a GAN for each class",
    "refined_gaussian": "a GAN that refines draws from the Gaussian of each class",
    "projected": "a GAN that refines draws from the Gaussian of each class, judged through a pretrained network",
    "image_conditioned": "a GAN that draws from a real image of the class",
    "single_image": "small GANs that draw variants of one labelled image each",
    "translation": "a GAN that makes labelled images look like those of another source",
    "infilling": "a GAN that draws a region of a real image anew",
    "private_gaussian": "the Gaussian of each class, released under a privacy budget",
    "private_features": "a network that learned from mean features alone, released under a privacy budget",
    "private_gan": "a GAN that keeps a privacy budget",
    "refiner": "a GAN that makes drawn images look real",
}
CONTROLS = ("gaussian", "external")
# What a kind has that a control has not, as the subject of a sentence, where that is not "The GAN".
ADDERS = {
    "private_gaussian": "The privacy budget",
    "private_features": "The network with its privacy budget",
    "private_gan": "The GAN with its privacy budget",
}
_TRAINING = ("augment", "balancing", "labels", "batch_norm", "backbone")  # what else two arms may differ in


@dataclass(frozen=True)
class Spread:
    """A measure's mean, lowest and highest value over the replicates."""

    mean: float
    low: float
    high: float


def spreads(quality: Mapping[str, Mapping[str, float]]) -> dict[str, Spread]:
    """Measure -> its spread over those replicates that have it.

    quality: `replicates` of metrics/train_gan/<generator>.json: number -> measure -> value.
    """
    names = dict.fromkeys(name for measures in quality.values() for name in measures)
    values = {name: [measures[name] for measures in quality.values() if name in measures] for name in names}
    return {name: Spread(fmean(each), min(each), max(each)) for name, each in values.items()}


def kind_words(kind: str) -> str:
    """What a generator of this kind is."""
    return KINDS.get(kind, kind.replace("_", " "))


def made_from(section: Mapping[str, Any], dataset: str, replicates: int, seen: int, labelled: int) -> str:
    """What a generator's images were made from.

    section: its section of params.yaml. seen: real images that each replicate's generator may learn from, `labelled` of
    them with their labels.
    """
    if section["kind"] == "external":
        return (
            f"Made outside this pipeline ({section['path']}). Nothing here can tell which images they were learned "
            f"from: if any of those are in the test set of {dataset}, the comparison flatters this set."
        )
    words = kind_words(section["kind"])
    learned = f"{seen} real images of {dataset}, {labelled} of them labelled"
    if "epsilon" in section:  # who keeps a privacy budget sees no pool
        learned = f"the {labelled} labelled images of {dataset}"
    return (
        f"{words[0].upper()}{words[1:]}, made anew in each of {replicates} replicates from {learned}. No image of the "
        "test set was among these."
    )


def plain_rivals(arms: Mapping[str, ArmParams], question: QuestionParams) -> dict[str, str]:
    """Arm of the question -> the rival that trains on the same labels without generated images, and is alike in
    augmentation, balancing, batch norm and backbone; the first rival where there is none."""

    def plain(rival: str, arm: str) -> bool:
        one, other = arms[rival], arms[arm]
        same = all(getattr(one, name) == getattr(other, name) for name in _TRAINING)
        return same and not one.adds_synthetic and all(isinstance(each, Plain | Head) for each in one.settings)

    return {
        arm: next((rival for rival in question.rivals if plain(rival, arm)), question.rivals[0])
        for arm in question.arms
    }


def control_pairs(arms: Mapping[str, Any], generators: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(arm, control) of arms that differ in nothing but the generator, the second one's being a control.

    arms: `ArmParams` by name. generators: their sections by name; two whose images are labelled in different ways
    differ in more than the generator.
    """

    def alike(arm: str, control: str) -> bool:
        one, other = arms[arm], arms[control]
        single = len(one.generators) == len(other.generators) == 1
        if not single or one.model_copy(update={"images": other.images}) != other:
            return False
        own, its = (generators[each.generators[0]] for each in (one, other))
        return own.kind not in CONTROLS and its.kind in CONTROLS and own.labels == its.labels

    return [(arm, control) for arm in arms for control in arms if alike(arm, control)]
