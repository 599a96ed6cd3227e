"""Puts the best classifier into MLflow's registry, as code and safetensors, without pickle."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from stages.plumbing import code, images, workdir
from stages.sources.params import ImageParams
from stages.tracking.mlflow_store import FINGERPRINT, RunTree

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

ALIAS = "best"
_SERVED = Path("stages/tracking/served.py")
_LIBRARIES = ("mlflow", "numpy", "pandas", "pillow", "pydantic", "safetensors", "torch")


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    image: what `prepare` makes of every image; kind and width: of its network; classes: names in their order.
    """

    weights: Path
    image: ImageParams
    kind: str
    width: int
    classes: list[str]


def register(tree: RunTree, child: str, name: str, classifier: Classifier, tags: Mapping[str, str]) -> None:
    """Registers the classifier of a child run under `name`, unless this fingerprint's is there.

    It becomes the alias `best`, except in an experiment of `dvc exp`.

    The model is shown with the child and with the parent.
    """
    from mlflow.exceptions import MlflowException

    client, run_id = tree.store.client, tree.child(child).info.run_id
    tags = {**tags, FINGERPRINT: tree.tags[FINGERPRINT]}
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    same = f"name = '{name}' AND tag.`{FINGERPRINT}` = '{tags[FINGERPRINT]}'"
    if not client.search_model_versions(same):
        model = _logged(tree, run_id, name, classifier, tags)
        client.create_model_version(
            name, model.artifact_location, run_id, tags, model_id=model.model_id, await_creation_for=10
        )
    first, *twins = sorted(client.search_model_versions(same), key=lambda each: int(each.version))
    for twin in twins:  # as with runs: an answer was lost
        client.delete_model_version(name, twin.version)
    if "dvc.experiment" not in tree.tags:  # a trial is no new best
        client.set_registered_model_alias(name, ALIAS, first.version)


def _logged(tree: RunTree, run_id: str, name: str, classifier: Classifier, tags: Mapping[str, str]) -> "LoggedModel":
    """The model as the child run's and the parent's output; one that an interrupted process began is completed."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client, experiment = tree.store.client, tree.store.experiment_id
    begun = client.search_logged_models([experiment], f"tags.`{FINGERPRINT}` = '{tags[FINGERPRINT]}'")
    model = begun[0] if begun else client.create_logged_model(experiment, name, run_id, dict(tags))
    if model.status != LoggedModelStatus.READY:
        with TemporaryDirectory() as folder:
            _pack(classifier, Path(folder))
            client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        for run in (run_id, tree.run_id):
            client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
        client.finalize_logged_model(model.model_id, "READY")
    return model


def _pack(classifier: Classifier, folder: Path) -> None:
    """Writes the MLflow model to `folder/model`."""
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Map, Schema

    libraries = (*_LIBRARIES, "torchvision") if classifier.kind == "resnet18" else _LIBRARIES
    network = {"kind": classifier.kind, "width": classifier.width}
    config = network | {"image": classifier.image.model_dump(mode="json"), "classes": classifier.classes}
    workdir.write_json(folder / "classifier.json", config)
    shutil.copyfile(classifier.weights, folder / "classifier.safetensors")
    for path in code.closure(_SERVED, whole=True):
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
            Schema([ColSpec("binary", "image")]),
            Schema([ColSpec("string", "class"), ColSpec(Map("float"), "probabilities")]),
        ),
        input_example=pd.DataFrame({"image": [_blank(classifier.image)]}),
        pip_requirements=[f"{library}=={version(library).partition('+')[0]}" for library in libraries],
        metadata={"classes": classifier.classes},
    )


def _blank(image: ImageParams) -> bytes:
    """A grey PNG: an example must show the form, and not one of the user's images."""
    return images.encode_png(np.full((image.channel_count, image.size, image.size), 127, dtype=np.uint8))
