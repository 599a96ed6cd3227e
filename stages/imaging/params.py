"""How a user names a pretrained network, wherever params.yaml takes one."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class BackboneParams(BaseModel):
    """A network of timm's, pretrained elsewhere, whose features are used as they are.

    size: pixels of a side to which images are brought. weights: a safetensors file, or package: see
    `imaging.backbones.open_backbone`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    size: int = Field(ge=32, le=384)
    weights: str = Field(min_length=1)

    @property
    def files(self) -> list[Path]:
        """The file of the weights, where it is there: what comes of a network depends on it."""
        return [Path(self.weights)] if Path(self.weights).is_file() else []
