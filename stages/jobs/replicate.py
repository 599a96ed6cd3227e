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
from stages.plumbing.dataset import LABELLED, OTHER, TRAIN, UNLABELLED_POOL, VALIDATION, Dataset

UNIT = "labelling"


def open_replicate(
    dataset: Dataset, replicate: int, device: Literal["auto", "cpu", "cuda"], section: str, deterministic: bool = False
) -> ReplicateData:
    """What teachers and generators may see of a replicate, on the device that this section of params.yaml asks for."""
    roles = (TRAIN, UNLABELLED_POOL, VALIDATION, OTHER)
    train, unlabelled, validation, other = (dataset.role(replicate, role) for role in roles)
    masks = [dataset.masks(replicate, role) for role in LABELLED]
    data = ReplicateData(
        images=torch.from_numpy(train.pixels),
        labels=torch.from_numpy(train.labels),
        unlabelled=torch.from_numpy(unlabelled.pixels),
        validation_images=torch.from_numpy(validation.pixels),
        validation_labels=torch.from_numpy(validation.labels),
        classes=len(dataset.classes),
        flip_ok=dataset.flip_ok,
        groups=_numbered(dataset.groups(replicate, *LABELLED)),
        form=Form(dataset.classes, dataset.image),
        from_source=len(train) if dataset.shifted else None,
        other_images=torch.from_numpy(other.pixels),
        other_labels=torch.from_numpy(other.labels),
        masks=None if masks[0] is None or masks[1] is None else torch.from_numpy(np.concatenate([masks[0], masks[1]])),
    )
    return data.to(devices.choose(device, section, deterministic))


def _numbered(groups: list[str | None]) -> torch.Tensor | None:
    """A number for each group, int64 (N,), and one of its own for each image of none; None without any group."""
    if not any(groups):
        return None
    names = [f"group {group}" if group else f"image {row}" for row, group in enumerate(groups)]
    return torch.from_numpy(np.unique(names, return_inverse=True)[1].astype(np.int64))


def guess_pool(dataset: Dataset, replicate: int, data: ReplicateData) -> pool.Guesses:
    """The best guesses of the pool's labels, made once for each replicate: generators and arms share them.

    They depend on the replicate's images, the teachers' code and the device alone.
    """
    device = data.images.device
    digest = code.digest(code.closure(Path("stages/labelling/pool.py")))
    stage, key = f"{UNIT}/{replicate}-{device.type}", workdir.fingerprint(digest, dataset.fingerprint(replicate))

    def build(folder: Path) -> None:
        seed = int(np.random.SeedSequence(replicate).generate_state(1)[0])
        for name, guess in vars(pool.teach(data, seed)).items():
            told = dict(vars(guess))
            save_file({each: told.pop(each).cpu() for each in ("labels", "trust")}, folder / f"{name}.safetensors")
            (folder / f"{name}.json").write_text(json.dumps(told), encoding="utf-8")

    unit = workdir.finished(stage, key, build)
    workdir.forget_others(stage, [key])

    def read(name: str) -> pool.PoolLabels:
        guess = load_file(unit / f"{name}.safetensors", device=str(device))
        return pool.PoolLabels(guess["labels"], guess["trust"], **workdir.read_json(unit / f"{name}.json"))

    return pool.Guesses(choosing=read("choosing"), final=read("final"))
