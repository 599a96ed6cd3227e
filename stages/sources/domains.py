"""Of which domain the image of each role is, and the second version of images that a simulated shift asks for."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.plumbing import images
from stages.plumbing.dataset import SHIFTED, TEST, TRAIN
from stages.plumbing.parts import Parts
from stages.sources.params import ShiftParams
from stages.sources.simulation import disturb

if TYPE_CHECKING:
    from stages.plumbing.parallel import FanOut

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


def of_target(roles: NDArray[np.str_], shift: ShiftParams) -> Mask:
    """Whether the image of each role (N,) is the target domain's; '' is no role."""
    if not shift.exists:
        return np.zeros(len(roles), dtype=bool)
    return (roles == TEST) | ((roles != "") & (roles != TRAIN) & shift.pool)


def roles_table(ids: NDArray[np.str_], roles: Sequence[NDArray[np.str_]], shift: ShiftParams) -> pa.Table:
    """One row per replicate and image that plays a role in it; ids: (N,) of the images; roles: (N,) by replicate.

    Where the shift is simulated, an image of the target is the disturbed one, by the id of this.
    """

    def of_replicate(replicate: int, role: NDArray[np.str_]) -> pa.Table:
        target, plays = of_target(role, shift), role != ""
        names = np.where(target, np.char.add(SHIFTED, ids), ids) if shift.simulate != "none" else ids
        return pa.table(
            {
                "id": names[plays],
                "replicate": np.full(plays.sum(), replicate),
                "role": role[plays],
                "domain": np.where(target, "target", "source")[plays],
            }
        )

    return pa.concat_tables(of_replicate(replicate, role) for replicate, role in enumerate(roles))


def tables(
    parts: Parts,
    rows: Rows,
    labels: NDArray[np.int64],
    groups: Sequence[str | None] | None,
    roles: Sequence[NDArray[np.str_]],
    shift: ShiftParams,
    disturbed: Callable[[], Parts],
) -> Iterator[pa.Table]:
    """All images of the data set; where the shift is simulated, those versions that some replicate uses.

    rows: of the images in `parts`, ascending, (N,); labels, groups and, by replicate, roles: of the same (N,).
    disturbed: makes the other version of all images in `parts`.
    """

    def version(own: Parts, used: Mask) -> Iterator[pa.Table]:
        kept = None if groups is None else [groups[row] for row in np.flatnonzero(used).tolist()]
        return own.tables(rows[used], labels[used], kept)

    if shift.simulate == "none":
        yield from version(parts, np.ones(len(rows), dtype=bool))
        return
    every, targets = np.stack(roles), np.stack([of_target(role, shift) for role in roles])
    yield from version(parts, np.any((every != "") & ~targets, axis=0))
    yield from version(disturbed(), np.any(targets, axis=0))


@dataclass(frozen=True)
class Disturbing:
    """The images of one file, and the file for their disturbed versions. simulate: how."""

    source: Path
    target: Path
    simulate: str
    class_names: list[str]


def disturb_all(parts: Parts, simulate: str, class_names: list[str], folder: Path, fan_out: "FanOut") -> Parts:
    """The same images as another device shows them, with ids of their own, in files in `folder`."""
    targets = [folder / f"{SHIFTED}{path.name}" for path in parts.paths]
    jobs = [
        Disturbing(source, target, simulate, class_names) for source, target in zip(parts.paths, targets, strict=True)
    ]
    fan_out(disturb_file, jobs, "chunk")
    return Parts(targets, parts.sizes)


def disturb_file(job: Disturbing) -> None:
    """In a worker process: one file's images."""
    original = images.read(job.source)
    pixels = disturb(job.simulate, original.pixels, original.ids.tolist())
    ids = np.char.add(SHIFTED, original.ids)
    images.write(job.target, replace(original, ids=ids, pixels=pixels), job.class_names)
