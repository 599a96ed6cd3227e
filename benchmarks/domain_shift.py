"""What translated images are worth under domain shift, beside every rival: the six stages, on seeds that chose nothing.

Each set is a preset with another `prepare.seed`, hence with another test set and other replicates than anything was
tried out on. Beside its arms stands what no user has: classic augmentation on as many labels of the target as there are
of the source. `python -m benchmarks.domain_shift` prints a table for each set whose images are there.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from benchmarks import parameters
from stages.downstream.arm_data import ArmData
from stages.downstream.arms import train_arm
from stages.downstream.params import ArmParams
from stages.jobs.replicate import open_replicate
from stages.labelling.pool import Guesses
from stages.plumbing import code, images, workdir
from stages.plumbing.dataset import TEST, TRAIN, UNLABELLED_POOL, Dataset
from stages.plumbing.params import PARAMS_FILE, Params, load

ROOT = Path(__file__).parents[1]
SEED = 16  # nothing was ever tried with it
TARGET_LABELS = "target labels"
MEASURES = {"accuracy": accuracy_score, "balanced_accuracy": balanced_accuracy_score}


@dataclass(frozen=True)
class _Recipe:
    """A preset, what is changed in it, and the folders that must be there; digits need none."""

    preset: str
    sources: tuple[str, ...] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)


def _simulated(preset: str, *sources: str) -> dict[str, _Recipe]:
    return {
        f"{preset}, {simulated}": _Recipe(preset, sources, {"prepare.shift.simulate": simulated})
        for simulated in ("edges", "tone_curve", "scan", "inversion")
    }


RECIPES = {
    **_simulated("scanner_shift"),
    **_simulated("scanner_shift_fashion", "fashion_mnist_sub"),
    **_simulated("scanner_shift_xrays", "pneumoniamnist"),
    "mnist_to_usps": _Recipe("mnist_to_usps", ("digits_mnist", "digits_usps")),
    "usps_to_mnist": _Recipe("usps_to_mnist", ("digits_mnist", "digits_usps")),
    "mnist_to_usps, 100 images": _Recipe(
        "mnist_to_usps", ("digits_mnist", "digits_usps"), {"prepare.unlabelled": {"count": 100}}
    ),
    "usps_to_mnist, 100 images, unequal shares": _Recipe(
        "usps_to_mnist",
        ("digits_mnist", "digits_usps"),
        {
            "prepare.unlabelled": {"count": 100},
            "prepare.labels_per_class": {str(digit): 10 + 7 * digit for digit in range(10)},
        },
    ),
    "drawn_digits": _Recipe("drawn_digits"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with the unpacked real sets")
    parser.add_argument("--sets", nargs="+", choices=RECIPES, help="default: those whose images are there")
    parser.add_argument("--replicates", type=int, default=10)
    options = parser.parse_args()
    for name in options.sets or [name for name, each in RECIPES.items() if _is_there(each, options.data)]:
        print(f"\n{name}, {options.replicates} replicates")
        print(table(_run(RECIPES[name], options.data, options.replicates)).to_string(), flush=True)


def _is_there(recipe: _Recipe, folder: Path) -> bool:
    return all((folder / source).is_dir() for source in recipe.sources)


def _run(recipe: _Recipe, data: Path, replicates: int) -> Path:
    """The folder of a project whose stages have run; kept by its parameters and the stages' code."""
    changes = {**recipe.changes, "prepare.seed": SEED, "prepare.replicates": replicates}
    text, params = parameters.text(changes, recipe.preset), parameters.load(changes, recipe.preset)
    key = workdir.fingerprint(text, code.digest(sorted((ROOT / "stages").rglob("*.py"))))

    def run(project: Path) -> None:
        (project / "stages").symlink_to(ROOT / "stages")
        (project / "data").mkdir()
        (project / "data/raw").symlink_to(data.resolve())
        (project / PARAMS_FILE).write_text(text, encoding="utf-8")
        for command in _commands(params):
            subprocess.run([sys.executable, "-m", *command], cwd=project, check=True, capture_output=True)  # noqa: S603

    return workdir.finished("benchmarks/domain_shift", key, run)


def _commands(params: Params) -> Iterator[tuple[str, ...]]:
    yield ("stages.prepare",)
    for stage in ("train_gan", "generate", "filter_memorized"):
        for generator in params.train_gan.generators:
            yield f"stages.{stage}", generator
    for arm in params.train_downstream.arms:
        yield "stages.train_downstream", arm
    yield ("stages.evaluate",)


def table(project: Path) -> pd.DataFrame:
    """A row for each arm: how many settings it tried, its mean score, and what the arm in question is beyond it."""
    numbers = json.loads((project / "metrics/evaluate.json").read_text(encoding="utf-8"))
    params = load(project / PARAMS_FILE)
    arm, rivals = next(iter(numbers["answers"]["augment"]["arms"].items()))
    rows = {}
    for name, section in params.train_downstream.arms.items():
        score, contrast = numbers["arms"][name][params.evaluate.measure_key], rivals["rivals"].get(name)
        rows[name] = {
            "settings": len(section.settings),
            "score": f"{100 * score['mean']:.1f}",
            f"{arm} beyond it": "" if contrast is None else _interval(contrast),
        }
    scores = target_labels(Dataset.open(project / "data/prepare"), params)
    rows[TARGET_LABELS] = {"settings": 1, "score": f"{100 * np.mean(scores):.1f}", f"{arm} beyond it": ""}
    return pd.DataFrame.from_dict(rows, orient="index")


def _interval(contrast: Mapping[str, float]) -> str:
    return f"{100 * contrast['mean']:+.1f} ({100 * contrast['low']:+.1f}, {100 * contrast['high']:+.1f})"


def target_labels(dataset: Dataset, params: Params) -> list[float]:
    """The measure, by replicate, of classic augmentation on as many labelled images of the target as of the source."""
    everything = images.read(dataset.folder / "images.parquet")
    arm = ArmParams.model_validate(parameters.ARM | {"augment": "classic"})
    test, truth = (
        torch.from_numpy(dataset.role(0, TEST).pixels),
        dataset.test_labels().loc[dataset.ids(0, TEST).tolist()],
    )
    score = MEASURES[params.evaluate.measure_key]
    scores = []
    for replicate in range(dataset.replicates):
        seen = open_replicate(dataset, replicate, "cpu", "train_downstream")
        # at random, for a folder's images are sorted by class
        ids = np.random.default_rng(replicate).permutation(dataset.ids(replicate, UNLABELLED_POOL))
        pool = everything.by_id(ids[: len(dataset.ids(replicate, TRAIN))].tolist())
        pixels, labels = torch.from_numpy(pool.pixels), torch.from_numpy(pool.labels)
        own = replace(seen, images=pixels, labels=labels, from_source=None)
        found = train_arm(arm, ArmData(own, test, None), params.train_downstream, replicate, _nobody, 0, None)
        scores.append(float(score(truth, found.test_probabilities.argmax(axis=1))))
    return scores


def _nobody() -> Guesses:
    raise AssertionError("no arm here asks for the pool's labels")


if __name__ == "__main__":
    main()
