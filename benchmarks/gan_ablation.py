"""What each ingredient of the GAN gains: the default settings against the same without it, at the same number of steps.

As in `gan_quality`, a classifier learns from the synthetic images alone and is tested on real ones; here by default on
the development sets, because settings are chosen by it. `python -m benchmarks.gan_ablation`
"""

import argparse
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from joblib import Parallel, delayed

from benchmarks import gan_sets
from benchmarks.gan_contest import Fit, gan_data, report, sampler, score, train
from benchmarks.gan_sets import GanSet
from benchmarks.reference_generators import Sampler
from stages.generators import training
from stages.generators.moments import Moments, measure
from stages.generators.params import TrainGanParams
from stages.labelling.data import RealImages

DEFAULT = "default"
# Fields of train_gan that are changed, by the name of the change.
CHANGES: dict[str, Mapping[str, Any]] = {
    DEFAULT: {},
    "no moving average": {"ema_decay": 0.0},
    "no augmentation": {"augment": {"policies": [], "limit": 0.0}},
    "last snapshot": {"snapshots": 1},
    "relativistic loss, R1 and R2": {"objective": {"kind": "relativistic", "gradient_penalty": 1.0}},
    "convolutional layers, width 64": {"layers": "convolutional", "width": 64},
    "half the steps": {"steps": 0.5},
    "twice the steps": {"steps": 2},
}
NO_POOL = "no unlabelled pool"
NO_GAUSSIANS = "no Gaussians to start from"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with the unpacked real sets")
    parser.add_argument("--sets", nargs="+", default=["digits_pool", "digits_closed", "digits_rare"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    gains: dict[str, Any] = {}
    for name in options.sets:
        sets = [gan_sets.load(name, seed, options.data, "development") for seed in range(options.seeds)]
        jobs = (
            delayed(score)(change, _changed(change), gan_set, seed, 0)
            for seed, gan_set in enumerate(sets)
            for change in _changes(gan_set)
        )
        accuracy = report(name, Parallel(n_jobs=options.jobs)(jobs))["accuracy"]
        gains[name] = (accuracy / accuracy[DEFAULT]).round(3).to_dict()
    print(json.dumps(gains))


def _changes(gan_set: GanSet) -> list[str]:
    return [*CHANGES, NO_GAUSSIANS, *([NO_POOL] if len(gan_set.unlabelled_images) else [])]


def _changed(change: str) -> Fit:
    """The preset's GAN with one change."""

    def fit(gan_set: GanSet, seed: int, _seconds: float) -> tuple[Sampler, int]:
        data = gan_data(gan_set)
        if change == NO_POOL:
            data = replace(data, unlabelled=data.unlabelled[:0])
        preset = gan_set.params.train_gan.model_dump()
        changes = dict(CHANGES.get(change, {}))
        if "steps" in changes:
            changes["steps"] = round(preset["steps"] * changes["steps"])
        params = TrainGanParams.model_validate(preset | changes)
        with patch.object(training, "measure", _components_alone) if change == NO_GAUSSIANS else nullcontext():
            return sampler(train(data, params, seed)), params.steps

    return fit


def _components_alone(real: RealImages, classes: int, latent_dim: int) -> Moments:
    """Moments by which every generator starts at the mean image."""
    measured = measure(real, classes, latent_dim)
    return replace(measured, means=0 * measured.means, factors=0 * measured.factors)


if __name__ == "__main__":
    main()
