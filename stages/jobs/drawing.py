"""Draws a shard of a replicate's synthetic images, each reproducible alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.downstream.params import ClassicParams
from stages.generators.params import GenerateParams, GeneratorParams
from stages.generators.requests import Requests, requests
from stages.plumbing import images, workdir
from stages.plumbing.dataset import LABELLED, Dataset
from stages.plumbing.images import ImageSet

if TYPE_CHECKING:
    from stages.generators.drawing import TrainedGenerator
    from stages.labelling.data import ReplicateData

GENERATORS = workdir.DATA / "train_gan"
BLOCK = 8  # batches that are handed on at a time: 50 MB at 128x128 RGB; one batch at a time costs a tenth more


@dataclass(frozen=True)
class Shard:
    """Images to draw with a replicate's generator, a range of each class, and the file that they go to.

    classic: how a teacher's images are augmented, where one is wanted.
    """

    name: str
    replicate: int
    wanted: list[range]
    path: Path
    section: GeneratorParams
    params: GenerateParams
    classic: ClassicParams


def draw(shard: Shard) -> NDArray[np.int64]:
    """In a worker process: draws the shard's images; how many there are of each class, (classes,)."""
    dataset = Dataset.open()
    generated = np.zeros(len(dataset.classes), dtype=np.int64)

    def tables() -> Iterator[pa.Table]:
        for block in _blocks(shard, dataset):
            generated[:] += np.bincount(block.labels, minlength=len(generated))
            yield images.as_table(block, dataset.classes)

    images.write_tables(shard.path, tables())
    return generated


def _blocks(shard: Shard, dataset: Dataset) -> Iterator[ImageSet]:
    """What the replicate's generator draws, block by block, with a teacher's probabilities where labels are these.

    Of several candidates the one stays of whose class the teacher is surest (Razavi et al., "Generating Diverse
    High-Fidelity Images with VQ-VAE-2", 2019, section 3.4). What a generator did not draw has none: its images are
    all that there are.
    """
    import torch

    from stages.generators.drawing import TrainedGenerator, sources_of
    from stages.imaging import devices
    from stages.jobs.replicate import open_replicate
    from stages.jobs.teaching import open_teacher

    params, replicate = shard.params, shard.replicate
    device = devices.choose(params.device, "generate")
    trained = TrainedGenerator.open(GENERATORS / shard.name / str(replicate), device)
    data = open_replicate(dataset, replicate, params.device, "generate")
    labelled = data.with_all_labels()
    source_ids = np.concatenate([dataset.ids(replicate, role) for role in LABELLED])
    candidates = 1 if "counts" in trained.generator.plan else params.candidates
    teacher, labels_them = None, shard.section.labels == "teacher"
    if labels_them or candidates > 1:
        teacher = open_teacher(dataset, replicate, data, shard.classic, params.seed)
    wanted = [range(candidates * each.start, candidates * each.stop) for each in shard.wanted]
    asked = requests(wanted, params.seed, replicate, sources_of(trained.generator, labelled))
    while batches := list(islice(asked, BLOCK)):
        drawn = [_named(each, trained, labelled, source_ids, shard) for each in batches]
        block = images.concatenate(drawn)
        if teacher is not None:
            probabilities = teacher.probabilities(torch.from_numpy(block.pixels).to(device)).numpy()
            if labels_them:
                block.extra["probabilities"] = probabilities
            block = block.take(surest(probabilities, block.labels, candidates))
        yield block


def surest(probabilities: NDArray[np.float32], labels: NDArray[np.int64], candidates: int) -> NDArray[np.int64]:
    """Of every `candidates` rows in a row, which are of one class, the one whose class is likeliest: (N / candidates,).

    probabilities: (N, K), of the classes. labels: (N,).
    """
    likely = np.take_along_axis(probabilities, labels[:, None], axis=1).reshape(-1, candidates)
    return likely.argmax(axis=1) + np.arange(0, len(labels), candidates)


def _named(
    asked: Requests, trained: "TrainedGenerator", data: "ReplicateData", source_ids: NDArray[np.str_], shard: Shard
) -> ImageSet:
    """A batch's images with ids and columns that say where each comes from."""
    drawn = trained.draw(asked, data.images, shard.params.truncation, shard.params.scores, data.masks)
    count, index, label = asked.wanted, asked.index[: asked.wanted], int(asked.labels[0])
    made = trained.generator.names(label, index.tolist())
    ids = made or [f"{shard.name}-{shard.replicate}-{label}-{number}" for number in index.tolist()]
    origin = {
        "replicate": np.full(count, shard.replicate),
        "seed": np.full(count, -1 if made else asked.seed),  # nothing is known of what was made elsewhere
        "index": index,
        "synthetic": np.full(count, True),
        "generator": np.full(count, shard.name),
        "source_id": np.full(count, "") if asked.sources is None else source_ids[asked.sources[:count]],
    }
    if asked.masks is not None:
        origin["mask_id"] = source_ids[asked.masks[:count]]
    return ImageSet(np.array(ids), drawn.images, asked.labels[:count], extra=origin | drawn.scores)
