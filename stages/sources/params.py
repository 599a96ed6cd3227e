"""Schema of the section `prepare` of params.yaml."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class SourceParams(BaseModel):
    """Where the real images come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["digits"]
    path: str = Field(min_length=1)


class ImageParams(BaseModel):
    """What holds for every image of the set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip_ok: bool


class PrepareParams(BaseModel):
    """Source, image properties and the sizes of the roles; docs in params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(ge=0)
    replicates: int = Field(ge=1)
    source: SourceParams
    image: ImageParams
    test_share: float = Field(gt=0, lt=1)
    labels_per_class: int = Field(ge=1)
    validation_per_class: int = Field(ge=1)
    calibration: int = Field(ge=1)
    unlabelled_share: float = Field(ge=0, le=1)
