"""Stage 1: reads the images from their source and gives each a role in every replicate."""

import numpy as np
import pyarrow as pa

from stages.plumbing import images, workdir
from stages.plumbing.stage import StageRun, execute
from stages.sources import duplicates, registry, splits

DATA = workdir.DATA / "prepare"


def main(run: StageRun) -> None:
    params = run.params.prepare
    everything, class_names = registry.load(params.source)
    kept = everything.take(duplicates.first_of_each(everything.pixels))
    test = splits.test_rows(kept.labels, class_names, params)
    roles = [
        splits.replicate_roles(kept.labels, test, class_names, params, replicate)
        for replicate in range(params.replicates)
    ]
    counts = splits.count(roles[0], kept.labels, class_names)

    with run.replacing(DATA) as folder:
        images.write(folder / "images.parquet", kept, class_names)
        images.write_table(folder / "roles.parquet", _roles_table(kept.ids, roles))
        workdir.write_json(
            folder / "dataset.json",
            {
                "name": params.source.kind,
                "classes": class_names,
                "shape": list(kept.pixels.shape[1:]),
                "flip_ok": params.image.flip_ok,
                "replicates": params.replicates,
            },
        )
    run.write_metrics(
        {
            "images": len(kept),
            "duplicates_dropped": len(everything) - len(kept),
            "replicates": params.replicates,
            "roles": counts,
        }
    )


def _roles_table(ids: np.ndarray, roles: list[np.ndarray]) -> pa.Table:
    """One row per replicate and image that plays a role in it."""
    return pa.concat_tables(
        pa.table(
            {
                "id": ids[role != ""],
                "replicate": np.full(np.sum(role != ""), replicate),
                "role": role[role != ""],
            }
        )
        for replicate, role in enumerate(roles)
    )


if __name__ == "__main__":
    execute("prepare", main)
