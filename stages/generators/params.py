"""What a user may set about generators: the sections `train_gan` and `generate` of params.yaml."""

from typing import TYPE_CHECKING, Annotated, Literal, Self, Union

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from stages.imaging.params import BackboneParams

NO_FOLDER = "data/raw/none"  # an empty folder, because DVC wants a path to depend on
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Factor = Annotated[float, Field(ge=0, le=1000)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Device = Literal["auto", "cpu", "cuda"]


class Strict(BaseModel):
    """Unknown keys are refused, values never change, and no field has a default value."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HingeParams(Strict):
    """Hinge loss under spectral norm.

    margin: the logit beyond which an image teaches the discriminator nothing more. Under spectral norm logits may stay
    far below 1: then all images count alike, and a lower margin makes those count that are still mistaken.
    """

    kind: Literal["hinge"]
    margin: float = Field(gt=0, le=100)


class RelativisticParams(Strict):
    """Relativistic loss under gradient penalties of this weight, without spectral norm (R3GAN)."""

    kind: Literal["relativistic"]
    gradient_penalty: float = Field(ge=0, le=1000)


class AugmentParams(Strict):
    """What the discriminator's images go through, so that it overfits less: as often as needed, at most `limit`."""

    policies: list[Literal["translation", "cutout", "colour", "flip"]]
    limit: float = Field(ge=0, le=1)


class BatchParams(Strict):
    """What a batch of real images is drawn from.

    labelled_share: share of each batch that comes from the labelled images, the rest from the pool; null draws both
    alike. balanced: whether all classes are drawn equally often; the pool's by their guessed labels.
    """

    labelled_share: float | None = Field(gt=0, le=1)
    balanced: bool


class GeneratorParams(Strict):
    """What every generator states.

    path: the folder of images made elsewhere, for kind `external`; `data/raw/none` for all others, because DVC wants a
    path. labels: what arms train on, the class that an image was drawn for, or a teacher's probabilities of all
    classes.
    """

    kind: str
    path: str = Field(min_length=1)
    labels: Literal["class", "teacher"]

    @model_validator(mode="after")
    def _only_external_images_have_a_folder(self) -> Self:
        if (self.kind == "external") == (self.path == NO_FOLDER):
            raise ValueError(f"path: {self.path} is for kind: external, which needs it; all others take {NO_FOLDER}")
        return self


class AlignableParams(GeneratorParams):
    """A kind that learns what the images of each class look like.

    align: whether the images of each class are turned, shifted and zoomed into line before it learns, and its own
    turned back.
    """

    align: bool


class GaussianParams(AlignableParams):
    """rank: directions in which images of a class vary, at most."""

    rank: int = Field(ge=1, le=1024)


class SteppedParams(GeneratorParams):
    """What generators that learn by steps have in common."""

    steps: int = Field(ge=1, le=1_000_000)
    batch_size: int = Field(ge=2, le=4096)
    latent_dim: int = Field(ge=1, le=1024)
    width: int = Field(ge=8, le=4096)
    generator_learning_rate: float = Field(gt=0, le=0.1)
    ema_decay: float = Field(ge=0, lt=1)
    log_every: int = Field(ge=1)
    samples_every: int = Field(ge=1)
    checkpoint_every: int = Field(ge=1)


class LearningParams(SteppedParams):
    """What generators that learn against a discriminator have in common, but for those with a privacy budget."""

    discriminator_learning_rate: float = Field(gt=0, le=0.1)
    augment: AugmentParams
    rollbacks: int = Field(ge=0, le=20)
    precision: Literal["float32", "bfloat16"]
    compile: bool


class ConditionalParams(LearningParams):
    """A kind whose discriminator knows the classes."""

    objective: Annotated[HingeParams | RelativisticParams, Field(discriminator="kind")]
    batches: BatchParams

    @model_validator(mode="after")
    def _compiled_networks_are_differentiated_once(self) -> Self:
        if self.compile and isinstance(self.objective, RelativisticParams):
            raise ValueError(
                "compile: true goes with objective: {kind: hinge} alone: the gradient penalties of the relativistic "
                "loss differentiate twice, which torch.compile cannot"
            )
        return self


class RefiningParams(AlignableParams, ConditionalParams):
    """A kind that refines draws from the class Gaussians.

    drawn_size: pixels a side that both networks work at, at most; larger images are enlarged from that.
    """

    drawn_size: int = Field(ge=8, le=128)


class ProjectedParams(RefiningParams):
    """A kind whose discriminator sees images through a pretrained network.

    backbone: the network, by timm's name.
    """

    backbone: BackboneParams


class AdversarialParams(AlignableParams, ConditionalParams):
    """A kind whose networks are of either sort of layers."""

    layers: Literal["dense", "convolutional"]


class InfillingParams(ConditionalParams):
    """A kind that draws a region of a real image anew.

    reconstruction: weight of the mean difference between a real image's region and what is drawn there for its own
    class, whose values lie 2 apart at most.
    """

    reconstruction: float = Field(ge=0, le=1000)

    @model_validator(mode="after")
    def _regions_have_no_colour(self) -> Self:
        if "colour" in self.augment.policies:
            raise ValueError(
                f"augment.policies: colour does not go with kind: {self.kind}: its discriminator sees the region as "
                "one more channel, so take it out"
            )
        return self


class FromDomainParams(LearningParams):
    """A kind that starts from images of another domain."""

    @model_validator(mode="after")
    def _is_not_compiled(self) -> Self:
        if self.compile:
            raise ValueError(
                f"compile: true does not go with kind: {self.kind}: its convolutions repeat the edges of their maps, "
                "and torch.compile expects the gradient of that in another layout and stops; set it to false"
            )
        return self


class TranslationParams(FromDomainParams):
    """A kind that carries images of one domain to another.

    range: how much of its source a pixel of the result sees: 5 x 5 pixels (local), at most 15 x 15 (regional) or all
    (global). width: maps of the translator's first layer. cycle: weight of the way back to the source, which a second
    translator finds (CycleGAN); 0 trains none. identity: weight of leaving images of the target as they are.
    """

    range: Literal["local", "regional", "global"]
    cycle: float = Field(ge=0, le=1000)
    identity: float = Field(ge=0, le=1000)


class RefinerParams(FromDomainParams):
    """A kind that refines drawn images until they resemble real ones.

    width: maps of the refiner. self_regularisation: weight of the mean difference between the drawn and the refined
    image, whose values lie 2 apart at most. history: refined images that are remembered for the discriminator; 0 for
    none. conditional: whether the discriminator knows the classes, by guesses for the real images.
    """

    self_regularisation: float = Field(ge=0, le=1000)
    history: int = Field(ge=0, le=100_000)
    conditional: bool


class SingleImageParams(LearningParams):
    """A kind that learns variants of single images, a pyramid for each.

    latent_dim: maps of noise at each scale. width: maps of each network. steps: of all pyramids together, which take
    turns. scales: of a pyramid; each is about 1.6 times as large as the one before. images_per_class: labelled images
    of a class, the first ones, that have a pyramid and are sources. reconstruction: weight of the squared error with
    which fixed noise gives back the image. rearrangement: how far the noise of a drawn image's coarsest scale, which
    decides its layout, is from the fixed one: 1 is independent of it (SinGAN), 0 keeps the image's layout.
    """

    scales: int = Field(ge=1, le=8)
    images_per_class: int = Field(ge=1, le=10_000)
    reconstruction: float = Field(ge=0, le=1000)
    rearrangement: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _is_not_compiled(self) -> Self:
        if self.compile:
            raise ValueError(
                f"compile: true does not go with kind: {self.kind}: its networks change their size as they learn; set "
                "it to false"
            )
        return self


class PrivateParams(GeneratorParams):
    """A kind that keeps a privacy budget: (epsilon, delta)-differential privacy of what it learned from.

    epsilon: of each replicate's generator, for images that are added or removed. delta: likewise, less than one in the
    number of images. protects: a single image, or all images of a group, of which one is then learned from. noise: from
    the operating system and never kept, or `reproducible` from the seed, for rehearsals: who knows the seed can take
    such noise away, so nothing is promised.
    """

    epsilon: float = Field(gt=0, le=1000)
    delta: float = Field(gt=0, lt=1)
    protects: Literal["image", "group"]
    noise: Literal["secret", "reproducible"]

    @model_validator(mode="after")
    def _no_teacher_labels_its_images(self) -> Self:
        if self.labels == "teacher":
            raise ValueError(
                f"labels: teacher does not go with kind: {self.kind}: the teacher learned from the labelled images "
                "without any privacy budget; set it to class"
            )
        return self


class PrivateMomentsParams(PrivateParams):
    """A kind that starts from class Gaussians which were released under its budget.

    frequencies: of the cosine transform along each side, the lowest ones, in which images are seen. clip: root of the
    mean squared difference from the mean image, of pixels in [-1, 1], beyond which an image is drawn nearer to it.
    covariance: one for all classes, or one for each, for which many more images are needed.
    """

    frequencies: int = Field(ge=1, le=128)
    clip: float = Field(gt=0, le=1)
    covariance: Literal["pooled", "class"]


class PrivateGaussianParams(PrivateMomentsParams):
    """rank: directions in which images of a class vary, at most."""

    rank: int = Field(ge=1, le=1024)


class PrivateFeaturesParams(SteppedParams, PrivateParams):
    """A kind that learns from the classes' mean random features alone, released once under its budget.

    features: random features, an even number. bandwidth: root of the mean squared difference of two images, of pixels
    in [-1, 1], at which their likeness has fallen to 0.61.
    """

    features: int = Field(ge=2, le=100_000, multiple_of=2)
    bandwidth: float = Field(gt=0, le=10)


class PrivateGanParams(SteppedParams, PrivateMomentsParams):
    """A GAN whose discriminator learns by DP-SGD, and which starts from class Gaussians released under its budget.

    discriminator_steps: before each step of the generator; each is charged. lot: real images in a step of the
    discriminator, on average. gradient_clip: length that the gradient of a real image is cut to. start_share: of
    epsilon, what the class Gaussians alone may spend.
    """

    discriminator_learning_rate: float = Field(gt=0, le=0.1)
    discriminator_steps: int = Field(ge=1, le=1000)
    lot: int = Field(ge=1, le=100_000)
    gradient_clip: float = Field(gt=0, le=1000)
    start_share: float = Field(gt=0, lt=1)


# The kinds of generators, a line each: name -> what its section holds, and what it is. Its networks are the class
# `Kind` of the module of that name in `kinds/`.
KINDS: dict[str, tuple[type[GeneratorParams], str]] = {
    "gaussian": (GaussianParams, "the Gaussian of each class in principal components, without any network"),
    "external": (GeneratorParams, "images made elsewhere: a folder for each class, or Parquet"),
    "projection": (AdversarialParams, "one GAN for all classes, whose discriminator compares image and class"),
    "auxiliary": (AdversarialParams, "one GAN for all classes, whose discriminator also names the class (AC-GAN)"),
    "per_class": (AdversarialParams, "a GAN of its own for every class"),
    "refined_gaussian": (RefiningParams, "a GAN whose convolutions refine draws from the class Gaussians"),
    "projected": (ProjectedParams, "a GAN like that, judged through the eyes of a pretrained network (Projected GAN)"),
    "image_conditioned": (AdversarialParams, "a GAN that draws another image of a real image's class (DAGAN)"),
    "infilling": (InfillingParams, "a GAN that draws a region of a real image anew, for any class"),
    "single_image": (SingleImageParams, "small GANs that draw variants of one labelled image each (SinGAN)"),
    "refiner": (RefinerParams, "a GAN that makes drawn images real, for images of a second domain (SimGAN)"),
    "translation": (TranslationParams, "a GAN that carries labelled images of one domain to another, unpaired"),
    "private_gaussian": (PrivateGaussianParams, "class Gaussians released under differential privacy"),
    "private_features": (PrivateFeaturesParams, "a network that learns from released mean features alone (DP-MERF)"),
    "private_gan": (PrivateGanParams, "a GAN whose discriminator learns by DP-SGD"),
}


def _told(schema: type[GeneratorParams], words: str) -> str:
    """A kind's docstring: what it is, and what its schemas say of their fields, of the nearest one where two do."""
    said = [
        (each.__doc__ or "").partition("\n\n")[2] for each in reversed(schema.__mro__) if each not in Strict.__mro__
    ]
    return " ".join(" ".join([f"{words}.", *said]).split())


if TYPE_CHECKING:
    AnyGenerator = GeneratorParams
else:
    AnyGenerator = Annotated[
        Union[  # noqa: UP007 - of as many alternatives as there are kinds
            tuple(
                create_model(f"{name}_params", __base__=schema, __doc__=_told(schema, words), kind=(Literal[name], ...))
                for name, (schema, words) in KINDS.items()
            )
        ],
        Field(discriminator="kind"),
    ]


class TrainGanParams(Strict):
    """Section `train_gan`: the generators by name, each a section of its own kind."""

    seed: Seed
    device: Device
    deterministic: bool
    generators: dict[Name, AnyGenerator] = Field(min_length=1)


class BalancePlan(Strict):
    """Fill every class up to `per_class` images, labelled and synthetic together."""

    kind: Literal["balance"]
    per_class: int = Field(ge=1, le=1_000_000)


class FactorPlan(Strict):
    """Generate `factor` times the labelled images of a class: one number for all, or one for each class."""

    kind: Literal["factor"]
    factor: Factor | Annotated[list[Factor], Field(min_length=1)]


class GenerateParams(Strict):
    """Section `generate`.

    candidates: of so many images drawn in a row, the one stays of whose class a teacher is surest; 1 keeps all.
    """

    seed: Seed
    device: Device
    truncation: float = Field(gt=0, le=1)
    candidates: Literal[1, 2, 4, 8, 16]  # they share a batch
    scores: bool
    plan: Annotated[BalancePlan | FactorPlan, Field(discriminator="kind")]
