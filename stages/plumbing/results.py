"""What arms and generators have left on disk, as the last stage reads it."""

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.plumbing import images, workdir
from stages.plumbing.artifacts import ArmFacts
from stages.plumbing.errors import reading
from stages.plumbing.images import ImageSet

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

ARMS = workdir.DATA / "train_downstream"
GENERATED = workdir.DATA / "generate"
FILTERED = workdir.DATA / "filter_memorized"
OF_GENERATORS = ("train_gan", "generate", "filter_memorized")


def remove_others(arms: Collection[str], generators: Collection[str]) -> None:
    """Removes what arms and generators have left that are none of these: DVC sees by that that they are gone, and they
    are no result."""
    kept = {ARMS: arms} | {
        root / stage: generators for root in (workdir.DATA, workdir.METRICS) for stage in OF_GENERATORS
    }
    for stage in OF_GENERATORS:  # as they lay before generators had names
        for former in workdir.METRICS.glob(f"{stage}.*"):
            former.unlink()
    for folder, names in kept.items():
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and path.name not in names:
                shutil.rmtree(path)
            elif path.suffix in (".json", ".csv", ".parquet") and path.stem not in names:
                path.unlink()


def files() -> list[Path]:
    """All that a comparison depends on, in one order: predictions, weights and the images that were kept."""
    return [
        *sorted(ARMS.rglob("*.parquet")),
        *sorted(ARMS.rglob("*.safetensors")),
        *sorted(FILTERED.rglob("*.parquet")),
    ]


def arm_tables(arms: Iterable[str], name: str) -> "dict[str, pd.DataFrame]":
    """Arm -> its `predictions` or `models`. Raises UserError where one is missing or damaged."""
    return {arm: images.read_table(ARMS / arm / f"{name}.parquet").to_pandas() for arm in arms}


def arm_facts(arms: Iterable[str]) -> dict[str, Any]:
    """Arm -> its arm.json. Raises UserError where one is missing or damaged."""
    return {arm: workdir.read_json(ARMS / arm / "arm.json", ArmFacts) for arm in arms}


def load_weights(network: "nn.Sequential", arm: str, replicate: int) -> "nn.Sequential":
    """The network with an arm's weights, in evaluation mode. Raises UserError where they are missing or damaged."""
    from safetensors.torch import load_file

    path = ARMS / arm / f"{replicate}.safetensors"
    with reading(path):
        network.load_state_dict(load_file(path))
    return network.eval()


def kept(generator: str, replicate: int) -> ImageSet:
    """The replicate's images that passed the filter."""
    return images.read(FILTERED / generator / f"{replicate}.parquet")


def decisions(generator: str) -> "pd.DataFrame":
    """Why each image, and by which replicate's filter, stayed or went."""
    return images.read_table(FILTERED / generator / "decisions.parquet").to_pandas()


def generated(generator: str, replicates: Iterable[int], ids: Sequence[str]) -> ImageSet:
    """The images with these ids, in that order, kept or dropped, out of files that may be larger than memory."""

    def blocks() -> Iterator[ImageSet]:
        for replicate in replicates:
            for block in images.read_blocks(GENERATED / generator / f"{replicate}.parquet"):
                yield block.take(np.isin(block.ids, ids))

    return images.concatenate(list(blocks())).by_id(ids)
