"""Puts the best classifier into MLflow's registry, as code and safetensors, without pickle."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.plumbing import code, images, workdir
from stages.sources.params import ImageParams
from stages.tracking.mlflow_store import FINGERPRINT, Tree

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "best"
TEST_SET, MEASURE, SCORE = "understudy.test_set", "understudy.measure", "understudy.score"
_SERVED = Path("stages/tracking/served.py")
_LIBRARIES = ("mlflow", "numpy", "pandas", "pillow", "pydantic", "safetensors", "torch")


@dataclass(frozen=True)
class Candidate:
    """A classifier for the registry, with its score on the test set of this fingerprint.

    config: see `stages.tracking.served`; md5: DVC's, of the arm's folder.
    """

    arm: str
    replicate: int
    config: Mapping[str, Any]
    measure: str
    score: float
    test_set: str
    md5: str | None

    @property
    def folder(self) -> Path:
        """Of the arm."""
        return workdir.DATA / "train_downstream" / self.arm

    @property
    def tags(self) -> dict[str, str]:
        """What is known of the version."""
        tags = {"arm": self.arm, "replicate": str(self.replicate), TEST_SET: self.test_set}
        tags |= {MEASURE: self.measure, SCORE: repr(self.score)}
        return tags | ({f"dvc.{self.folder}": self.md5} if self.md5 else {})


def model_name(prefix: str, dataset: str) -> str:
    """A name for each data set, of letters that the registry allows: other data, other classes, another model."""
    return f"{prefix}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', dataset).strip('-')}"


def register(tree: Tree, name: str, found: Candidate) -> None:
    """Registers a classifier under `name`, unless this fingerprint's is there; its files lie with the child run.

    It becomes the alias `best` where there is none, or where it is better on the same test set than the one that is,
    but never in an experiment of `dvc exp`: a trial is no new best.
    """
    from mlflow.exceptions import MlflowException

    client, fingerprint = tree.client, tree.tags[FINGERPRINT]
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}' AND tag.`{FINGERPRINT}` = '{fingerprint}'")
    first, *again = sorted(versions, key=lambda each: int(each.version)) or [_version(tree, name, found)]
    for each in again:  # where an answer was lost, MLflow asked again, and the server made another one
        client.delete_model_version(name, each.version)
    if "dvc.experiment" not in tree.tags:
        alias = client.get_registered_model(name).aliases.get(ALIAS)
        if alias is None or _beats(found, client.get_model_version(name, alias).tags):
            client.set_registered_model_alias(name, ALIAS, first.version)


def _beats(found: Candidate, best: Mapping[str, str]) -> bool:
    """Whether it is better than the best one so far, whose tags these are. On another test set nobody knows."""
    comparable = (best.get(TEST_SET), best.get(MEASURE)) == (found.test_set, found.measure)
    return comparable and found.score > float(best[SCORE])


def _version(tree: Tree, name: str, found: Candidate) -> "ModelVersion":
    client, run_id = tree.client, tree.run(f"{found.arm}/{found.replicate}")
    with TemporaryDirectory() as folder:
        _pack(found.folder / f"{found.replicate}.safetensors", found.config, Path(folder))
        client.log_artifacts(run_id, f"{folder}/model", "model")
    place, tags = (
        f"{client.get_run(run_id).info.artifact_uri}/model",
        found.tags | {FINGERPRINT: tree.tags[FINGERPRINT]},
    )
    return client.create_model_version(name, place, run_id, tags, await_creation_for=10)


def _pack(weights: Path, config: Mapping[str, Any], folder: Path) -> None:
    """Writes the MLflow model to `folder/model`."""
    import pandas as pd
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Map, Schema

    further = (
        ("torchvision", "timm")
        if isinstance(config["backbone"], dict)
        else ("torchvision",)
        if config["kind"] == "resnet18"
        else ()
    )
    libraries = _LIBRARIES + further
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
