"""The trained classifier as an MLflow model, in MLflow's way "models from code": only MLflow executes this file.

It is packed with the project's files that it imports, the weights as safetensors and a JSON file that says what to
build: `kind`, `channels`, `size`, `width`, `classes` (their names in the order of the outputs).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedClassifier(PythonModel):
    """uint8 images (N, C, H, W), 0..255 -> a table (N, K) of probabilities with a column per class."""

    def load_context(self, context: PythonModelContext) -> None:
        """Builds the network and gives it its weights."""
        # Here and not above: MLflow executes this file when it packs it, too, and torch takes seconds to import.
        from safetensors.torch import load_file

        from stages.downstream.classifiers import build_classifier

        config = json.loads(Path(context.artifacts["config"]).read_text(encoding="utf-8"))
        self._classes = config["classes"]
        self._network = build_classifier(
            config["kind"], config["channels"], config["size"], len(self._classes), config["width"], seed=0
        )
        self._network.load_state_dict(load_file(context.artifacts["weights"]))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """The probabilities of every image's classes."""
        import torch

        from stages.downstream.training import predict

        images = torch.from_numpy(np.ascontiguousarray(model_input))
        return pd.DataFrame(predict(self._network, images).numpy(), columns=self._classes)


set_model(ServedClassifier())
