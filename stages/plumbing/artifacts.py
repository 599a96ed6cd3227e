"""The JSON files that pass from stage to stage, held against their form: unlike Parquet, they have no check sums."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
When = Literal["before", "after"]


class Artifact(BaseModel):
    """A part of a file, or all of it; shares are in 0..1."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Found(Artifact):
    """In how many images a check of `prepare` found something, and how many of these were dropped for it."""

    images: Count
    dropped: Count


class PrepareMetrics(Artifact):
    """metrics/prepare.json. ignored: reason -> files. notes: what a user should know, a sentence each. checks: by kind.
    roles: of the first replicate, role -> class (and `all`) -> images."""

    read: Count
    images: Count
    ignored: dict[str, Count]
    notes: list[str]
    replicates: Count
    checks: dict[str, Found]
    roles: dict[str, dict[str, Count]]


class Promise(Artifact):
    """Of a kind with a privacy budget: see `generators.private.told`. kept: 1, or 0 where the noise is no secret."""

    epsilon: float
    delta: float
    protects: Literal["image", "group"]
    kept: Count
    images: Count
    times: Count
    largest_group: Count
    published_epsilon: float
    advantage: Share


class GanMetrics(Artifact):
    """metrics/train_gan/<generator>.json. replicates: number -> measure -> value, of a kind that measures anything."""

    steps: Count
    replicates: dict[str, dict[str, float]]
    promise: Promise | None = None


class Drops(Artifact):
    """How many generated images there were, and what the filter did to them."""

    generated: Count
    dropped: Count
    dropped_share: Share


class Rate(Artifact):
    """A share with its 95 % interval."""

    rate: Share
    low: Share
    high: Share


class Detection(Artifact):
    """Share found of a number of planted copies; auc: of their scores, where fresh images were held out."""

    detected: Share
    copies: Count
    auc: Share | None = None


class Attack(Artifact):
    """AUC of an attack with its 95 % interval; detected: share of members named at 1 % false positives, if measured."""

    auc: Share
    low: Share
    high: Share
    detected: Share | None = None
    detected_low: Share | None = None
    detected_high: Share | None = None


class SetLevel(Artifact):
    """Tests of a whole set (`memorization.set_level`), C_T with its interval over replicates; copied: by class."""

    data_copying_z: float
    data_copying_low: float
    data_copying_high: float
    authentic: Share
    authentic_fresh: Share
    copied: dict[str, Share]


class OwnSource(Artifact):
    """Of images drawn from a source image: how many there are, and how many resemble it as a copy would, with the
    share's 95 % interval. publishable: whether that is rare enough for the set to be given away."""

    images: Count
    resembling: Count
    share: Share
    low: Share
    high: Share
    publishable: Literal[0, 1]


class FilterMetrics(Drops):
    """metrics/filter_memorized/<generator>.json: all replicates together. What needs images that were held out may be
    absent; own_source is there where images were drawn from a source image. near_twins: share of the calibration images
    that have near-twins, where these are grouped; else 0."""

    alpha: Share
    with_confidence: Literal[0, 1]
    per_class: Literal[0, 1]
    calibration: Count
    near_twins: Share
    labels_used: Count
    classes: dict[str, Drops]
    planted: dict[str, Detection]
    false_positive_rate: Rate | None = None
    false_positive_rate_blurred: Rate | None = None
    attacks: dict[When, dict[str, Attack]] | None = None
    set_level: dict[When, SetLevel] | None = None
    own_source: OwnSource | None = None

    @model_validator(mode="after")
    def _what_was_measured_before_was_measured_after(self) -> Self:
        for measured in (self.attacks, self.set_level):
            if measured is not None and measured.keys() != {"before", "after"}:
                raise ValueError("something was measured only before or only after the filter")
        if self.attacks is not None and self.attacks["before"].keys() != self.attacks["after"].keys():
            raise ValueError("an attack was made only before or only after the filter")
        return self


class ArmFacts(Artifact):
    """arm.json: what `downstream.records.arm_facts` gives.

    validation: mean score of each setting, none where nothing was chosen; validation_scores: of each replicate, the
    chosen one's. history: replicate -> points of the final training, up to the step that was kept.
    """

    settings: list[dict[str, Any]]
    chosen: Count
    validation: list[Share]
    validation_scores: list[Share | None]
    labels: Literal["all"] | dict[Literal["per_class"], Count]
    labels_used: Count
    trained_on_labels: Count
    synthetic_images: Count
    pseudo_labels: Count
    steps: Count
    history: dict[str, list[dict[str, float]]]

    @model_validator(mode="after")
    def _the_chosen_setting_is_there(self) -> Self:
        if self.chosen >= len(self.settings) or len(self.validation) not in (0, len(self.settings)):
            raise ValueError(f"setting {self.chosen} was chosen among {len(self.settings)}")
        return self
