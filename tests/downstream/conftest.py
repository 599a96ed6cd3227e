"""A toy problem that any classifier can learn, and parameters small enough to train within a second."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from stages.downstream.arm_data import ArmData, SyntheticData
from stages.downstream.params import TrainDownstreamParams
from stages.labelling.data import ReplicateData
from tests.downstream.toy import CLASSES, changed

ARMS: dict[str, dict[str, Any]] = {
    "real": {"augment": "none"},
    "classic": {},
    "pseudo_label": {"settings": [{"pool_share": 0.5, "teacher": "classifier"}]},
    "gan": {"images": "data/filter_memorized/gan", "augment": "none", "settings": [{"synthetic_share": 0.5}]},
    "synthetic_only": {"images": "data/filter_memorized/gan", "real": False, "settings": [{"synthetic_share": 1}]},
    "oversampled": {"balancing": "oversampling"},
    "weighted": {"balancing": "class_weights"},
    "mixup": {"augment": "mixup"},
    "three_labels": {"labels": {"per_class": 3}},
    "five_labels": {"labels": {"per_class": 5}},
    "duplicated": {"settings": [{"duplicated_share": 0.5}]},
    "real_again": {"settings": [{"other_seeds": 1}]},
    "fixmatch": {
        "augment": "randaugment",
        "settings": [{"fixmatch_threshold": 0.8, "unlabelled_share": 0.5}],
    },
    "gan_balanced": {
        "images": "data/filter_memorized/gan",
        "balancing": "synthetic",
        "settings": [{"synthetic_share": 0.5, "loss_weight": 0.5}],
    },
    "gan_filtered": {
        "images": "data/filter_memorized/gan",
        "settings": [{"synthetic_share": 0.5, "filter": {"by": "confidence", "keep": 0.6}}],
    },
    "gan_soft": {"images": "data/filter_memorized/gan", "settings": [{"synthetic_share": 0.5}]},
    "shuffled_labels": {
        "images": "data/filter_memorized/gan",
        "real": False,
        "settings": [{"synthetic_share": 1, "shuffled_labels": True}],
    },
}


def arm(**changes: Any) -> dict[str, Any]:
    """An arm as params.yaml states it: `classic`, with changes."""
    plain = {
        "images": "data/prepare",
        "real": True,
        "labels": "all",
        "balancing": "none",
        "augment": "classic",
        "settings": [{}],
    }
    return plain | changes


def section(**changes: Any) -> dict[str, Any]:
    """The section as params.yaml states it, tiny."""
    return {
        "seed": 5,
        "device": "cpu",
        "deterministic": False,
        "classifier": {
            "kind": "cnn",
            "width": 4,
            "steps": 30,
            "batch_size": 16,
            "learning_rate": 0.01,
            "weight_decay": 0.01,
            "label_smoothing": 0.1,
            "weight_averaging": 0.0,
            "checkpoints": 1,
        },
        "classic": {
            "rotation_degrees": 10,
            "translation_pixels": 0.5,
            "zoom": 0.1,
            "brightness": 0.1,
            "contrast": 0.1,
        },
        "randaugment": {"num_ops": 2, "magnitude": 9},
        "scikit_learn": {"classifiers": ["logistic_regression"], "images": 60},
        "arms": {name: arm(**changes) for name, changes in ARMS.items()},
    } | changes


def toy(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise of 8x8 pixels, uint8, with a bright bar whose place is the class; classes in turn."""
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 100, (count, 1, 8, 8), generator=Generator().manual_seed(seed))
    for label in range(CLASSES):
        images[labels == label, :, 2 * label + 1] += 120
    return images.to(torch.uint8), labels


@pytest.fixture(name="arm")
def arm_fixture() -> Callable[..., dict[str, Any]]:
    """See `arm`."""
    return arm


@pytest.fixture(name="section")
def section_fixture() -> Callable[..., dict[str, Any]]:
    """See `section`."""
    return section


@pytest.fixture(name="toy")
def toy_fixture() -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """See `toy`."""
    return toy


@pytest.fixture
def params() -> TrainDownstreamParams:
    """The tiny section, checked."""
    return TrainDownstreamParams.model_validate(section())


@pytest.fixture
def make_data() -> Callable[..., ArmData]:
    """Builds a replicate's data on the toy problem, with changes."""

    def make(**changes: Any) -> ArmData:
        roles = {"train": 12, "validation": 9, "unlabelled": 60, "test": 30}
        train, validation, (pool, _), (test, _) = (toy(count, seed) for seed, count in enumerate(roles.values()))
        seen = ReplicateData(*train, pool, *validation, classes=CLASSES, flip_ok=False)
        return changed(ArmData(seen, test, SyntheticData(*toy(45, 4))), **changes)

    return make
