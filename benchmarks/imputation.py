"""What missing pixels are filled with, and what the completed images are worth to a classifier.

Pixels of digits (and, with `--data FOLDER` and the folder fashion_mnist_sub in it, of clothes at 16 pixels) are missing
at random, 20 and 50 % of them. What fills them learns from half of the images, without labels, and never sees the
others, of which `rmse` is taken, in shares of the range from black to white, over the missing pixels alone. `accuracy`
is that of a logistic regression on those others, both completed, which learned from 10 labelled images of each class.
mean: of the pixel; nearest: 10 nearest images (scikit-learn's KNNImputer, by distance); iterative: its
IterativeImputer; gain: `stages.imputation`; complete: as if nothing were missing. Seeds from 1000 on chose nothing.
`python -m benchmarks.imputation`
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from stages.imputation.gain import Incomplete, complete, fit

RATES = (0.2, 0.5)
IMAGES, LABELLED = 1200, 10  # in all, half to learn from; labelled ones of a class
FIRST_SEED = 1000
STEPS, BATCH_SIZE = 1500, 64
SIDE = 16  # of the clothes
Fill = Callable[[Incomplete, Incomplete, int], list[NDArray[np.uint8]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with fashion_mnist_sub")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="of gain")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios = {}
    for name, (images, labels) in _sets(options.data):
        for rate in RATES:
            seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
            found = pd.concat([measure(images, labels, rate, seed, options.steps) for seed in seeds])
            table = found.groupby(level=0, sort=False).mean()
            print(f"\n{name}, {rate:.0%} of the pixels missing\n{table.round(4).to_string()}", flush=True)
            rivals = table.loc[["mean", "nearest", "iterative"]]
            ratios[f"{name} {rate:.0%}"] = {
                "rmse, gain/best rival": round(float(table.loc["gain", "rmse"] / rivals["rmse"].min()), 3),
                "accuracy, gain - best rival": round(
                    float(table.loc["gain", "accuracy"] - rivals["accuracy"].max()), 3
                ),
            }
    print(json.dumps(ratios))


def measure(images: NDArray[np.uint8], labels: NDArray[np.int64], rate: float, seed: int, steps: int) -> pd.DataFrame:
    """rmse, accuracy and CPU seconds (columns) of each way (rows), of one split and one pattern of missing pixels."""
    random = np.random.default_rng(seed)
    learned, held_out = np.split(random.permutation(len(images))[:IMAGES], 2)
    missing = random.random(images.shape) < rate
    seen, new = (
        Incomplete(torch.from_numpy(images[rows]), torch.from_numpy(missing[rows])) for rows in (learned, held_out)
    )
    labelled = np.concatenate([np.flatnonzero(labels[learned] == each)[:LABELLED] for each in np.unique(labels)])
    scores = partial(
        _scores, images=images, labels=labels, learned=learned, held_out=held_out, labelled=labelled, missing=missing
    )
    rows = {}
    for name, fill in _fills(steps).items():
        started = time.process_time()
        completed = fill(seen, new, seed)
        seconds = time.process_time() - started
        rows[name] = scores(completed) | {"cpu": seconds}
    rows["complete"] = scores([images[learned], images[held_out]]) | {"cpu": 0.0}
    return pd.DataFrame.from_dict(rows, orient="index")


def _scores(
    completed: list[NDArray[np.uint8]],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    learned: NDArray[np.int64],
    held_out: NDArray[np.int64],
    labelled: NDArray[np.int64],
    missing: NDArray[np.bool_],
) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression

    flat = [each.reshape(len(each), -1) / 255 for each in completed]
    classifier = LogisticRegression(max_iter=300).fit(flat[0][labelled], labels[learned[labelled]])
    apart = (completed[1].astype(float) - images[held_out])[missing[held_out]] / 255
    return {
        "rmse": float(np.sqrt(np.square(apart).mean())),
        "accuracy": float(classifier.score(flat[1], labels[held_out])),
    }


def _fills(steps: int) -> dict[str, Fill]:
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - without it there is none to import
    from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

    kept = {"keep_empty_features": True}
    return {
        "mean": partial(_by_rows, SimpleImputer(**kept)),
        "nearest": partial(_by_rows, KNNImputer(n_neighbors=10, weights="distance", **kept)),
        "iterative": partial(
            _by_rows,
            IterativeImputer(max_iter=5, n_nearest_features=50, min_value=0, max_value=255, random_state=0, **kept),
        ),
        "gain": partial(_gain, steps),
    }


def _by_rows(imputer: Any, learned: Incomplete, held_out: Incomplete, _seed: int) -> list[NDArray[np.uint8]]:
    tables = [np.where(each.missing, np.nan, each.images).reshape(len(each), -1) for each in (learned, held_out)]
    imputer.fit(tables[0])
    shape = learned.images.shape[1:]
    return [np.rint(imputer.transform(each).clip(0, 255)).astype(np.uint8).reshape(-1, *shape) for each in tables]


def _gain(steps: int, learned: Incomplete, held_out: Incomplete, seed: int) -> list[NDArray[np.uint8]]:
    network = fit(learned, steps, BATCH_SIZE, seed, lambda _: None)
    return [complete(network, each, seed).numpy() for each in (learned, held_out)]


def _sets(folder: Path) -> Iterator[tuple[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]]:
    """Images uint8 (N, 1, S, S) and labels (N,) by name."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    yield "digits", (np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None], digits.target)
    files = sorted((folder / "fashion_mnist_sub" / "test").glob("*/*.png"))
    if files:
        small = [Image.open(each).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC) for each in files]
        classes = sorted({each.parent.name for each in files})
        labels = np.array([classes.index(each.parent.name) for each in files])
        yield "clothes", (np.stack([np.asarray(each) for each in small])[:, None], labels)


if __name__ == "__main__":
    main()
