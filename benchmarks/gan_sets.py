"""The image sets on which GANs are compared: what `prepare` makes of the presets, changed in size and labels.

Import it from the project's root. The images lie in memory, so these are sets of some thousand small images.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from ruamel.yaml import YAML
from torch import Tensor

from stages import presets
from stages.plumbing import code, images, params, workdir
from stages.plumbing.dataset import CALIBRATION, TEST, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset
from stages.plumbing.errors import UserError

ROOT = Path(__file__).parents[1]
SEEDS = 20  # replicates that are prepared at once
Part = Literal["test", "development"]


@dataclass(frozen=True)
class GanSet:
    """One replicate of a set: images uint8 (N, C, H, W), labels int64 (N,), indices into `classes`.

    No image has two roles. `unlabelled_images` is the pool, with N = 0 where the set has none. `calibration_images` set
    the memorization filter's threshold; there are none in development, where they are the test set. flip_ok: whether a
    mirrored image keeps its class. `params`: those of the preset it comes from.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    unlabelled_images: Tensor
    validation_images: Tensor
    validation_labels: Tensor
    calibration_images: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: list[str]
    flip_ok: bool
    params: params.Params


@dataclass(frozen=True)
class _Recipe:
    """A preset, what is changed in it, and the folder that must be there; digits need none."""

    preset: str
    source: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


_RARE_DIGITS = {str(digit): 50 if digit < 5 else 7 for digit in range(10)}
_RECIPES = {
    "digits_pool": _Recipe("digits_pool"),
    "digits_closed": _Recipe("digits_scarce"),
    "digits_rare": _Recipe("digits_scarce", changes={"prepare.labels_per_class": _RARE_DIGITS}),
    "fashion_pool": _Recipe("fashion_scarce", "fashion_mnist_sub", {"prepare.calibration": 400}),
    "fashion_28": _Recipe(
        "fashion_scarce",
        "fashion_mnist_sub",
        {
            "prepare.image.size": 28,
            "prepare.labels_per_class": 100,
            "prepare.calibration": 400,
            "prepare.unlabelled": {"count": 0},
        },
    ),
    "red_cells": _Recipe(
        "red_cells",
        "rbc_chula11",
        {
            "prepare.image.size": 32,
            "prepare.labels_per_class": 100,
            "prepare.imbalance_factor": 1,
            "prepare.calibration": 400,
        },
    ),
    "red_cells_rare": _Recipe(
        "red_cells",
        "rbc_chula11",
        {"prepare.image.size": 32, "prepare.labels_per_class": 100, "prepare.calibration": 400},
    ),
    "chest_xrays": _Recipe("chest_xrays", "pneumoniamnist", {"prepare.image.size": 28, "prepare.calibration": 400}),
    "spoken_digits": _Recipe("spoken_digits", "fsdd_wav"),
}


def available(folder: Path) -> list[str]:
    """Names of the sets that `load` can make: those of scikit-learn's digits, and those whose source is in `folder`."""
    return [name for name, recipe in _RECIPES.items() if recipe.source is None or (folder / recipe.source).is_dir()]


def load(name: str, seed: int, folder: Path, part: Part) -> GanSet:
    """The set's replicate number `seed`, 0 to `SEEDS` - 1, prepared now or found in `.work/benchmarks`.

    folder: holds the unpacked sources. part: with "test", the test set is the set's own, one for all seeds; with
    "development" that is left unread, and labelled images of the memorization filter's calibration role take its
    place, so that settings can be tried out. All else is the same in both.
    Raises UserError for a name, seed or source that is not there.
    """
    if name not in _RECIPES:
        raise UserError(f"there is no set {name!r}: choose one of {', '.join(_RECIPES)}")
    if not 0 <= seed < SEEDS:
        raise UserError(f"the sets are prepared for seeds 0 to {SEEDS - 1}: {seed} is none of them")
    dataset, preset = _prepared(name, folder)
    labels = _labels_by_id(dataset)
    test, calibration = dataset.role(seed, TEST), dataset.role(seed, CALIBRATION)
    if part == "development":
        test, calibration = calibration, calibration.take(np.arange(0))
    train, validation = dataset.role(seed, TRAIN), dataset.role(seed, VALIDATION)
    return GanSet(
        name=name,
        train_images=torch.from_numpy(train.pixels),
        train_labels=torch.from_numpy(train.labels),
        unlabelled_images=torch.from_numpy(dataset.role(seed, UNLABELLED_POOL).pixels),
        validation_images=torch.from_numpy(validation.pixels),
        validation_labels=torch.from_numpy(validation.labels),
        calibration_images=torch.from_numpy(calibration.pixels),
        test_images=torch.from_numpy(test.pixels),
        test_labels=torch.tensor([labels[each] for each in test.ids.tolist()]),
        classes=dataset.classes,
        flip_ok=dataset.flip_ok,
        params=preset,
    )


def _prepared(name: str, folder: Path) -> tuple[Dataset, params.Params]:
    """The set as the stage `prepare` leaves it, kept by its parameters and the stage's code; and all its parameters."""
    recipe = _RECIPES[name]
    changes = dict(recipe.changes) | {"prepare.replicates": SEEDS}
    if recipe.source is not None:
        source = (folder / recipe.source).resolve()
        if not source.is_dir():
            raise UserError(f"{source} is missing: unpack {recipe.source} there, or leave out the set {name}")
        changes["prepare.source.path"] = str(source)
    text = presets.compose(presets.read(recipe.preset), params.as_yaml(changes))
    preset = params.Params.model_validate(YAML(typ="safe", pure=True).load(text))
    key = workdir.fingerprint(preset.prepare, code.digest(code.closure(Path("stages/prepare.py"))))
    folder = workdir.finished(f"benchmarks/{name}", key, lambda target: _prepare(text, target))
    return Dataset.open(folder), preset


def _prepare(text: str, target: Path) -> None:
    """Runs the stage, with this params.yaml, in a project of its own, and moves what it leaves to `target`."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "stages").symlink_to(ROOT / "stages")
        (project / params.PARAMS_FILE).write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "stages.prepare"]
        stage = subprocess.run(command, cwd=project, stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
        if stage.returncode:
            raise UserError(f"the stage prepare failed: {stage.stderr.strip()}")
        shutil.copytree(project / workdir.DATA / "prepare", target, dirs_exist_ok=True)


def _labels_by_id(dataset: Dataset) -> dict[str, int]:
    """The true label of every image, whatever its role: `Dataset.role` tells those of train and validation alone."""
    table = images.read_table(dataset.folder / "images.parquet")
    labels: NDArray[np.int64] = images.labels_of(table)
    return dict(zip(table["id"].to_pylist(), labels.tolist(), strict=True))
