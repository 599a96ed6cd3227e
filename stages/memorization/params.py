"""Section `filter_memorized` of params.yaml: which generated images are dropped as copies of real ones."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stages.imaging.params import BackboneParams

CONFIDENCE = 0.95  # of the guarantee `with_confidence`


class FilterMemorizedParams(BaseModel):
    """What the filter calls a copy, how sure it must be, and how hard it tests itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: Annotated[float, Field(gt=0, lt=1)]
    guarantee: Literal["on_average", "with_confidence"]
    thresholds: Literal["pooled", "per_class"]
    too_few: Literal["stop", "full_conformal"]
    by_group: bool
    neighbours: Annotated[int, Field(ge=2)]
    shift_pixels: Annotated[int, Field(ge=0)]
    blurred_view: bool
    backbone: BackboneParams | None
    planted_copies: Annotated[int, Field(ge=2)]
    seed: Annotated[int, Field(ge=0)]
    device: Literal["auto", "cpu", "cuda"]

    @property
    def confidence(self) -> float | None:
        """With which the false-positive rate holds over the draw of calibration images; None: on average."""
        return CONFIDENCE if self.guarantee == "with_confidence" else None
