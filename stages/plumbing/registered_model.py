"""Puts the best classifier into MLflow's registry, as code and safetensors, without pickle."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from stages.plumbing import code, workdir
from stages.plumbing.mlflow_store import FINGERPRINT, RunTree

ALIAS = "best"
_SERVED = Path("stages/downstream/served.py")
_LIBRARIES = ("mlflow", "numpy", "pandas", "pydantic", "safetensors", "torch")


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    shape: (C, H, W) of its images; kind and width: of its network; classes: names in their order.
    """

    weights: Path
    shape: tuple[int, int, int]
    kind: str
    width: int
    classes: list[str]


def register(tree: RunTree, child: str, name: str, classifier: Classifier, tags: Mapping[str, str]) -> None:
    """Registers the classifier of a child run under `name`, unless this fingerprint's is there.

    It becomes the alias `best`, except in an experiment of `dvc exp`.

    The model is shown with the child and with the parent.
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    client, run_id = tree.store.client, tree.child(child).info.run_id
    fingerprint = tree.tags[FINGERPRINT]
    if client.search_model_versions(f"name = '{name}' AND tag.`{FINGERPRINT}` = '{fingerprint}'"):
        return
    tags = {**tags, FINGERPRINT: fingerprint}
    model = client.create_logged_model(tree.store.experiment_id, name, run_id, tags)
    with TemporaryDirectory() as folder:
        _pack(classifier, Path(folder))
        client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(model.model_id, "READY")
    for run in (run_id, tree.run_id):
        client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        name, model.artifact_location, run_id, tags, model_id=model.model_id, await_creation_for=10
    )
    if "dvc.experiment" not in tree.tags:  # a trial is no new best
        client.set_registered_model_alias(name, ALIAS, made.version)


def _pack(classifier: Classifier, folder: Path) -> None:
    """Writes the MLflow model to `folder/model`."""
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    channels, size, _ = classifier.shape
    libraries = (*_LIBRARIES, "torchvision") if classifier.kind == "resnet18" else _LIBRARIES
    network = {"kind": classifier.kind, "channels": channels, "size": size, "width": classifier.width}
    config = network | {"classes": classifier.classes}
    workdir.write_json(folder / "classifier.json", config)
    shutil.copyfile(classifier.weights, folder / "classifier.safetensors")
    for path in code.closure(_SERVED):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path)
        for package in list(path.parents)[:-1]:
            (folder / package / "__init__.py").touch()  # without it, an installed package `stages` would win
    pyfunc.save_model(
        folder / "model",
        python_model=folder / _SERVED,
        code_paths=[str(folder / "stages")],
        artifacts={"weights": str(folder / "classifier.safetensors"), "config": str(folder / "classifier.json")},
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(np.uint8), (-1, *classifier.shape))]),
            Schema([ColSpec("float", each) for each in classifier.classes]),
        ),
        input_example=_blank(classifier.shape),
        pip_requirements=[f"{library}=={version(library).partition('+')[0]}" for library in libraries],
        metadata={"classes": classifier.classes},
    )


def _blank(shape: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One grey image: an example must show the form, and not one of the user's images."""
    return np.full((1, *shape), 127, dtype=np.uint8)
