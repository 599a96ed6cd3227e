from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.comparison.params import EvaluateParams
from stages.sources.findings import Finding


@pytest.fixture(scope="session")
def make_params() -> Callable[..., EvaluateParams]:
    def make(**changes: Any) -> EvaluateParams:
        fields: dict[str, Any] = {
            "seed": 0,
            "contrast": {"arms": ["gan"], "rivals": ["classic"], "measure": "accuracy"},
            "learning_curve": [],
            "robustness": [],
            "confidence": 0.95,
            "margin": 0.01,
            "bootstrap": 400,
            "publish_real_images": True,
            "examples_per_class": 2,
            "nearest_pairs": 2,
            "licence": "unknown",
        }
        return EvaluateParams.model_validate(fields | changes)

    return make


@pytest.fixture(scope="session")
def make_tables() -> Callable[..., tuple[dict[str, pd.DataFrame], pd.Series]]:
    """Predictions of arms with given chances to be right, and the truth."""

    def make(
        chances: dict[str, float], replicates: int = 10, images: int = 120, classes: int = 3, seed: int = 0
    ) -> tuple[dict[str, pd.DataFrame], pd.Series]:
        rng = np.random.default_rng(seed)
        truth = pd.Series(rng.integers(classes, size=images), index=[f"i{i:03d}" for i in range(images)])
        tables = {}
        for arm, chance in chances.items():
            right = rng.random((replicates, images)) < chance
            label = np.where(right, truth, (truth.to_numpy() + 1) % classes)
            table = pd.DataFrame(
                {
                    "replicate": np.repeat(np.arange(replicates), images),
                    "id": np.tile(truth.index, replicates),
                    "label": label.ravel(),
                    "probabilities": list(np.full((replicates * images, classes), 1 / classes)),
                }
            )
            tables[arm] = table.sample(frac=1, random_state=rng.integers(1000))
        return tables, truth

    return make


@pytest.fixture(scope="session")
def make_privacy() -> Callable[[list[str]], dict[str, Any]]:
    """The form of metrics/filter_memorized.json."""

    def attack(auc: float) -> dict[str, float]:
        named = {"detected": 0.0125, "detected_low": 0.005, "detected_high": 0.02}
        return {"auc": auc, "low": auc - 0.05, "high": auc + 0.05} | named

    def make(classes: list[str]) -> dict[str, Any]:
        def set_level(z: float, authentic: float) -> dict[str, Any]:
            copied = dict.fromkeys(classes, 0.055)
            return {"data_copying_z": z, "authentic": authentic, "authentic_fresh": 0.8, "copied": copied}

        return {
            "alpha": 0.05,
            "generated": 100 * len(classes),
            "dropped": 7 * len(classes),
            "dropped_share": 0.07,
            "calibration": 200,
            "with_confidence": 0,
            "per_class": 0,
            "classes": {name: {"generated": 100, "dropped": 7, "dropped_share": 0.07} for name in classes},
            "false_positive_rate": {"rate": 0.04, "low": 0.02, "high": 0.08},
            "false_positive_rate_blurred": {"rate": 0.03, "low": 0.01, "high": 0.07},
            "planted": {
                "mix": {"detected": 0.625, "copies": 640, "auc": 0.875},
                "exact": {"detected": 1.0, "copies": 640, "auc": 1.0},
            },
            "attacks": {
                "before": {"distance": attack(0.62), "monte_carlo": attack(0.52), "domias": attack(0.7)},
                "after": {"distance": attack(0.51), "monte_carlo": attack(0.5), "domias": attack(0.49)},
            },
            "set_level": {"before": set_level(-4.25, 0.6), "after": set_level(0.5, 0.9)},
        }

    return make


@pytest.fixture(scope="session")
def checks() -> dict[str, dict[str, int]]:
    """The form of the section `checks` of metrics/prepare.json."""
    return {
        "truncated": {"images": 1, "dropped": 1},
        "leak": {"images": 1251, "dropped": 1250},
        "duplicate": {"images": 6, "dropped": 3},
        "constant": {"images": 2, "dropped": 0},
        "upscaled": {"images": 0, "dropped": 0},
    }


@pytest.fixture(scope="session")
def findings() -> list[Finding]:
    return [
        Finding("leak", "train/cat/7.png", "test/cat/1.png", "dropped", "the same pixels"),
        Finding("constant", "train/dog/black.png", "", "kept", ""),
        Finding("truncated", "train/dog/half.png", "", "skipped", "copy it again"),
        Finding("contradicting_labels", "train/dog/2.png", "train/cat/3.png", "unlabelled", "dog and cat"),
    ]
