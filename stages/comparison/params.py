"""Schema of the section `evaluate` of params.yaml."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Measure = Literal["accuracy", "balanced_accuracy", "macro_f1"]
Disturbance = Literal["gaussian_noise", "gaussian_blur", "contrast", "brightness", "jpeg", "fgsm", "pgd"]


class ContrastParams(BaseModel):
    """What the verdict is about, named before any result is seen: every arm against every rival."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arms: tuple[str, ...] = Field(min_length=1)
    rivals: tuple[str, ...] = Field(min_length=1)
    measure: Measure

    @model_validator(mode="after")
    def _each_arm_once(self) -> Self:
        named = [*self.arms, *self.rivals]
        twice = sorted({name for name in named if named.count(name) > 1})
        if twice:
            raise ValueError(f"arms and rivals must differ and be named once, but {', '.join(twice)} is repeated")
        return self


class GateParams(BaseModel):
    """What `python -m stages.gate` demands of the metrics; null demands nothing. Shares lie between 0 and 1.

    least_gain: of the best arm of the contrast over the first rival, in the mean. greatest_harm: how far any arm of the
    contrast may lie below any rival, beyond chance. greatest_copy_rate: share of the generated images that are dropped
    as copies. least_detection: of each kind of planted copy named. greatest_attack_auc: of every membership attack on
    what was kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    least_gain: float | None = Field(ge=-1, le=1)
    greatest_harm: float | None = Field(ge=0, le=1)
    greatest_copy_rate: float | None = Field(ge=0, le=1)
    least_detection: dict[str, Annotated[float, Field(ge=0, le=1)]]
    greatest_attack_auc: float | None = Field(ge=0.5, le=1)


class EvaluateParams(BaseModel):
    """How predictions are scored, compared and shown. Shares lie between 0 and 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda"]
    contrast: ContrastParams
    learning_curve: tuple[str, ...]
    robustness: tuple[Disturbance, ...]
    confidence: float = Field(gt=0.5, lt=1)
    margin: float = Field(gt=0, lt=1)
    bootstrap: int = Field(ge=100, le=100_000)
    publish_real_images: bool
    examples_per_class: int = Field(ge=1, le=16)
    nearest_pairs: int = Field(ge=1, le=48)
    licence: str = Field(min_length=1)

    @field_validator("learning_curve")
    @classmethod
    def _a_curve_needs_two(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        if len(arms) == 1 or len(set(arms)) < len(arms):
            raise ValueError("a learning curve takes two arms or more, each named once, or none: []")
        return arms
