"""What a small pipeline leaves, as far as tracking reads it, and an MLflow store to show it in.

torch and MLflow are imported where they are used: they take seconds.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from ruamel.yaml import YAML

from stages.comparison.params import EvaluateParams
from stages.generators.params import TrainGanParams
from stages.plumbing import images, workdir
from stages.plumbing.images import ImageSet
from stages.plumbing.params import Params, TrackingParams
from tests.conftest import once

ROOT = Path(__file__).parents[2]
GENERATORS = {"gan": {"kind": "projection", "steps": 300}, "gaussian": {"kind": "gaussian", "rank": 64}}
ARMS = ("real", "gan_classic", "synthetic_only")
REPLICATES = 2
WIDTH = 4
CLASSES = ["cat", "dog"]
SHAPE = (1, 8, 8)
ANSWERS = {
    "augment": ("no_better", "No better than FixMatch"),
    "stand_in": ("stands_in", "Yes, within 1 percentage point of real images"),
    "leak": ("cannot_tell", "Cannot be told"),
}
SUMMARY = {"usual": 90.0, "gain": 1.0, "leak": 0.55}
STEPS = (100, 200, 300)
FINGERPRINT = "a" * 64
MD5 = "0123456789abcdef0123456789abcdef.dir"


def migrated_store() -> bytes:
    """The file of an SQLite store without runs; making one takes MLflow several seconds."""

    def make(place: Path) -> None:
        from mlflow.tracking import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{place}")

    return once("mlflow.db", make).read_bytes()


def settings(publish: bool = False, name: str = "understudy") -> Params:
    """Parameters, with an experiment and a registered model of this name."""
    return Params.model_construct(
        tracking=TrackingParams(experiment=name, registered_model=f"{name}-classifier"),
        train_gan=TrainGanParams.model_construct(generators=GENERATORS),
        evaluate=EvaluateParams.model_construct(publish_real_images=publish),
    )


def write_pipeline(folder: Path) -> None:
    """The whole, in a folder that has the project's code."""
    folder.mkdir(exist_ok=True)
    (folder / "stages").symlink_to(ROOT / "stages")
    write_generators(folder)
    write_comparison(folder)


def write_generators(folder: Path) -> None:
    """A GAN, and a kind without steps; two names may have one fingerprint."""
    image = {"size": SHAPE[1], "channels": "grey", "fit": "pad", "flip_ok": True}
    facts = {"name": "pets", "classes": CLASSES, "image": image, "replicates": REPLICATES, "shifted": False}
    workdir.write_json(folder / "data/prepare/dataset.json", facts)
    write_images(folder / "data/prepare/images.parquet", 12)
    write_test_set(folder)
    for replicate in range(REPLICATES):
        gan, gaussian = (folder / f"data/train_gan/{generator}/{replicate}" for generator in GENERATORS)
        history = [{"step": step, "discriminator_loss": 1 / step + replicate} for step in STEPS]
        curve = [{"step": step, "usefulness": step / 1000 + replicate / 10} for step in STEPS[1:]]
        quality = {"precision": 0.5 + replicate / 10, "usefulness": 0.75, "discriminator_loss": -1.0}
        workdir.write_json(gan / "history.json", {"history": history, "curve": curve, "quality": quality})
        workdir.write_json(gaussian / "history.json", {"history": [], "curve": [], "quality": {"precision": 0.25}})
        for step in STEPS[1:]:
            workdir.write_bytes(gan / f"samples/step_{step:06d}.png", grey_png())
    for generator, section in GENERATORS.items():
        facts = {"fingerprint": FINGERPRINT, "params": {"seed": 0, **section}}
        workdir.write_json(folder / f"data/train_gan/{generator}/run.json", facts)


def write_comparison(folder: Path) -> None:
    """What the later stages leave. gan_classic has the best mean on the test set; its replicate 1 is best on validation
    and replicate 0 on the test set."""
    rows = []
    for place, arm in enumerate(ARMS):
        for replicate in range(REPLICATES):
            test = 0.9 + (arm == "gan_classic") / 100 - replicate / 1000
            validation = None if arm == "real" else 0.7 + place / 10 + replicate / 100
            measures = {"accuracy": test, "balanced_accuracy": test, "macro_f1": test, "validation": validation}
            rows.append({"arm": arm, "replicate": replicate} | measures)
        workdir.write_json(folder / f"data/train_downstream/{arm}/arm.json", arm_facts(arm))
    write_classifier(folder / "data/train_downstream/gan_classic/1.safetensors")
    for generator in GENERATORS:
        for replicate in range(REPLICATES):
            write_images(folder / f"data/filter_memorized/{generator}/{replicate}.parquet", 4 + replicate)
        privacy = {"dropped": 2, "classes": {"cat": {"generated": 10}}}
        privacy["set_level"] = {"after": {"data_copying_z": 1.5, "copied": {"cat <50%>": 0.1}}}  # no name for a metric
        workdir.write_json(folder / f"metrics/filter_memorized/{generator}.json", privacy)
    workdir.write_bytes(folder / "metrics/scores.csv", pd.DataFrame(rows).to_csv(index=False).encode())
    workdir.write_json(folder / "metrics/evaluate_summary.json", SUMMARY)
    workdir.write_bytes(folder / "metrics/figures/comparison.png", grey_png())
    workdir.write_bytes(folder / "metrics/report.html", b"<h1>Report</h1>")
    workdir.write_json(folder / "metrics/evaluate.json", evaluation(pd.DataFrame(rows)))
    workdir.write_json(folder / "data/evaluate/run.json", {"fingerprint": "b" * 64, "params": all_params()})
    workdir.write_json(folder / ".work/timing/train_downstream@real.json", {"seconds": 12.5, "cpu_seconds": 20.0})
    outs = [{"path": "data/prepare", "md5": MD5}, {"path": "metrics/prepare.json", "md5": "f" * 32}]
    with (folder / "dvc.lock").open("w") as lock:
        YAML().dump({"schema": "2.0", "stages": {"prepare": {"cmd": "x", "outs": outs}}}, lock)


def write_images(path: Path, count: int) -> None:
    ids = np.array([f"{path.stem}-{index}" for index in range(count)])
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(path, ImageSet(ids, np.zeros((count, *SHAPE), np.uint8), np.zeros(count, np.int64)), CLASSES)


def write_test_set(folder: Path, images_: int = 4) -> None:
    """The first images are the test set."""
    ids = [f"images-{index}" for index in range(images_)]
    roles = {"id": ids, "replicate": [0] * images_, "role": ["test"] * images_}
    images.write_table(folder / "data/prepare/roles.parquet", pa.table(roles))


def write_classifier(path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in classifier().state_dict().items()}, path)


def classifier() -> Any:
    """The best classifier, untrained as it is."""
    from stages.downstream.classifiers import build_classifier

    return build_classifier("cnn", SHAPE[0], SHAPE[1], len(CLASSES), WIDTH, seed=1)


def grey_png() -> bytes:
    return images.encode_png(np.zeros(SHAPE, np.uint8))


def arm_facts(arm: str) -> dict[str, Any]:
    uses_gan = arm.startswith("gan")
    return {
        "settings": [{"synthetic_share": 0.25}, {"synthetic_share": 0.5}] if uses_gan else [{}],
        "chosen": int(uses_gan),
        "labels_used": 20,
        "trained_on_labels": 10,
        "synthetic_images": 4 if uses_gan else 0,
        "pseudo_labels": 0,
        "steps": 40,
        "history": {str(r): [{"step": step, "loss": 1 / step} for step in (20, 40)] for r in range(REPLICATES)},
    }


def all_params() -> dict[str, Any]:
    arm = {"images": "data/prepare", "real": True, "labels": "all", "augment": "classic", "settings": [{}]}
    return {
        "train_gan": {"seed": 0, "generators": GENERATORS},
        "train_downstream": {
            "classifier": {"kind": "cnn", "width": WIDTH, "steps": 40},
            "arms": dict.fromkeys(ARMS, arm),
        },
        "evaluate": {
            **YAML(typ="safe", pure=True).load((ROOT / "presets/base.yaml").read_text())["evaluate"],
            "augment": {"arms": [ARMS[1]], "rivals": [ARMS[0]]},
            "stand_in": {"arms": [ARMS[2]], "rivals": [ARMS[0]]},
        },
    }


def evaluation(scores: pd.DataFrame) -> dict[str, Any]:
    means = {
        arm: {measure: {"mean": rows[measure].mean(), "std": 0.01} for measure in ("accuracy", "macro_f1")}
        for arm, rows in scores.groupby("arm", sort=False)
    }
    difference = {"accuracy": {"mean": -0.01, "low": -0.02, "high": 0.001, "p": 0.2, "p_holm": 0.4}}
    return {
        "arms": means,
        "differences": {arm: {ARMS[0]: difference} for arm in ARMS[1:]},
        "answers": {
            question: {"outcome": outcome, "answer": answer, "number": f"{question}: +0.1 points"}
            for question, (outcome, answer) in ANSWERS.items()
        },
        "warnings": ["The network is clearly worse than a random forest."],
        "replicates": REPLICATES,
        "labels_used": dict.fromkeys(ARMS, 20),
    }


def progress(step: int, replicate: int, picture: Path | None = None) -> dict[str, Any]:
    """A record of `progress.say`."""
    measures = {"discriminator_loss": 1 / step + replicate, "images_per_second": 1000.0}
    return {"step": step, "measures": measures, "picture": picture and str(picture)}
