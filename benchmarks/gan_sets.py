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
from torch import Tensor

from benchmarks import parameters
from stages.jobs.replicate import guess_pool, open_replicate
from stages.labelling.data import ReplicateData
from stages.labelling.pool import Guesses
from stages.plumbing import code, params, workdir
from stages.plumbing.dataset import CALIBRATION, ROLES, TEST, Dataset
from stages.plumbing.errors import UserError
from stages.plumbing.images import from_table, labels_of, read_table

ROOT = Path(__file__).parents[1]
SEEDS = 20  # replicates that are prepared at once
Part = Literal["test", "development"]


@dataclass(frozen=True)
class GanSet:
    """One replicate of a set: images uint8 (N, C, H, W), labels int64 (N,). No image has two roles.

    data: what generators may see. guessed: the labels of its pool. calibration_images set the memorization filter's
    threshold; there are none in development, where they are tested on. `params`: those of the preset it comes from.
    """

    name: str
    data: ReplicateData
    guessed: Guesses
    calibration_images: Tensor
    test_images: Tensor
    test_labels: Tensor
    params: params.Params


@dataclass(frozen=True)
class _Recipe:
    """A preset, what is changed in it, and the folder that must be there; digits need none."""

    preset: str
    source: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


# In the preset's 300 steps a classifier does not learn cells of this size, turned by any angle.
_LONGER = {"train_downstream.classifier.steps": 1000}
_RARE_DIGITS = {str(digit): 50 if digit < 5 else 7 for digit in range(10)}
_RECIPES = {
    "digits_pool": _Recipe("digits_pool"),
    "digits_closed": _Recipe("digits_scarce"),
    "digits_rare": _Recipe("digits_scarce", changes={"prepare.labels_per_class": _RARE_DIGITS}),
    "fashion_pool": _Recipe("fashion_scarce", "fashion_mnist_sub", {"prepare.calibration": 400}),
    "fashion_500": _Recipe(
        "fashion_scarce",
        "fashion_mnist_sub",
        {
            "prepare.image.size": 28,
            "prepare.labels_per_class": 50,
            "prepare.calibration": 800,
            "prepare.unlabelled": {"share": 1.0},
        },
    ),
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
            **_LONGER,
        },
    ),
    "red_cells_rare": _Recipe(
        "red_cells",
        "rbc_chula11",
        {"prepare.image.size": 32, "prepare.labels_per_class": 100, "prepare.calibration": 400, **_LONGER},
    ),
    "red_cells_64": _Recipe(
        "red_cells",
        "rbc64",
        {
            "prepare.image.size": 64,
            "prepare.labels_per_class": 80,
            "prepare.imbalance_factor": 1,
            "prepare.calibration": 1000,
            "train_gan.generators.gan.layers": "convolutional",
            "train_gan.generators.gan.width": 128,
        },
    ),
    "chest_xrays": _Recipe("chest_xrays", "pneumoniamnist", {"prepare.image.size": 28, "prepare.calibration": 400}),
    "spoken_digits": _Recipe("spoken_digits", "fsdd_wav"),
}
NAMES = tuple(_RECIPES)


def available(folder: Path) -> list[str]:
    """Names of the sets that `load` can make: those of scikit-learn's digits, and those whose source is in `folder`."""
    return [name for name, recipe in _RECIPES.items() if recipe.source is None or (folder / recipe.source).is_dir()]


def load(name: str, seed: int, folder: Path, part: Part) -> GanSet:
    """The set's replicate number `seed`, 0 to `SEEDS` - 1, prepared now or found in `.work/benchmarks`.

    folder: holds the unpacked sources. part: with "test", the test set is the set's own, one for all seeds; with
    "development" that is left unread, and images that no generator sees take its place, so that settings can be tried
    out: those of the memorization filter's calibration role, and those without a role. All else is the same in both.
    Raises UserError for a name, seed or source that is not there.
    """
    if name not in _RECIPES:
        raise UserError(f"there is no set {name!r}: choose one of {', '.join(_RECIPES)}")
    if not 0 <= seed < SEEDS:
        raise UserError(f"the sets are prepared for seeds 0 to {SEEDS - 1}: {seed} is none of them")
    recipe = _RECIPES[name]
    changes = {**recipe.changes, "prepare.replicates": SEEDS}
    if recipe.source is not None:
        changes["prepare.source.path"] = str(source_in(folder, recipe.source))
    return opened(name, recipe.preset, {**parameters.TWO_ARMS, **changes}, seed, part)


def source_in(folder: Path, name: str) -> Path:
    """The unpacked source. Raises UserError when it is missing."""
    source = (folder / name).resolve()
    if not source.is_dir():
        raise UserError(f"{source} is missing: unpack {name} there, or leave out its sets")
    return source


def opened(name: str, preset: str, changes: Mapping[str, Any], seed: int, part: Part) -> GanSet:
    """Replicate `seed` of the preset with changes, as the stage `prepare` leaves it; see `load`."""
    given = parameters.load(changes, preset)
    key = workdir.fingerprint(given.prepare, code.digest(code.closure(Path("stages/prepare.py"))))
    text = parameters.text(changes, preset)
    dataset = Dataset.open(workdir.finished(f"benchmarks/{name}", key, lambda target: _prepare(text, target)))
    data = open_replicate(dataset, seed, "cpu", "train_gan")
    calibration = torch.from_numpy(dataset.role(seed, CALIBRATION).pixels)
    if part == "development":
        test_images, test_labels = _unseen(dataset, seed)
        calibration = calibration[:0]
    else:
        test, labels = dataset.role(seed, TEST), dataset.test_labels()
        test_images = torch.from_numpy(test.pixels)
        test_labels = torch.tensor(labels.loc[test.ids.tolist()].tolist())
    return GanSet(
        name=name,
        data=data,
        guessed=guess_pool(dataset, seed, data),
        calibration_images=calibration,
        test_images=test_images,
        test_labels=test_labels,
        params=given,
    )


def _unseen(dataset: Dataset, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W), and their labels (N,), of no role but calibration; none of a group that has another role."""
    table = read_table(dataset.folder / "images.parquet")
    others = [role for role in ROLES if role != CALIBRATION]
    groups = set(filter(None, dataset.groups(seed, *others)))
    seen = np.isin(table["id"].to_pylist(), dataset.ids(seed, *others))
    seen |= [group in groups for group in table["group"].to_pylist()]
    unseen = from_table(table.filter((~seen) & (labels_of(table) >= 0)))
    return torch.from_numpy(unseen.pixels), torch.from_numpy(unseen.labels)


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
