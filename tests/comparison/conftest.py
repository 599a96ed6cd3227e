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

    def make(classes: list[str]) -> dict[str, Any]:
        return {
            "alpha": 0.05,
            "generated": 100 * len(classes),
            "dropped": 7 * len(classes),
            "dropped_share": 0.07,
            "classes": {name: {"generated": 100, "dropped": 7} for name in classes},
            "false_positive_rate": {"rate": 0.04, "low": 0.02, "high": 0.08},
            "planted": {"exact": {"detected": 1.0}, "half_blend": {"detected": 0.625}},
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
