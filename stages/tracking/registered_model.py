"""Puts the best classifier into MLflow's registry, as code and safetensors, without pickle."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from stages.plumbing import code, images, workdir
from stages.sources.params import ImageParams
from stages.tracking.mlflow_store import FINGERPRINT, Tree

ALIAS = "best"
_SERVED = Path("stages/tracking/served.py")
_LIBRARIES = ("mlflow", "numpy", "pandas", "pillow", "pydantic", "safetensors", "torch")


def register(tree: Tree, name: str, arm: str, replicate: int, config: Mapping[str, Any], md5: str | None) -> None:
    """Registers an arm's classifier under `name`, unless this fingerprint's is there; its files lie with the child run.

    It becomes the alias `best`, except in an experiment of `dvc exp`. config: see `stages.tracking.served`; md5: DVC's,
    of the arm's folder.
    """
    from mlflow.exceptions import MlflowException

    client, run_id = tree.client, tree.run(f"{arm}/{replicate}")
    arm_folder = workdir.DATA / "train_downstream" / arm
    tags = {"arm": arm, "replicate": str(replicate), FINGERPRINT: tree.tags[FINGERPRINT]}
    tags |= {f"dvc.{arm_folder}": md5} if md5 else {}
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.search_model_versions(f"name = '{name}' AND tag.`{FINGERPRINT}` = '{tags[FINGERPRINT]}'")
    if found:
        version = found[0]
    else:
        with TemporaryDirectory() as folder:
            _pack(arm_folder / f"{replicate}.safetensors", config, Path(folder))
            client.log_artifacts(run_id, f"{folder}/model", "model")
        place = f"{client.get_run(run_id).info.artifact_uri}/model"
        version = client.create_model_version(name, place, run_id, tags, await_creation_for=10)
    if "dvc.experiment" not in tree.tags:  # a trial is no new best
        client.set_registered_model_alias(name, ALIAS, version.version)


def _pack(weights: Path, config: Mapping[str, Any], folder: Path) -> None:
    """Writes the MLflow model to `folder/model`."""
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Map, Schema

    libraries = (*_LIBRARIES, "torchvision") if config["kind"] == "resnet18" else _LIBRARIES
    workdir.write_json(folder / "classifier.json", config)
    shutil.copyfile(weights, folder / "classifier.safetensors")
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
        input_example=pd.DataFrame({"image": [_blank(ImageParams(**config["image"]))]}),
        pip_requirements=[f"{library}=={version(library).partition('+')[0]}" for library in libraries],
        metadata={"classes": config["classes"]},
    )


def _blank(image: ImageParams) -> bytes:
    """A grey PNG: an example must show the form, and not one of the user's images."""
    return images.encode_png(np.full((image.channel_count, image.size, image.size), 127, dtype=np.uint8))
