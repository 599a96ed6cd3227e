"""What a user may set about the GAN: the sections `train_gan` and `generate` of params.yaml."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FamilyName = Literal["projection", "auxiliary", "per_class"]
Layers = Literal["dense", "convolutional"]

NO_FOLDER = "data/raw/none"  # an empty folder, because DVC wants a path to depend on
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Factor = Annotated[float, Field(ge=0, le=1000)]


class Strict(BaseModel):
    """Unknown keys are refused, values never change, and no field has a default value."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HingeParams(Strict):
    """Hinge loss under spectral norm."""

    kind: Literal["hinge"]


class RelativisticParams(Strict):
    """Relativistic loss under gradient penalties of this weight, without spectral norm (R3GAN)."""

    kind: Literal["relativistic"]
    gradient_penalty: float = Field(ge=0, le=1000)


class AugmentParams(Strict):
    """What the discriminator's images go through, so that it overfits less: as often as needed, at most `limit`."""

    policies: list[Literal["translation", "cutout", "colour", "flip"]]
    limit: float = Field(ge=0, le=1)


class TrainGanParams(Strict):
    """Section `train_gan`."""

    seed: Seed
    family: FamilyName
    objective: Annotated[HingeParams | RelativisticParams, Field(discriminator="kind")]
    layers: Layers
    steps: int = Field(ge=1, le=1_000_000)
    batch_size: int = Field(ge=2, le=4096)
    latent_dim: int = Field(ge=1, le=1024)
    width: int = Field(ge=8, le=4096)
    generator_learning_rate: float = Field(gt=0, le=0.1)
    discriminator_learning_rate: float = Field(gt=0, le=0.1)
    ema_decay: float = Field(ge=0, lt=1)
    augment: AugmentParams
    snapshots: int = Field(ge=1, le=100)
    rollbacks: int = Field(ge=0, le=20)
    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "bfloat16"]
    compile: bool
    log_every: int = Field(ge=1)
    samples_every: int = Field(ge=1)
    checkpoint_every: int = Field(ge=1)


class BalancePlan(Strict):
    """Fill every class up to `per_class` images, labelled and synthetic together."""

    kind: Literal["balance"]
    per_class: int = Field(ge=1, le=1_000_000)


class FactorPlan(Strict):
    """Generate `factor` times the labelled images of a class: one number for all, or one for each class."""

    kind: Literal["factor"]
    factor: Factor | Annotated[list[Factor], Field(min_length=1)]


class GenerateParams(Strict):
    """Section `generate`; `external` is the folder of images made elsewhere, or `NO_FOLDER`."""

    seed: Seed
    external: str = Field(min_length=1)
    truncation: float = Field(gt=0, le=1)
    scores: bool
    plan: Annotated[BalancePlan | FactorPlan, Field(discriminator="kind")]

    @property
    def trains_gan(self) -> bool:
        """Whether the images come from our own GAN."""
        return self.external == NO_FOLDER
