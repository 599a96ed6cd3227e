"""What an arm is called in words, made from its parameters, for pages that people read."""

from collections.abc import Iterable, Mapping

from stages.downstream.params import (
    STRONG,
    ArmParams,
    Coral,
    Dann,
    Duplicated,
    FewShotHead,
    FixMatch,
    LabelBudget,
    Obscured,
    OtherSeeds,
    Pasted,
    PixelDelta,
    PseudoLabels,
    StyleMatching,
    Synthetic,
)
from stages.generators.params import GeneratorParams

# What draws the images, by the generator's kind.
_MAKERS = {
    "gaussian": "Gaussian",
    "external": "foreign",
    "projection": "GAN",
    "auxiliary": "AC-GAN",
    "per_class": "per-class GAN",
    "refined_gaussian": "refined Gaussian",
    "projected": "projected GAN",
    "image_conditioned": "image-to-image GAN",
    "single_image": "single-image GAN",
    "translation": "translated",
    "infilling": "infilled",
    "private_gaussian": "private Gaussian",
    "private_features": "DP-MERF",
    "private_gan": "private GAN",
    "refiner": "refined",
}
_POLICIES = {
    "none": "no augmentation",
    "classic": "classic augmentation",
    "randaugment": "RandAugment",
    "trivialaugment": "TrivialAugment",
    "tone_curves": "random tone curves",
    "mixup": "mixup",
    "cutmix": "CutMix",
}
_STYLES = {"histogram": "histogram matching", "fourier": "Fourier matching", "tone_curve": "fitted tone curve"}
_BY_SETTING: dict[type, str] = {
    Coral: "CORAL",
    Dann: "DANN",
    Duplicated: "copies of real images",
    OtherSeeds: "other random seeds",
    Pasted: "pasted regions",
    PixelDelta: "pixel differences",
}
_OBSCURED = {"blur": "blurred regions", "pixels": "pixelated regions", "black": "blacked out regions"}
_HEADS = {
    "nearest_mean": "nearest mean",
    "logistic": "head on frozen features",
    "calibrated": "calibrated distributions",
}
_BALANCING = {"oversampling": "oversampling", "class_weights": "class weights"}
_QUALITY = {"confidence": "most recognisable", "discriminator": "most real-looking", "truncation": "most typical"}
_RARE = " for rare classes"
# The words above that need explaining, a line for each subject.
_GLOSSARY = (
    (
        ("GAN", "images drawn by a neural network that learned from the real images"),
        ("translated", "labelled images of the one source, made to look like the other's by a neural network"),
        ("infilled", "real images, of which a neural network drew one region anew"),
        ("refined", "drawn images, made to look real by a neural network"),
        ("Gaussian", "images drawn from a formula for each class, without a network"),
        ("foreign", "images made elsewhere"),
    ),
    (
        (
            "alone",
            "the classifier learns from generated images only; elsewhere they are added to the labelled real ones",
        ),
    ),
    (
        ("classic augmentation", "real images, slightly turned, shifted and brightened"),
        ("RandAugment", "changed more strongly, at random"),
        ("TrivialAugment", "changed by one random operation each"),
        ("random tone curves", "given another brightness at every level, at random"),
        ("mixup", "two images laid over each other"),
        ("CutMix", "a piece of one image set into another"),
    ),
    (
        ("pretrained network", "a network that others trained on photographs; only its last layer is trained anew"),
        ("pseudo-labels", "a classifier labels the unlabelled real images, and another learns from both"),
        ("FixMatch", "the same in one go, with strong random changes"),
        ("self-training", "pseudo-labels, given anew in each round by the last one's classifier"),
        ("more round", "after it, pseudo-labels by its classifier"),
        ("histogram matching", "labelled images get the brightness values of unlabelled ones"),
        ("Fourier matching", "labelled images get the coarse contrasts of unlabelled ones"),
        ("fitted tone curve", "labelled images get the brightness curve that brings them closest to unlabelled ones"),
        ("style matching", "labelled images are made to look like unlabelled ones, without a network"),
        ("CORAL", "what the classifier sees in both domains is made to vary alike"),
        ("pasted regions", "a region of one real image is set into another, with the seam hidden"),
        ("blurred regions", "a region of each real image is blurred, as faces are"),
        ("pixelated regions", "a region of each real image is made of 8 x 8 blocks, as faces are"),
        ("blacked out regions", "a region of each real image is black"),
        ("DANN", "what the classifier sees is made to hide the domain"),
        ("adapted batch norm", "the classifier is set to the brightness and contrast of the unlabelled images"),
        ("nearest mean", "the class whose images look nearest, on average, to a network that learned other classes"),
        ("frozen features", "a network learned the classes with many labels; only its last layer learns all"),
        ("calibrated distributions", "the same, with made-up features that vary as those of similar classes do"),
        ("pixel differences", "images of classes with few labels, changed as two images of another class differ"),
        ("oversampling", "images of rare classes are shown more often"),
        ("class weights", "images of rare classes count more"),
    ),
)


def arm_words(arm: ArmParams, generators: Mapping[str, GeneratorParams]) -> str:
    """An arm in words: "GAN images + classic augmentation", "GAN images alone", "pseudo-labels", "12 labels per class".

    Says what images it learns from and by which network, how they are changed and balanced, and of how many labels
    where not all are used. Two arms that differ in these have different words; those that differ only in numbers, such
    as a share, may not.
    generators: all of params.yaml, by name; generators of one kind are numbered in their order.
    """
    adapted = "adapted batch norm" if arm.batch_norm == "target" else ""
    parts = [_images(arm, generators), _network(arm), _policy(arm), _BALANCING.get(arm.balancing, ""), adapted]
    words = " + ".join(part for part in parts if part).replace(" + no ", ", no ")
    return f"{words}, {arm.labels.per_class} labels per class" if isinstance(arm.labels, LabelBudget) else words


def _network(arm: ArmParams) -> str:
    if arm.backbone is None:
        return ""
    tuned = any(getattr(setting, "fine_tuning_rate", None) for setting in arm.settings)
    return "fine-tuned network" if tuned else "pretrained network"


def maker_words(name: str, kinds: Mapping[str, str]) -> str:
    """What draws a generator's images: "GAN", "Gaussian", or "GAN 2" for the second one of that kind.

    kinds: of all generators, by name.
    """
    kind = kinds[name]
    alike = [other for other, each in kinds.items() if each == kind]
    number = f" {alike.index(name) + 1}" if len(alike) > 1 else ""
    return f"{_MAKERS.get(kind, kind.replace('_', ' '))}{number}"


def _images(arm: ArmParams, generators: Mapping[str, GeneratorParams]) -> str:
    """What it learns from beside, or instead of, labelled real images; "" for these alone."""
    first = arm.settings[0]
    match first:
        case Synthetic():
            kinds = {name: each.kind for name, each in generators.items()}
            return _synthetic_images(arm, first, " or ".join(maker_words(name, kinds) for name in arm.generators))
        case PseudoLabels():
            return _self_training([each.rounds for each in arm.settings if isinstance(each, PseudoLabels)])
        case FixMatch():
            return _fixmatch([each.more_rounds for each in arm.settings if isinstance(each, FixMatch)])
        case StyleMatching():
            return _STYLES[first.style] if len(arm.settings) == 1 else "style matching"
        case Obscured():
            return _OBSCURED[first.obscured] if len(arm.settings) == 1 else "obscured regions"
        case FewShotHead():
            return _HEADS[first.head] if len(arm.settings) == 1 else "heads on frozen features"
    return _BY_SETTING.get(type(first), "")


def _self_training(rounds: list[int]) -> str:
    """By the rounds of each setting."""
    up_to = "up to " if len(set(rounds)) > 1 else ""
    return "pseudo-labels" if max(rounds) == 1 else f"self-training, {up_to}{max(rounds)} rounds"


def _fixmatch(rounds: list[int]) -> str:
    return f"FixMatch{_more_rounds(rounds)}"


def _more_rounds(rounds: list[int]) -> str:
    """By the further rounds of each setting."""
    if max(rounds) == 0:
        return ""
    up_to = "up to " if len(set(rounds)) > 1 else ""
    return f", then {up_to}{'one more round' if max(rounds) == 1 else f'{max(rounds)} more rounds'}"


def _synthetic_images(arm: ArmParams, setting: Synthetic, maker: str) -> str:
    """A quality that all settings ask for is named."""
    filters = {each.filter.by if isinstance(each, Synthetic) and each.filter else "" for each in arm.settings}
    quality = f"{_QUALITY[setting.filter.by]} " if setting.filter and len(filters) == 1 else ""
    labels = " with wrong labels" if setting.shuffled_labels else ""
    rare = _RARE if arm.balancing == "synthetic" else ""
    rounds = _more_rounds([each.more_rounds for each in arm.settings if isinstance(each, Synthetic)])
    return f"{quality}{maker} images{labels}{rare}{rounds}{'' if arm.real else ' alone'}"


def _policy(arm: ArmParams) -> str:
    """How images are changed; "" for the policy that one expects of such an arm."""
    expected = dict.fromkeys((PseudoLabels, Pasted, Obscured, StyleMatching, Coral, Dann), "classic")
    expected |= {FixMatch: STRONG[0], Synthetic: "" if arm.real else "classic"}
    return "" if arm.augment == expected.get(type(arm.settings[0])) else _POLICIES[arm.augment]


def glossary(arms: Iterable[str]) -> list[list[tuple[str, str]]]:
    """What the words of these arms mean, as at most four lines of (term, meaning); terms that none has are left out.

    arms: as `arm_words` says them.
    """
    named = list(arms)
    lines = [[(term, meaning) for term, meaning in line if any(term in arm for arm in named)] for line in _GLOSSARY]
    return [line for line in lines if line]
