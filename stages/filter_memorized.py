"""Stage 4: drops generated images that are copies of what the GAN saw, with a stated error rate."""

import numpy as np
import pyarrow as pa
import torch

from stages.memorization.audit import Judgement, judge, summarise
from stages.plumbing import images, workdir
from stages.plumbing.dataset import CALIBRATION, Dataset
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "filter_memorized"
GENERATED = workdir.DATA / "generate"


def main(run: StageRun) -> None:
    params = run.params.filter_memorized
    dataset = Dataset.open()
    generated = [images.read(GENERATED / f"{replicate}.parquet") for replicate in range(dataset.replicates)]
    judgements, decisions, calibrating = [], [], set[str]()
    for replicate, candidates in enumerate(generated):
        seen, calibration = dataset.seen_by_gan(replicate), dataset.role(replicate, CALIBRATION)
        judgement = judge(
            torch.from_numpy(candidates.pixels),
            torch.from_numpy(seen.pixels),
            torch.from_numpy(calibration.pixels),
            dataset.flip_ok,
            params,
            replicate,
        )
        judgements.append(judgement)
        calibrating.update(calibration.ids)
        decisions.append(_decisions(replicate, candidates, seen, judgement))

    with run.replacing(DATA) as folder:
        for replicate, (candidates, judgement) in enumerate(zip(generated, judgements, strict=True)):
            images.write(folder / f"{replicate}.parquet", candidates.take(~judgement.dropped), dataset.classes)
        images.write_table(folder / "decisions.parquet", pa.concat_tables(decisions))
    labels = [each.labels for each in generated]
    run.write_metrics(summarise(judgements, labels, dataset.classes, len(calibrating), params.alpha))


def _decisions(replicate: int, candidates: ImageSet, seen: ImageSet, judgement: Judgement) -> pa.Table:
    """Why each generated image stays or goes. Internal: distances to real images are never published."""
    return pa.table(
        {
            "replicate": np.full(len(candidates), replicate),
            "id": candidates.ids,
            "p": judgement.p,
            "distance": judgement.distance,
            "nearest": seen.ids[judgement.nearest],
            "reason": np.where(judgement.dropped, "memorized", ""),
        }
    )


if __name__ == "__main__":
    execute("filter_memorized", main)
