"""Stage 1: reads the images from their source, checks them, and gives each a role in every replicate."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from stages import foresight
from stages.plumbing import images, workdir
from stages.plumbing.dataset import MASKS, Dataset
from stages.plumbing.parts import Parts
from stages.plumbing.stage import StageRun, execute
from stages.sources import (
    checks,
    collection,
    domains,
    duplicates,
    findings,
    intake,
    masks,
    notes,
    other_classes,
    splits,
)
from stages.sources.listing import Listing
from stages.sources.params import PrepareParams

DATA = workdir.DATA / "prepare"
SCRATCH = workdir.WORK / "prepare"


def main(run: StageRun) -> None:
    params = run.params.prepare
    shutil.rmtree(SCRATCH, ignore_errors=True)
    scratch = SCRATCH / uuid4().hex  # jobs of a stage that was killed may go on, and write into its own
    listing = collection.find(params)
    splits.check_regime(listing.own_classes, params)
    found = intake.take_in(listing, params, scratch, run.fan_out)
    second = collection.of_second(found.listing)
    resolved = _resolved(found, second, run)
    kept, labels, groups = found.listing.take(resolved.rows), resolved.labels, resolved.groups
    target = second[resolved.rows] if second.any() and params.shift.pool else None
    everything, noted = found.skipped + resolved.findings, notes.notes(listing)
    noted += domains.notes(found.facts, second, params.image)
    own, names = ~collection.of_others(kept), kept.own_classes
    said = [notes.summary(len(listing), labels[own], names), *noted, *notes.left_out(everything)]
    _say(said)  # before roles are given: where a class is too small for them, this is why
    regions = masks.find(params, kept, found.facts[resolved.rows])
    roles = splits.all_roles(
        labels[own], kept.splits[own], groups[own], names, params, None if target is None else target[own]
    )
    roles = other_classes.with_others(roles, own, labels, groups)

    def disturbed() -> Parts:
        return domains.disturb_all(found.parts, params.shift.simulate, kept.class_names, scratch, run.fan_out)

    of_roles = domains.notes_of_roles(roles, labels, kept, params) + other_classes.notes(roles, kept)
    with run.replacing(DATA) as folder:
        tables = domains.tables(found.parts, resolved.rows, labels, kept.groups, roles, params.shift, disturbed)
        images.write_tables(folder / "images.parquet", tables)
        if regions:
            images.write_table(folder / MASKS, masks.as_table(regions))
        images.write_table(folder / "roles.parquet", domains.roles_table(kept.ids, roles, params.shift))
        images.write_table(folder / "findings.parquet", findings.as_table(everything, found.listing.ids, found.parts))
        workdir.write_json(folder / "dataset.json", _facts(params, kept, folder / MASKS))
        foresight.check(run.params, Dataset.open(folder))
        _say(of_roles + foresight.notes(run.params, Dataset.open(folder)))
    run.write_metrics(
        {
            "read": len(listing),
            "images": len(kept),
            "ignored": listing.ignored,
            "notes": noted + of_roles,
            "replicates": params.replicates,
            "checks": findings.as_numbers(everything),
            "roles": splits.count(roles[0], labels, names),
        }
    )
    shutil.rmtree(SCRATCH, ignore_errors=True)


def _resolved(found: intake.Intake, second: NDArray[np.bool_], run: StageRun) -> checks.Resolution:
    """Which images are kept once all were compared, with labels and groups. second: which are the target's."""
    params = run.params.prepare
    sets = duplicates.exact_sets(found.facts["digest"])
    domains.refuse_copies(sets, second)
    near = duplicates.search(
        sets,
        found.facts["thumbnail"],
        found.parts.pixels,
        params.near_duplicate_distance,
        params.image.flip_ok,
        run.fan_out,
    )
    return checks.resolve(found.listing, found.facts, sets, near, second, params.on_leak, params.image.size)


def _facts(params: PrepareParams, kept: Listing, masks_file: Path) -> dict[str, Any]:
    """What dataset.json says of the set."""
    facts = {"name": collection.name(params), "classes": kept.own_classes, "replicates": params.replicates}
    facts |= {"image": params.image.model_dump(mode="json"), "shifted": params.shift.pool}
    # what arms know of the set by this file must change with the regions
    facts |= {"regions": workdir.fingerprint(masks_file)} if masks_file.exists() else {}
    facts |= {"other_classes": kept.class_names[len(kept.own_classes) :]} if kept.others else {}
    return facts


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"prepare: {line}", flush=True)  # noqa: T201


if __name__ == "__main__":
    execute("prepare", main)
