"""Schema of the section `evaluate` of params.yaml."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Measure = Literal["accuracy", "balanced_accuracy", "macro_f1"]


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


class EvaluateParams(BaseModel):
    """How predictions are scored, compared and shown. Shares lie between 0 and 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    contrast: ContrastParams
    confidence: float = Field(gt=0.5, lt=1)
    margin: float = Field(gt=0, lt=1)
    bootstrap: int = Field(ge=100, le=100_000)
    publish_real_images: bool
    examples_per_class: int = Field(ge=1, le=16)
    nearest_pairs: int = Field(ge=1, le=48)
    licence: str = Field(min_length=1)
