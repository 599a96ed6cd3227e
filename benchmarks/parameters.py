"""The parameters that benchmarks take: those of a preset, with some values changed.

Import it from the project's root.
"""

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from stages import presets
from stages.plumbing import params

DEFAULT = "digits_pool"
ARM = {"images": "data/prepare", "real": True, "labels": "all", "balancing": "none", "settings": [{}]}
# Changes that leave two arms, which need neither a generator nor a pool.
TWO_ARMS: dict[str, Any] = {
    "train_downstream.arms": {
        "real": ARM | {"augment": "none"},
        "randaugment": ARM | {"augment": "randaugment"},
    },
    "evaluate.augment": {"arms": ["randaugment"], "rivals": ["real"]},
    "evaluate.stand_in": {"arms": [], "rivals": ["real"]},
    "evaluate.learning_curve": [],
}


def text(changes: Mapping[str, Any], preset: str = DEFAULT) -> str:
    """A whole params.yaml; `changes` gives values by dotted key."""
    return presets.compose(presets.read(preset), params.as_yaml(dict(changes)))


def load(changes: Mapping[str, Any] | None = None, preset: str = DEFAULT) -> params.Params:
    """The same, checked."""
    return params.Params.model_validate(YAML(typ="safe", pure=True).load(text(changes or {}, preset)))
