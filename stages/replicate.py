"""A replicate's images as tensors, and what is guessed of its pool, once for all stages that want to know."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from stages.imaging import devices
from stages.labelling import pool
from stages.labelling.data import Form, ReplicateData
from stages.plumbing import code, workdir
from stages.plumbing.dataset import TRAIN, UNLABELLED_POOL, VALIDATION, Dataset

UNIT = "labelling"


def open_replicate(
    dataset: Dataset, replicate: int, device: Literal["auto", "cpu", "cuda"], section: str, deterministic: bool = False
) -> ReplicateData:
    """What teachers and generators may see of a replicate, on the device that this section of params.yaml asks for."""
    train, unlabelled, validation = (dataset.role(replicate, role) for role in (TRAIN, UNLABELLED_POOL, VALIDATION))
    data = ReplicateData(
        images=torch.from_numpy(train.pixels),
        labels=torch.from_numpy(train.labels),
        unlabelled=torch.from_numpy(unlabelled.pixels),
        validation_images=torch.from_numpy(validation.pixels),
        validation_labels=torch.from_numpy(validation.labels),
        classes=len(dataset.classes),
        flip_ok=dataset.flip_ok,
        form=Form(dataset.classes, dataset.image),
    )
    return data.to(devices.choose(device, section, deterministic))


def guess_pool(dataset: Dataset, replicate: int, data: ReplicateData) -> pool.PoolLabels:
    """The best guess of the pool's labels, made once for each replicate: generators and arms share it.

    It depends on the replicate's images and the teachers' code alone.
    """
    device = data.images.device
    digest = code.digest(code.closure(Path("stages/labelling/pool.py")))
    key = workdir.fingerprint(digest, device.type, dataset.fingerprint(replicate))

    def build(folder: Path) -> None:
        seed = int(np.random.SeedSequence(replicate).generate_state(1)[0])
        guessed = pool.teach(data, seed)
        save_file({"labels": guessed.labels.cpu(), "trust": guessed.trust.cpu()}, folder / "guess.safetensors")
        facts = {name: getattr(guessed, name) for name in ("teacher", "score", "accuracy")}
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    unit = workdir.finished(UNIT, key, build)
    guess = load_file(unit / "guess.safetensors", device=str(device))
    facts = workdir.read_json(unit / "facts.json")
    return pool.PoolLabels(guess["labels"], guess["trust"], **facts)
