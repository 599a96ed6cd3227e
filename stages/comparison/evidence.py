"""What the last stage publishes from: all that the stages before it left, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.comparison.leak import SetLeak
from stages.comparison.params import EvaluateParams
from stages.comparison.scores import ModelLabels, Predictions
from stages.comparison.statistics import Groups

if TYPE_CHECKING:
    from stages.comparison.examination import Examination

Facts = Mapping[str, Any]
Pixels = NDArray[np.uint8]
Labelled = tuple[Pixels, NDArray[np.int64]]  # images (N, C, H, W) and labels (N,)


@dataclass(frozen=True)
class Finding:
    """Something that `prepare` found in one real image, and what became of it. other: the one it resembles, or ''.
    detail: words for people. picture, other_picture: the images (C, H, W), where there are any."""

    kind: str
    id: str
    other: str
    action: str
    detail: str
    picture: Pixels | None
    other_picture: Pixels | None

    @property
    def has_picture(self) -> bool:
        """Whether there is anything to show of it: of a file that cannot be read there is not."""
        return self.picture is not None or self.other_picture is not None


@dataclass(frozen=True)
class Outcomes:
    """What the arms came to, in one order of replicates and test images.

    models: arm -> classifier -> (R, n) classes that scikit-learn's classifiers predict. facts: arm -> its arm.json.
    examinations: one for each replicate. groups: (n,) of the test images, where whole groups were sampled. controls:
    pairs of arms that differ in nothing but the generator, the second one's being a control. plain: arm of `augment` ->
    the rival that differs from it in having no generated images, or else the first one. words: arm -> what people call
    it. shifted: whether the test set is of another domain than the training images; unseen: and nothing else is.
    """

    predictions: Predictions
    models: ModelLabels
    facts: Mapping[str, Facts]
    examinations: Sequence["Examination"]
    groups: Groups | None
    controls: Sequence[tuple[str, str]]
    plain: Mapping[str, str]
    words: Mapping[str, str]
    shifted: bool
    unseen: bool


@dataclass(frozen=True)
class GeneratorEvidence:
    """One generator. section: its section of params.yaml. candidates: of how many images drawn each is the one that a
    teacher chose, 1 where all are there. quality: `replicates` of metrics/train_gan/<name>.json. promise: likewise,
    None where no privacy budget was kept. privacy: metrics/filter_memorized/<name>.json. synthetic: what passed every
    replicate's filter. leak: whether that gives real images away. withheld: whether it is therefore not given away.
    emptied: replicates in which the filter left no image of a class, by the names of such classes. pairs: generated
    images, the real ones nearest to them, and captions. arms: those that train on the images."""

    section: Facts
    candidates: int
    quality: Mapping[str, Mapping[str, float]]
    promise: Facts | None
    privacy: Facts
    synthetic: Labelled
    leak: SetLeak
    withheld: bool
    emptied: Mapping[str, int]
    pairs: tuple[Pixels, Pixels, Sequence[str]]
    arms: Sequence[str]


@dataclass(frozen=True)
class Evidence:
    """What there is to publish from: `publish` decides who sees which part.

    prepared: metrics/prepare.json. findings: examples of what its checks found. real: labelled examples. seen,
    labelled, validation: how many images a replicate's generator may learn from, how many of them have labels, and how
    many choices are made on. generators: by name. run: fingerprints and versions. parameters: the text of params.yaml.
    """

    dataset: str
    classes: Sequence[str]
    prepared: Facts
    findings: Sequence[Finding]
    params: EvaluateParams
    outcomes: Outcomes
    generators: Mapping[str, GeneratorEvidence]
    real: Labelled
    seen: int
    labelled: int
    validation: int
    run: Mapping[str, str]
    parameters: str

    @property
    def left_out(self) -> int:
        """How many of the real images that were read are not used: copies of others, or unreadable."""
        return int(self.prepared["read"] - self.prepared["images"])

    @property
    def published(self) -> list[str]:
        """The generators whose sets are given away."""
        return [name for name, each in self.generators.items() if not each.withheld]
