from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages.comparison.evidence import Evidence, Finding, GeneratorEvidence, Outcomes
from stages.comparison.leak import judge_set, withheld
from stages.comparison.params import EvaluateParams
from stages.comparison.scores import align

FACTS = {
    "settings": [{}],
    "chosen": 0,
    "validation": [0.8],
    "labels": "all",
    "labels_used": 90,
    "trained_on_labels": 90,
    "synthetic_images": 0,
    "steps": 600,
}
SECTIONS: dict[str, dict[str, Any]] = {
    "gan": {
        "kind": "projection",
        "path": "data/raw/none",
        "labels": "class",
        "layers": "dense",
        "steps": 600,
        "augment": {"policies": ["cutout", "flip"], "limit": 0.8},
    },
    "gaussian": {"kind": "gaussian", "path": "data/raw/none", "labels": "class", "rank": 64},
}


@pytest.fixture(scope="session")
def make_params() -> Callable[..., EvaluateParams]:
    def make(**changes: Any) -> EvaluateParams:
        fields: dict[str, Any] = {
            "seed": 0,
            "device": "cpu",
            "measure": "accuracy",
            "augment": {"arms": ["gan"], "rivals": ["classic"]},
            "stand_in": {"arms": [], "rivals": ["classic"]},
            "learning_curve": [],
            "robustness": [],
            "backbone": None,
            "confidence": 0.95,
            "margin": 0.01,
            "bootstrap": 400,
            "leak_margin": 0.05,
            "publish_real_images": True,
            "publish_leaking": False,
            "examples_per_class": 2,
            "nearest_pairs": 2,
            "licence": None,
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
    """The form of metrics/filter_memorized/<generator>.json."""

    def attack(auc: float) -> dict[str, float]:
        named = {"detected": 0.0125, "detected_low": 0.005, "detected_high": 0.02}
        return {"auc": auc, "low": auc - 0.05, "high": auc + 0.05} | named

    def make(classes: list[str]) -> dict[str, Any]:
        def set_level(z: float, authentic: float) -> dict[str, Any]:
            copied = dict.fromkeys(classes, 0.055)
            copying = {"data_copying_z": z, "data_copying_low": z - 1, "data_copying_high": z + 1}
            return copying | {"authentic": authentic, "authentic_fresh": 0.8, "copied": copied}

        return {
            "alpha": 0.05,
            "labels_used": 0,
            "generated": 100 * len(classes),
            "dropped": 7 * len(classes),
            "dropped_share": 0.07,
            "calibration": 200,
            "near_twins": 0.0,
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
    images = np.random.default_rng(1).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)
    return [
        Finding("leak", "train/cat/7.png", "test/cat/1.png", "dropped", "the same pixels", *images[:2]),
        Finding("constant", "train/dog/black.png", "", "kept", "", images[2], None),
        Finding("truncated", "train/dog/half.png", "", "skipped", "copy it again", None, None),
        Finding("contradicting_labels", "train/dog/2.png", "train/cat/3.png", "unlabelled", "dog and cat", *images[3:]),
    ]


def attack_found(auc: float) -> dict[str, float]:
    """The form of an attack on a published set."""
    named = {"detected": 0.0125, "detected_low": 0.005, "detected_high": 0.02}
    return {"auc": auc, "low": auc - 0.02, "high": auc + 0.02, "p": 0.5, "replicates": 10} | named


@pytest.fixture(scope="session")
def make_generator(make_privacy: Callable[[list[str]], dict[str, Any]]) -> Callable[..., GeneratorEvidence]:
    """A generator's evidence, with 27 images of three classes."""

    def make(name: str, classes: list[str], **privacy: Any) -> GeneratorEvidence:
        images = np.random.default_rng(len(name)).integers(0, 256, (31, 1, 8, 8), dtype=np.uint8)
        found = make_privacy(classes) | privacy
        attacks = {"nearest": attack_found(0.52), "five_nearest": attack_found(0.51)}
        leak = judge_set(attacks, found, 0.05, made_here=True)
        return GeneratorEvidence(
            section=SECTIONS[name],
            candidates=1,
            quality={"0": {"kid": 0.25}, "1": {"kid": 0.75}},
            promise=None,
            privacy=found,
            synthetic=(images[:27], np.repeat([0, 1, 2], 9)),
            leak=leak,
            withheld=withheld(leak.outcome, found, publish_leaking=False),
            emptied={},
            arms=[name],
            pairs=(images[27:29], images[29:], [f"p 0.0123 of {name}, dropped", f"p 0.0678 of {name}, kept"]),
        )

    return make


@pytest.fixture(scope="session")
def make_evidence(
    make_tables: Any, make_params: Any, make_generator: Any, checks: Any, findings: Any
) -> Callable[..., Evidence]:
    """Of two generators, `gan` and `gaussian`, and arms of both."""

    def make(show_real: bool = True, replicates: int = 10, **changes: Any) -> Evidence:
        classes = changes.get("classes", ["cat", "dog", "owl"])
        chances = {"classic": 0.6, "gan": 0.9, "real": 0.5, "gaussian": 0.8}
        tables, truth = make_tables(chances, replicates=replicates)
        facts = dict.fromkeys(tables, FACTS | {"validation_scores": [0.8] * replicates})
        images = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
        fields: dict[str, Any] = {
            "dataset": "pets",
            "classes": classes,
            "prepared": {"read": 1797, "images": 546, "notes": [], "checks": checks},
            "findings": findings,
            "params": make_params(publish_real_images=show_real),
            "outcomes": Outcomes(
                predictions=align(tables, truth, 3),
                models={},
                facts=facts,
                examinations=[],
                groups=None,
                controls=[("gan", "gaussian")],
                plain={"gan": "classic"},
                words={arm: f"{arm} images" for arm in tables},
                shifted=False,
                unseen=False,
            ),
            "generators": {name: make_generator(name, classes) for name in SECTIONS},
            "real": (images, np.repeat([0, 1, 2], 2)),
            "seen": 648,
            "labelled": 50,
            "validation": 30,
            "run": {"fingerprint": "abc"},
            "parameters": "prepare: {}",
        }
        return Evidence(**(fields | changes))

    return make
