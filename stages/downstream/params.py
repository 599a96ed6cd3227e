"""What `train_downstream` may be told: the classifier, the augmentation policies and the arms."""

from itertools import groupby
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from stages.imaging.params import BackboneParams


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


NetworkKind = Literal["cnn", "resnet18"]


class ClassifierParams(_Section):
    """The classifier and its training, the same for every arm."""

    kind: NetworkKind
    width: int = Field(ge=4, le=256)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0, lt=10)
    weight_decay: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, lt=1)
    weight_averaging: float = Field(ge=0, lt=1)
    checkpoints: int = Field(ge=1, le=100)

    @model_validator(mode="after")
    def _checkpoints_fit_the_steps(self) -> Self:
        if self.checkpoints > self.steps:
            raise ValueError(f"checkpoints: {self.checkpoints} are more than steps: {self.steps}")
        return self


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


class LabelBudget(_Section):
    """So many labels of every class in all, taken from `train` and, where these do not suffice, `validation`."""

    per_class: int = Field(ge=1)


class Plain(_Section):
    """The setting `{}`: labelled real images alone, nothing to choose."""


class OtherSeeds(_Section):
    """A control that must show nothing: real images alone, with other initial weights, order and augmentation."""

    other_seeds: int = Field(ge=1)


class Duplicated(_Section):
    """A control that must show nothing: so much of each batch are copies of real images instead of synthetic ones."""

    duplicated_share: float = Field(gt=0, lt=1)


class QualityFilter(_Section):
    """Which synthetic images are trained on: the best `keep` of every class, as a share.

    By the probability that a classifier trained on the real labels alone gives to the image's class (`confidence`),
    by the logit of the GAN's discriminator (`discriminator`), or by how near the image's latent lies to the middle
    (`truncation`).
    """

    by: Literal["confidence", "discriminator", "truncation"]
    keep: float = Field(gt=0, lt=1)


class Synthetic(_Section):
    """Share of each batch drawn from synthetic images; 1 where the arm uses no real ones.

    loss_weight: what a synthetic image counts in the loss, beside 1 for a real one. filter: null trains on all that the
    memorization filter kept. shuffled_labels: a control that must hurt, wrong labels. more_rounds: so many further
    trainings, on pseudo-labels of the whole pool by the last one's classifier. weight_decay: of the linear head of an
    arm with a backbone, see `heads.fit_head`. fine_tuning_rate: the learning rate at which backbone and head then learn
    together, see `fitting.fine_tuned`; null keeps the backbone frozen. generator: whose images, where the arm chooses
    among generators; null where its `images` name one.
    """

    synthetic_share: float = Field(gt=0, le=1)
    generator: str | None = None
    loss_weight: float = Field(default=1.0, gt=0, le=1)
    filter: QualityFilter | None = None
    shuffled_labels: bool = False
    more_rounds: int = Field(default=0, ge=0, le=10)
    weight_decay: float | None = Field(default=None, gt=0)
    fine_tuning_rate: float | None = Field(default=None, gt=0, le=0.1)


class Head(_Section):
    """Labelled real images, seen by the arm's backbone.

    weight_decay: of the linear head of an arm with a backbone, see `heads.fit_head`. fine_tuning_rate: the learning
    rate at which backbone and head then learn together, see `fitting.fine_tuned`; null keeps the backbone frozen.
    """

    weight_decay: float | None = Field(default=None, gt=0)
    fine_tuning_rate: float | None = Field(default=None, gt=0, le=0.1)


class PseudoLabels(_Section):
    """Share of the unlabelled pool that is pseudo-labelled, the most confident images of every class, and by whom.

    The teacher is the arm's own classifier, trained on its labels alone, or the ensemble that labels the pool for
    the GAN. rounds: self-training, each round a whole training that learns from what the last one's classifier guesses.
    """

    pool_share: float = Field(gt=0, le=1)
    teacher: Literal["classifier", "ensemble"]
    rounds: int = Field(default=1, ge=1, le=10)


class FixMatch(_Section):
    """FixMatch on the unlabelled pool: see `fixmatch.train_fixmatch`.

    fixmatch_threshold: confidence from which the teacher's guess is learned. unlabelled_share: share of each batch
    that comes from the pool. more_rounds: so many further trainings, on pseudo-labels of the whole pool by the last
    one's classifier.
    """

    fixmatch_threshold: float = Field(ge=0, lt=1)
    unlabelled_share: float = Field(gt=0, lt=1)
    more_rounds: int = Field(default=0, ge=0, le=10)


class Pasted(_Section):
    """Share of each batch made by cut and paste, the region of one image in another: see `pasting.pasted`."""

    pasted_share: float = Field(gt=0, lt=1)


class Obscured(_Section):
    """Labelled real images, whose own regions are made hard to know; see `imaging.obscuring`.

    obscured: blur (a mean over 30 % of the region's width), pixels (8 x 8 blocks) or black. Images without a region
    stay as they are.
    """

    obscured: Literal["blur", "pixels", "black"]


class StyleMatching(_Section):
    """Under domain shift, labelled images of the source are given the target's looks: see `styles.restyled`."""

    style: Literal["histogram", "fourier", "tone_curve"]


class Coral(_Section):
    """Under domain shift, features of source and pool are to have one covariance: its weight in the loss."""

    coral_weight: float = Field(gt=0)


class Dann(_Section):
    """Under domain shift, features are to hide their domain: how much of a critic's reversed gradient they get."""

    dann_weight: float = Field(gt=0)


class FewShotHead(_Section):
    """A head for all classes, on features that were learned from the classes with many labels, or on the backbone's.

    nearest_mean: the class whose mean is nearest. logistic: logistic regression on the images as other arms see them.
    calibrated: the same on images without augmentation, beside whose features few-shot classes get more, drawn from
    Gaussians that borrow mean and covariance from the others: see `few_shot`.
    """

    head: Literal["nearest_mean", "logistic", "calibrated"]


class PixelDelta(_Section):
    """Images of few-shot classes get so much of the difference of two images of another class: see `pixel_delta`."""

    pixel_delta: float = Field(gt=0, le=1)


_FOR_FEW_SHOT = ("head", "pixel_delta")
_FOR_SHIFT = ("style", "coral_weight", "dann_weight")
_FROM_POOL = (*_FOR_SHIFT, "pool_share", "fixmatch_threshold")
_TELLING = (
    "synthetic_share",
    *_FROM_POOL,
    "pasted_share",
    "obscured",
    "duplicated_share",
    "other_seeds",
    *_FOR_FEW_SHOT,
    "weight_decay",
)


def _kind(setting: Any) -> str:
    """Names the alternative by the key that is there, so that errors speak of that one alone."""
    keys = setting if isinstance(setting, dict) else getattr(type(setting), "model_fields", {})
    return next((key for key in _TELLING if key in keys), "plain")


Setting = Annotated[
    Annotated[Plain, Tag("plain")]
    | Annotated[OtherSeeds, Tag("other_seeds")]
    | Annotated[Duplicated, Tag("duplicated_share")]
    | Annotated[Synthetic, Tag("synthetic_share")]
    | Annotated[Head, Tag("weight_decay")]
    | Annotated[PseudoLabels, Tag("pool_share")]
    | Annotated[FixMatch, Tag("fixmatch_threshold")]
    | Annotated[Pasted, Tag("pasted_share")]
    | Annotated[Obscured, Tag("obscured")]
    | Annotated[StyleMatching, Tag("style")]
    | Annotated[Coral, Tag("coral_weight")]
    | Annotated[Dann, Tag("dann_weight")]
    | Annotated[FewShotHead, Tag("head")]
    | Annotated[PixelDelta, Tag("pixel_delta")],
    Discriminator(_kind),
]


def _generator(setting: Setting) -> str | None:
    return setting.generator if isinstance(setting, Synthetic) else None


ALIGNED_SHARE = 0.5  # of each batch, the pool's images that features are aligned with
_REAL, _OF_ALL = "data/prepare", "data/filter_memorized"
_OF_GENERATOR = f"{_OF_ALL}/"
STRONG = ("randaugment", "trivialaugment", "tone_curves")  # policies under which FixMatch learns its own guesses


class ArmParams(_Section):
    """One way to train the classifier.

    labels: all, those of `train` and of `validation`, or a budget of them. Where there is something to choose, settings
    are trained on `train` and scored on `validation`, once for all replicates; the one that is chosen is then trained
    on all labels.

    batch_norm: joint, one pass for all images of a batch; or, under domain shift, target: the images of either domain
    pass apart, and at the end batch norm gets the statistics of the target's pool (`domains.Domains`).

    backbone: where there is one, a linear head on its features is the arm's classifier, and every setting states the
    head's weight_decay; or, with a fine_tuning_rate, both learn on together.
    """

    images: str = Field(pattern=r"^data/(prepare|filter_memorized(/[a-z][a-z0-9_]*)?)$")
    real: bool
    labels: Literal["all"] | LabelBudget
    balancing: Literal["none", "oversampling", "class_weights", "synthetic"]
    augment: Literal["none", "classic", "randaugment", "trivialaugment", "tone_curves", "mixup", "cutmix"]
    # defaults, unlike elsewhere: most arms have nothing to state here
    batch_norm: Literal["joint", "target"] = "joint"
    backbone: BackboneParams | None = None
    settings: list[Setting] = Field(min_length=1, max_length=4)

    def chooses(self, checkpoints: int) -> bool:
        """Whether `validation` has something to choose; checkpoints: among how many of them a training may."""
        return self.labels == "all" and (len(self.settings) > 1 or checkpoints > 1)

    @property
    def adds_synthetic(self) -> bool:
        """Whether synthetic images are trained on."""
        return self.images != _REAL

    @property
    def chooses_generator(self) -> bool:
        """Whether each setting names the generator whose images it trains on."""
        return self.images == _OF_ALL

    @property
    def generators(self) -> list[str]:
        """The generators whose images are trained on, of which an arm that chooses among them takes one."""
        if self.chooses_generator:
            return list(dict.fromkeys(filter(None, map(_generator, self.settings))))
        return [self.images.removeprefix(_OF_GENERATOR)] if self.adds_synthetic else []

    def by_generator(self) -> list[Self]:
        """The arm for each generator that it names, with the settings for that, in their order; else the arm itself."""
        if not self.chooses_generator:
            return [self]
        return [
            self.model_copy(
                update={
                    "images": f"{_OF_GENERATOR}{name}",
                    "settings": [setting.model_copy(update={"generator": None}) for setting in own],
                }
            )
            for name, own in groupby(self.settings, key=_generator)
        ]

    @property
    def for_shift(self) -> list[str]:
        """The keys that say something under domain shift alone."""
        batch_norm = ["batch_norm: target"] if self.batch_norm == "target" else []
        return batch_norm + self._keys(_FOR_SHIFT)

    @property
    def from_regions(self) -> list[str]:
        """The keys that need images with regions."""
        return self._keys(("pasted_share", "obscured"))

    @property
    def for_few_shot(self) -> list[str]:
        """The keys that say something where some classes have few labels and others many alone."""
        return self._keys(_FOR_FEW_SHOT)

    @property
    def least_many_shot(self) -> int:
        """How many classes with many labels there must be."""
        return 2 if self.backbone is None and "head" in self.for_few_shot else 1

    @property
    def is_calibrated(self) -> bool:
        """Whether the classifier's head reads features after Tukey's transformation."""
        return isinstance(self.settings[0], FewShotHead) and self.settings[0].head == "calibrated"

    @property
    def from_pool(self) -> list[str]:
        """The keys that need unlabelled images."""
        batch_norm = ["batch_norm: target"] if self.batch_norm == "target" else []
        rounds = ["more_rounds"] if any(getattr(each, "more_rounds", 0) for each in self.settings) else []
        return batch_norm + self._keys(_FROM_POOL) + rounds

    def _keys(self, telling: tuple[str, ...]) -> list[str]:
        """Those of them by which a setting is told from others."""
        kinds = {_kind(setting) for setting in self.settings}
        return [key for key in telling if key in kinds]

    @model_validator(mode="after")
    def _settings_fit_the_images(self) -> Self:
        synthetic = [isinstance(setting, Synthetic) for setting in self.settings]
        if self.adds_synthetic and not all(synthetic):
            raise ValueError(
                f"images: {self.images} adds synthetic images, so every setting must state synthetic_share"
            )
        if not self.adds_synthetic and any(synthetic):
            raise ValueError(f"synthetic_share needs images: {_OF_GENERATOR}NAME, where the synthetic images are")
        if not self.adds_synthetic and self.balancing == "synthetic":
            raise ValueError(f"balancing: synthetic tops up rare classes, so it needs images: {_OF_GENERATOR}NAME")
        named = [_generator(setting) is not None for setting in self.settings]
        if any(named) and not self.chooses_generator:
            raise ValueError(f"settings name a generator where validation chooses one: set images: {_OF_ALL}")
        if self.chooses_generator and not all(named):
            raise ValueError(
                f"images: {_OF_ALL} holds the images of all generators, so every setting must name its generator; for "
                f"those of one alone, set images: {_OF_GENERATOR}NAME"
            )
        return self

    @model_validator(mode="after")
    def _real_images_fit_the_shares(self) -> Self:
        if not self.real and not self.adds_synthetic:
            raise ValueError(
                f"real: false leaves nothing to train on without synthetic images: use images: {_OF_GENERATOR}NAME"
            )
        for setting in self.settings:
            if isinstance(setting, Synthetic) and setting.more_rounds and not self.real:
                raise ValueError(
                    f"more_rounds: {setting.more_rounds} trains on the pool's real images, which real: false forbids"
                )
            if isinstance(setting, Synthetic) and (setting.synthetic_share == 1) == self.real:
                raise ValueError(
                    f"synthetic_share: {setting.synthetic_share:g} contradicts real: {str(self.real).lower()}: "
                    "with real images the share must be below 1, without them it must be 1"
                )
        return self

    @model_validator(mode="after")
    def _fixmatch_fits_the_policy(self) -> Self:
        if any(isinstance(setting, FixMatch) for setting in self.settings) and (
            self.augment not in STRONG or self.balancing == "class_weights"
        ):
            raise ValueError(
                f"fixmatch_threshold needs a strong policy, augment: {' or '.join(STRONG)} (the weak one is classic), "
                "and cannot weight classes, as those of the pool are unknown"
            )
        return self

    @model_validator(mode="after")
    def _backbone_fits_the_rest(self) -> Self:
        decays, rates = (
            [getattr(setting, name, None) is not None for setting in self.settings]
            for name in ("weight_decay", "fine_tuning_rate")
        )
        if self.backbone is None and any(decays + rates):
            raise ValueError(
                "weight_decay and fine_tuning_rate are of a head on pretrained features: state the arm's backbone too"
            )
        headed = [decay or isinstance(each, FewShotHead) for decay, each in zip(decays, self.settings, strict=True)]
        if self.backbone is not None and not all(headed):
            raise ValueError(
                "backbone: a head learns on its features, so every setting must be {weight_decay: 0.1}, another number "
                "above 0, or synthetic_share with such a weight_decay, or one of the heads for few-shot classes"
            )
        if self.backbone is not None and (self.augment in ("mixup", "cutmix") or self.batch_norm == "target"):
            raise ValueError(
                "backbone: a head is fitted to single images, and batch norm keeps the statistics that it came with: "
                "augment: mixup, cutmix and batch_norm: target cannot be"
            )
        return self

    @model_validator(mode="after")
    def _few_shot_fits_the_rest(self) -> Self:
        if not self.for_few_shot:
            return self
        key = self.for_few_shot[0]
        if self.labels != "all":
            raise ValueError(f"{key} is for classes with fewer labels than others, which labels: per_class makes alike")
        calibrated = {isinstance(each, FewShotHead) and each.head == "calibrated" for each in self.settings}
        if len(calibrated) > 1:
            raise ValueError("head: calibrated transforms its features, so its arm has no setting without it")
        if key == "head" and (self.augment in ("mixup", "cutmix") or self.for_shift):
            raise ValueError(
                "head: a head is fitted to single images of one domain: augment: mixup, cutmix and what is for domain "
                "shift cannot be"
            )
        if "pixel_delta" in self.for_few_shot and self.balancing == "none":
            raise ValueError(
                "pixel_delta makes 20 images of each that a few-shot class has: set balancing: oversampling or "
                "class_weights, so that they count as one class"
            )
        return self

    @model_validator(mode="after")
    def _domains_are_not_mixed(self) -> Self:
        if self.for_shift and self.augment in ("mixup", "cutmix"):
            raise ValueError(f"{self.for_shift[0]} tells the domains apart, which augment: {self.augment} mixes")
        return self

    @model_validator(mode="after")
    def _budget_is_kept(self) -> Self:
        if self.labels != "all" and len(self.settings) > 1:
            raise ValueError(
                "labels: per_class leaves no label to choose by, so one setting is allowed, not "
                f"{len(self.settings)}: state labels: all, or one setting"
            )
        if self.labels != "all" and self.adds_synthetic:
            raise ValueError(
                f"labels: per_class goes with images: data/prepare, for the generator of {self.images} used all labels"
            )
        return self

    @model_validator(mode="after")
    def _settings_differ(self) -> Self:
        if len(set(self.settings)) < len(self.settings):
            raise ValueError("settings must differ from each other")
        return self


class ScikitLearnParams(_Section):
    """scikit-learn's classifiers that are trained on each arm's data too, and how many images of it they get."""

    classifiers: tuple[Literal["logistic_regression", "linear_svm", "random_forest", "nearest_neighbours"], ...]
    images: int = Field(ge=10)


class TrainDownstreamParams(_Section):
    """Section `train_downstream` of params.yaml."""

    seed: int = Field(ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda"]
    deterministic: bool
    classifier: ClassifierParams
    classic: ClassicParams
    randaugment: RandAugmentParams
    scikit_learn: ScikitLearnParams
    arms: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], ArmParams] = Field(min_length=1)

    @model_validator(mode="after")
    def _batches_mix(self) -> Self:
        for name, arm in self.arms.items():
            for setting in arm.settings:
                share = _share_beside_real(setting) if arm.real else None
                if share is not None and not 0 < round(share * self.classifier.batch_size) < self.classifier.batch_size:
                    raise ValueError(
                        f"arms.{name}: a share of {share:g} of batch_size: {self.classifier.batch_size} is "
                        f"{round(share * self.classifier.batch_size)} images, but a batch must hold both kinds"
                    )
        return self


def _share_beside_real(setting: Setting) -> float | None:
    """The share of each batch that other images than labelled real ones take."""
    match setting:
        case Synthetic():
            return setting.synthetic_share
        case Duplicated():
            return setting.duplicated_share
        case Pasted():
            return setting.pasted_share
        case FixMatch():
            return setting.unlabelled_share
        case Coral() | Dann():
            return ALIGNED_SHARE
    return None
