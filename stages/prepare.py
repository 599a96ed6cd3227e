"""Stage 1: reads the images from their source, checks them, and gives each a role in every replicate."""

import shutil
from dataclasses import asdict
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.plumbing import images, workdir
from stages.plumbing.parts import Parts
from stages.plumbing.stage import StageRun, execute
from stages.sources import checks, collection, duplicates, findings, intake, splits
from stages.sources.duplicates import NearPairs
from stages.sources.facts import Facts
from stages.sources.findings import Finding
from stages.sources.listing import Listing

DATA = workdir.DATA / "prepare"
SCRATCH = workdir.WORK / "prepare"
SEARCH_BLOCK = 4096  # images: a search for near duplicates that is worth a process of its own
SHOWN = 6  # findings of each kind that come with pictures
FINDINGS = pa.schema(
    [(name, pa.string()) for name in ("kind", "id", "other", "action", "detail")]
    + [("shown", pa.bool_()), ("image", pa.binary()), ("other_image", pa.binary())]
)


def main(run: StageRun) -> None:
    params = run.params.prepare
    shutil.rmtree(SCRATCH, ignore_errors=True)
    listing = collection.find(params)
    splits.check_regime(listing.class_names, params)
    found = intake.take_in(listing, params, SCRATCH, run.fan_out)
    sets = duplicates.exact_sets(found.facts.digests)
    near = _near_pairs(run, sets, found.facts, found.parts)
    resolved = checks.resolve(found.listing, found.facts, sets, near, params.on_leak, params.image.size)
    kept, labels, groups = found.listing.take(resolved.rows), resolved.labels, resolved.groups
    test = splits.test_rows(labels, kept.splits, groups, kept.class_names, params)
    roles = [
        splits.replicate_roles(labels, test, kept.splits, groups, kept.class_names, params, replicate)
        for replicate in range(params.replicates)
    ]
    everything = found.skipped + resolved.findings
    with run.replacing(DATA) as folder:
        images.write_tables(folder / "images.parquet", found.parts.tables(resolved.rows, labels, kept.groups))
        images.write_table(folder / "roles.parquet", _roles_table(kept.ids, roles))
        images.write_table(folder / "findings.parquet", _findings_table(everything, found.listing, found.parts))
        facts = {"name": collection.name(params), "classes": kept.class_names, "replicates": params.replicates}
        workdir.write_json(folder / "dataset.json", facts | {"image": params.image.model_dump(mode="json")})
    run.write_metrics(
        {
            "read": len(listing),
            "images": len(kept),
            "ignored": listing.ignored,
            "replicates": params.replicates,
            "checks": findings.as_numbers(everything),
            "roles": splits.count(roles[0], labels, kept.class_names),
        }
    )
    shutil.rmtree(SCRATCH, ignore_errors=True)


def _near_pairs(run: StageRun, sets: NDArray[np.int64], facts: Facts, parts: Parts) -> NearPairs:
    params = run.params.prepare
    rows = duplicates.searchable(sets, facts.thumbnails)
    search = partial(
        duplicates.near_pairs,
        rows,
        facts.thumbnails,
        parts.pixels,
        params.near_duplicate_distance,
        params.image.flip_ok,
    )
    blocks = duplicates.blocks(len(rows), len(rows) // SEARCH_BLOCK + 1)
    return duplicates.together(run.fan_out(search, blocks, "block"))


def _findings_table(everything: list[Finding], listing: Listing, parts: Parts) -> pa.Table:
    """All findings, some of each kind to be shown, with pictures. Internal: file names may be those of people."""
    shown = set(findings.examples(everything, SHOWN))
    row = {name: index for index, name in enumerate(listing.ids.tolist())}

    def picture(name: str) -> bytes | None:
        return images.encode_png(parts.pixels(np.array([row[name]]))[0]) if name in row else None

    records = [
        asdict(each)
        | ({"shown": True, "image": picture(each.id), "other_image": picture(each.other)} if each in shown else {})
        for each in everything
    ]
    return pa.Table.from_pylist(records, schema=FINDINGS)


def _roles_table(ids: NDArray[np.str_], roles: list[NDArray[np.str_]]) -> pa.Table:
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
