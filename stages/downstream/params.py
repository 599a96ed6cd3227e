"""What `train_downstream` may be told: the classifier, the augmentation policies and the arms."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassifierParams(_Section):
    """The classifier and its training, the same for every arm."""

    width: int = Field(ge=4, le=256)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0, lt=10)
    weight_decay: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)


class ClassicParams(_Section):
    """Strength of the policy `classic`; each figure is the largest change either way, 0 turns that change off."""

    rotation_degrees: float = Field(ge=0, le=180)
    translation_pixels: float = Field(ge=0)
    zoom: float = Field(ge=0, lt=1)
    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=1)


class RandAugmentParams(_Section):
    """RandAugment's two parameters (Cubuk et al. 2020, arXiv:1909.13719); torchvision counts magnitudes 0..30."""

    num_ops: int = Field(ge=1, le=8)
    magnitude: int = Field(ge=0, le=30)


class Plain(_Section):
    """The setting `{}`: labelled real images alone, nothing to choose."""


class Synthetic(_Section):
    """Share of each batch drawn from synthetic images; 1 where the arm uses no real ones."""

    synthetic_share: float = Field(gt=0, le=1)


class PseudoLabels(_Section):
    """Share of the unlabelled pool that is pseudo-labelled, the most confident images of every class, and by whom.

    The teacher is the arm's own classifier, trained on its labels alone, or the ensemble that labels the pool for
    the GAN.
    """

    pool_share: float = Field(gt=0, le=1)
    teacher: Literal["classifier", "ensemble"]


def _kind(setting: Any) -> str:
    """Names the alternative by the key that is there, so that errors speak of that one alone."""
    keys = setting if isinstance(setting, dict) else getattr(type(setting), "model_fields", {})
    return next((key for key in ("synthetic_share", "pool_share") if key in keys), "plain")


Setting = Annotated[
    Annotated[Plain, Tag("plain")]
    | Annotated[Synthetic, Tag("synthetic_share")]
    | Annotated[PseudoLabels, Tag("pool_share")],
    Discriminator(_kind),
]


class ArmParams(_Section):
    """One way to train the classifier. It chooses one of its settings on `validation`, once for all replicates."""

    images: Literal["data/prepare", "data/filter_memorized"]
    real: bool
    labels: Literal["train", "train_and_validation"]
    sampling: Literal["shuffled", "oversampled"]
    augment: Literal["none", "classic", "randaugment"]
    settings: list[Setting] = Field(min_length=1, max_length=4)

    @property
    def adds_synthetic(self) -> bool:
        """Whether synthetic images are trained on."""
        return self.images == "data/filter_memorized"

    @model_validator(mode="after")
    def _settings_fit_the_images(self) -> Self:
        synthetic = [isinstance(setting, Synthetic) for setting in self.settings]
        if self.images == "data/filter_memorized" and not all(synthetic):
            raise ValueError(
                "images: data/filter_memorized adds synthetic images, so every setting must state synthetic_share"
            )
        if self.images == "data/prepare" and any(synthetic):
            raise ValueError("synthetic_share needs images: data/filter_memorized, where the synthetic images are")
        return self

    @model_validator(mode="after")
    def _real_images_fit_the_shares(self) -> Self:
        if not self.real and self.images == "data/prepare":
            raise ValueError(
                "real: false leaves nothing to train on without synthetic images: use images: data/filter_memorized"
            )
        if not self.real and self.labels == "train_and_validation":
            raise ValueError("labels: train_and_validation has no meaning with real: false, which uses no real labels")
        for setting in self.settings:
            if isinstance(setting, Synthetic) and (setting.synthetic_share == 1) == self.real:
                raise ValueError(
                    f"synthetic_share: {setting.synthetic_share:g} contradicts real: {str(self.real).lower()}: "
                    "with real images the share must be below 1, without them it must be 1"
                )
        return self

    @model_validator(mode="after")
    def _choice_is_possible(self) -> Self:
        if self.labels == "train_and_validation" and len(self.settings) > 1:
            raise ValueError(
                "labels: train_and_validation trains on the validation labels, so nothing is left to choose among "
                f"{len(self.settings)} settings: state one"
            )
        if len(set(self.settings)) < len(self.settings):
            raise ValueError("settings must differ from each other")
        return self


class TrainDownstreamParams(_Section):
    """Section `train_downstream` of params.yaml."""

    seed: int = Field(ge=0)
    classifier: ClassifierParams
    classic: ClassicParams
    randaugment: RandAugmentParams
    arms: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ArmParams] = Field(min_length=1)

    @model_validator(mode="after")
    def _batches_mix(self) -> Self:
        for name, arm in self.arms.items():
            for setting in arm.settings:
                if isinstance(setting, Synthetic) and arm.real:
                    count = round(setting.synthetic_share * self.classifier.batch_size)
                    if not 0 < count < self.classifier.batch_size:
                        raise ValueError(
                            f"arms.{name}: synthetic_share: {setting.synthetic_share:g} of "
                            f"batch_size: {self.classifier.batch_size} is {count} images, but a batch must hold "
                            "real and synthetic ones"
                        )
        return self
