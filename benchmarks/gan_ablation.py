"""What each ingredient of the GAN gains: the preset's settings against the same without it, at equal steps.

As in `gan_quality`, a classifier learns from the synthetic images alone and is tested on real ones; here on the
development sets, because settings are chosen by it. `python -m benchmarks.gan_ablation`
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from benchmarks.gan_contest import Fit, contest, ours, parser, sets_of
from benchmarks.gan_sets import GanSet
from benchmarks.reference_generators import Sampler
from stages.generators import adversarial
from stages.generators.moments import Moments, measure
from stages.labelling import pool
from stages.labelling.data import TrustedImages

SETS = ("digits_pool", "digits_closed", "digits_rare")
DEFAULT = "default"
# Fields of the generator's section that are changed, by the name of the change.
CHANGES: dict[str, Mapping[str, Any]] = {
    DEFAULT: {},
    "no moving average": {"ema_decay": 0.0},
    "no augmentation": {"augment": {"policies": [], "limit": 0.0}},
    "relativistic loss, R1 and R2": {"objective": {"kind": "relativistic", "gradient_penalty": 1.0}},
    "convolutional layers, width 64": {"layers": "convolutional", "width": 64},
    "half the steps": {"steps": lambda steps: steps // 2},
    "twice the steps": {"steps": lambda steps: 2 * steps},
}


def main() -> None:
    options = parser(__doc__, seeds=3).parse_args()
    gains: dict[str, Any] = {}
    for name, sets in sets_of(options, SETS, "development").items():
        fits: dict[str, Fit] = {change: ours("projection", **changes) for change, changes in CHANGES.items()}
        fits["no Gaussians to start from"] = _without_gaussians
        if len(sets[0].data.unlabelled):
            fits["no unlabelled pool"] = _without_pool
        accuracy = contest(name, sets, fits, options.jobs)["accuracy"]
        gains[name] = (accuracy / accuracy[DEFAULT]).round(3).to_dict()
    print(json.dumps(gains))


def _without_pool(gan_set: GanSet, seed: int) -> tuple[Sampler, int]:
    data = replace(gan_set.data, unlabelled=gan_set.data.unlabelled[:0])
    return ours("projection")(replace(gan_set, data=data, guessed=pool.teach(data, seed)), seed)


def _without_gaussians(gan_set: GanSet, seed: int) -> tuple[Sampler, int]:
    with patch.object(adversarial, "measure", _components_alone):
        return ours("projection")(gan_set, seed)


def _components_alone(real: TrustedImages, classes: int, rank: int) -> Moments:
    """Moments by which every generator starts at the mean image."""
    measured = measure(real, classes, rank)
    return replace(measured, means=0 * measured.means, factors=0 * measured.factors)


if __name__ == "__main__":
    main()
