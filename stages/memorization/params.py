"""Section `filter_memorized` of params.yaml: which generated images are dropped as copies of real ones."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class FilterMemorizedParams(BaseModel):
    """What the filter calls a copy, how sure it must be, and how hard it tests itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: Annotated[float, Field(gt=0, lt=1)]
    neighbours: Annotated[int, Field(ge=2)]
    shift_pixels: Annotated[int, Field(ge=0)]
    planted_copies: Annotated[int, Field(ge=2)]
    seed: Annotated[int, Field(ge=0)]
