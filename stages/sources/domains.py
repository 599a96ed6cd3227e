"""Of which domain the image of each role is, and the second version of images that a simulated shift asks for."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.plumbing import images
from stages.plumbing.dataset import SHIFTED, TEST, TRAIN, UNLABELLED_POOL
from stages.plumbing.errors import UserError
from stages.plumbing.parts import Parts
from stages.sources.ingest import Facts
from stages.sources.listing import Listing
from stages.sources.params import ImageParams, PrepareParams, ShiftParams
from stages.sources.simulation import disturb

if TYPE_CHECKING:
    from stages.plumbing.parallel import FanOut

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

ALIKE_ASPECT = 1.25  # up to this ratio two sources' aspects count as one
ALIKE_AREA = 4.0  # and up to this one their numbers of pixels


def of_target(roles: NDArray[np.str_], shift: ShiftParams) -> Mask:
    """Whether the image of each role (N,) is the target domain's; '' is no role."""
    if not shift.exists:
        return np.zeros(len(roles), dtype=bool)
    return (roles == TEST) | ((roles != "") & (roles != TRAIN) & shift.pool)


def refuse_copies(sets: Rows, second: Mask) -> None:
    """Raises UserError when most images of one source are exact copies of the other's: that is no other domain.

    sets: int64 (N,), as `duplicates.exact_sets` gives them. second: (N,) which images are the second source's.
    """
    if not second.any():
        return
    for own, other, name in ((second, ~second, "prepare.shift.source"), (~second, second, "prepare.source")):
        copies = int(np.isin(sets[own], sets[other]).sum())
        if 2 * copies > own.sum():
            raise UserError(
                f"{copies} of the {own.sum()} images of {name} are the same, pixel by pixel, as images of the other "
                "source: the two are no two domains. Name another folder in prepare.shift.source, or set its kind to "
                "none (prepare.shift.simulate makes a second domain of the source's own images)"
            )


def notes(facts: Facts, second: Mask, image: ImageParams) -> list[str]:
    """What differs between the two sources and is lost, because every image takes one form; a line for each thing.

    facts: of all images that could be read, (N,). second: (N,) which are the second source's.
    """
    if not second.any() or second.all():
        return []
    sources = [facts[~second], facts[second]]
    colour = ["in colour" if 2 * own["colourful"].mean() > 1 else "grey" for own in sources]
    sides = [[float(np.median(own[name])) for name in ("width", "height")] for own in sources]
    lines = []
    if colour[0] != colour[1]:
        become = "grey" if image.channels == "grey" else "RGB, the grey ones with three equal channels"
        lines.append(
            f"images of the first source are {colour[0]}, those of the second {colour[1]}: all become {become}"
        )
    aspects, areas = np.array([width / height for width, height in sides]), np.array([np.prod(each) for each in sides])
    if max(aspects) > ALIKE_ASPECT * min(aspects) or max(areas) > ALIKE_AREA * min(areas):
        first, other = (f"{width:g} x {height:g}" for width, height in sides)
        lines.append(
            f"images of the first source have about {first} pixels, those of the second {other}: "
            f"image.fit: {image.fit} brings all to {image.size} x {image.size}, which may show the same thing in two "
            "sizes or shapes"
        )
    return lines


def notes_of_roles(
    roles: Sequence[NDArray[np.str_]], labels: NDArray[np.int64], listing: Listing, params: PrepareParams
) -> list[str]:
    """How many images of each domain are used, and classes that the target's pool lacks, as far as labels tell.

    roles: by replicate, of each image (N,). labels: (N,), -1 where unknown.
    """
    if not params.shift.exists:
        return []
    every = np.stack(roles)
    targets = np.stack([of_target(role, params.shift) for role in roles])
    source, target = (int(np.any(mask, axis=0).sum()) for mask in ((every != "") & ~targets, targets))
    lines = [f"{source} images of the source domain are used, and {target} of the target domain"]
    lacking = Counter(name for role in roles for name in _absent(labels[role == UNLABELLED_POOL], listing.class_names))
    if params.shift.pool:
        lines += [
            f"the target's pool has no image of class {name!r} in {count} of {len(roles)} replicates: what is learned "
            "from the pool alone cannot know how that class looks there"
            for name, count in lacking.items()
        ]
    return lines


def _absent(labels: NDArray[np.int64], class_names: Sequence[str]) -> list[str]:
    """Classes without an image; none where some labels are unknown, or there is no image at all."""
    if not len(labels) or labels.min() < 0:
        return []
    return [name for label, name in enumerate(class_names) if label not in labels]


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
