"""The trained classifier as an MLflow model, in MLflow's way "models from code": only MLflow executes this file.

It is packed with the project's files that it imports, the weights as safetensors and a JSON file that says what to
build: `kind` and `width` of the network, or the `backbone` in its place (else null), `calibrated`
(see `ArmParams.is_calibrated`), `image` (what `prepare` makes of
every image) and `classes` (their names in the order of the outputs).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray


class ServedClassifier(PythonModel):
    """A table with a column `image` of image files' bytes -> for each its likeliest class and all probabilities."""

    def load_context(self, context: PythonModelContext) -> None:
        """Builds the network and gives it its weights."""
        # Here and not above: MLflow executes this file when it packs it, too, and torch takes seconds to import.
        from safetensors.torch import load_file

        from stages.downstream.heads import build
        from stages.imaging.params import BackboneParams
        from stages.sources.params import ImageParams

        config = json.loads(Path(context.artifacts["config"]).read_text(encoding="utf-8"))
        self._classes = config["classes"]
        self._image = ImageParams(**config["image"])
        backbone = BackboneParams(**config["backbone"]) if config["backbone"] else None
        self._network = build(
            backbone,
            config["kind"],
            self._image.channel_count,
            self._image.size,
            len(self._classes),
            config["width"],
            config["calibrated"],
        )
        self._network.load_state_dict(load_file(context.artifacts["weights"]))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """A row per image: `class`, a name, and `probabilities`, a dictionary from every class's name to 0..1.

        `image` holds whole files (PNG, or what else `prepare` reads), of any size: they become what `prepare` would
        make of them. Raises MlflowException, which a server answers with status 400, for what is no usable image.
        """
        import torch

        from stages.imaging.networks import predict

        images = torch.from_numpy(self._pixels(model_input["image"]))
        rows = [dict(zip(self._classes, row, strict=True)) for row in predict(self._network, images).tolist()]
        return pd.DataFrame({"class": [max(row, key=row.__getitem__) for row in rows], "probabilities": rows})

    def _pixels(self, files: Iterable[bytes]) -> NDArray[np.uint8]:
        """Images uint8 (N, C, H, W) of image files, as `prepare` decodes and fits them."""
        from stages.imaging.decoding import BadItem, decode
        from stages.imaging.normalise import to_pixels

        pixels = []
        for row, data in enumerate(files):
            try:
                pixels.append(to_pixels(decode(data), self._image))
            except BadItem as error:
                raise MlflowException(f"image {row} {error.reason}", INVALID_PARAMETER_VALUE) from None
        return np.stack(pixels)


set_model(ServedClassifier())
