"""What each ingredient of a GAN gains: its settings against the same without it, at equal steps.

As in `gan_quality`, a classifier learns from the synthetic images alone and is tested on real ones; here on the
development sets, because settings are chosen by it. `python -m benchmarks.gan_ablation` takes the preset's GAN on
digits, `--kind refined_gaussian` that kind on clothes and red cells.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from torch import Tensor

from benchmarks.gan_contest import R3GAN, Fit, contest, ours, parser, sets_of
from benchmarks.gan_sets import GanSet
from benchmarks.reference_generators import Sampler
from stages.generators import adversarial, refining
from stages.generators.moments import Moments, measure
from stages.generators.two_judges import TwoJudges
from stages.labelling import pool
from stages.labelling.data import TrustedImages

SETS = {
    "projection": ("digits_pool", "digits_closed", "digits_rare"),
    "refined_gaussian": ("fashion_28", "red_cells"),
}
DEFAULT = "default"
_ANY: dict[str, Mapping[str, Any]] = {
    DEFAULT: {},
    "no moving average": {"ema_decay": 0.0},
    "no augmentation": {"augment": {"policies": [], "limit": 0.0}},
    "relativistic loss, R1 and R2": {"objective": R3GAN},
    "half the steps": {"steps": lambda steps: steps // 2},
    "twice the steps": {"steps": lambda steps: 2 * steps},
}
# Fields of the generator's section that are changed, by the name of the change.
CHANGES: dict[str, dict[str, Mapping[str, Any]]] = {
    "projection": {**_ANY, "convolutional layers, width 64": {"layers": "convolutional", "width": 64}},
    "refined_gaussian": {
        **_ANY,
        "twice the width": {"width": 32},
        "batches of 64, half the steps": {"batch_size": 64, "steps": lambda steps: steps // 2},
        "float32": {"precision": "float32"},
        "a margin of .1": {"objective": {"kind": "hinge", "margin": 0.1}},
        "drawn at the images' own size": {"drawn_size": 128},  # beyond 32 pixels: `--sets red_cells_64`
        "classes equally often": {"batches": {"labelled_share": None, "balanced": True}},
    },
}


def main() -> None:
    arguments = parser(__doc__, seeds=3)
    arguments.add_argument("--kind", choices=CHANGES, default="projection")
    arguments.add_argument("--steps", type=int, help="of the default; default: the preset's")
    arguments.add_argument("--changes", nargs="+", help="those to try, beside the default; default: all")
    options = arguments.parse_args()
    common = {} if options.steps is None else {"steps": options.steps}
    gains: dict[str, Any] = {}
    for name, sets in sets_of(options, SETS[options.kind], "development").items():
        fits = _fits(options.kind, common)
        if len(sets[0].data.unlabelled):
            fits["no unlabelled pool"] = _without_pool(ours(options.kind, **common))
        if options.changes:
            fits = {change: fits[change] for change in (DEFAULT, *options.changes)}
        accuracy = contest(name, sets, fits, options.jobs)["accuracy"]
        gains[name] = (accuracy / accuracy[DEFAULT]).round(3).to_dict()
    print(json.dumps(gains))


def _fits(kind: str, common: Mapping[str, Any]) -> dict[str, Fit]:
    """The kind with each change; `common` are fields that all have."""
    made = {change: ours(kind, **_changed(common, changes)) for change, changes in CHANGES[kind].items()}
    made["no Gaussians to start from"] = _patched(ours(kind, **common), adversarial, "measure", _components_alone)
    if kind == "refined_gaussian":
        made["no residual blocks"] = _patched(ours(kind, **common), refining, "BLOCKS", {"deep": 0, "middle": 0})
        for judge, chosen in {"the whole image": _whole, "patches": _patches}.items():
            made[f"no judge but that of {judge}"] = _patched(ours(kind, **common), TwoJudges, "together", chosen)
    return made


def _changed(common: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Both; a function changes the common value where there is one."""
    return {
        **common,
        **{name: new(common[name]) if callable(new) and name in common else new for name, new in changes.items()},
    }


def _without_pool(fit: Fit) -> Fit:
    def fitted(gan_set: GanSet, seed: int) -> tuple[Sampler, int]:
        data = replace(gan_set.data, unlabelled=gan_set.data.unlabelled[:0])
        return fit(replace(gan_set, data=data, guessed=pool.teach(data, seed)), seed)

    return fitted


def _patched(fit: Fit, target: object, attribute: str, instead: object) -> Fit:
    def fitted(gan_set: GanSet, seed: int) -> tuple[Sampler, int]:
        with patch.object(target, attribute, instead):
            return fit(gan_set, seed)

    return fitted


def _components_alone(real: TrustedImages, classes: int, rank: int) -> Moments:
    """Moments by which every generator starts at the mean image."""
    measured = measure(real, classes, rank)
    return replace(measured, means=0 * measured.means, factors=0 * measured.factors)


def _whole(_: TwoJudges, values: Tensor) -> Tensor:
    return values[:, 0]


def _patches(_: TwoJudges, values: Tensor) -> Tensor:
    return values[:, 1:].mean(dim=1)


if __name__ == "__main__":
    main()
