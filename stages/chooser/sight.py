"""What lies in a folder of images: counts, sizes, colours, copies, groups; as much as a choice of parameters needs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.dataset import TEST, VALIDATION
from stages.plumbing.errors import UserError
from stages.sources import checks, collection, duplicates, intake
from stages.sources.findings import Finding
from stages.sources.ingest import Facts, ingest
from stages.sources.listing import Listing
from stages.sources.notes import left_out, notes
from stages.sources.params import PrepareParams

MOST_READ = 4000  # images that are read one and all: half a minute
MOST_BYTES = 500 * 2**20  # of their files, likewise
SAMPLE = 100  # images that tell sizes and colours
LEAST = 4  # images of a class: to test on, to train on, to choose on, and for the threshold of copies
NAMED = 5  # names that a line gives


@dataclass(frozen=True)
class Sight:
    """What was found. listing: images that can be used, with their groups; labels (N,), -1 without one, and ties (N,),
    a number for what must stay together. facts: of those that were opened. complete: whether all were.
    lines: what a user should know, a line each.
    """

    listing: Listing
    labels: NDArray[np.int64]
    ties: NDArray[np.int64]
    facts: Facts
    complete: bool
    lines: list[str]

    @property
    def has_test(self) -> bool:
        """Whether the folder itself says which images are the test set."""
        return bool(np.any((self.listing.splits == TEST) & (self.labels >= 0)))

    @property
    def has_validation(self) -> bool:
        """Likewise for those that choices are made on."""
        return bool(np.any((self.listing.splits == VALIDATION) & (self.labels >= 0)))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Labelled images of each class (K,) that are in no given test or validation set."""
        free = (self.labels >= 0) & ~np.isin(self.listing.splits, (TEST, VALIDATION))
        return np.bincount(self.labels[free], minlength=len(self.listing.class_names))

    @property
    def unlabelled(self) -> int:
        """Images without a label."""
        return int((self.labels < 0).sum())

    @property
    def per_group(self) -> float:
        """Images of a patient, speaker or slide in the mean; 0 where none is known."""
        sizes = Counter(self.listing.groups or ())
        alone = sizes.pop(None, 0)  # images that are of no group
        return (alone + sizes.total()) / (alone + len(sizes)) if sizes else 0.0


def sample(params: PrepareParams, listing: Listing) -> Facts:
    """Facts of some images, evenly spread over the listing. One image at a time is in memory.

    Raises UserError when none of them can be read.
    """
    rows = np.unique(np.linspace(0, len(listing) - 1, SAMPLE).astype(np.int64))
    some = listing.take(rows)
    found = ingest(some.ids.tolist(), collection.read(params, some.locators), params.image)
    if not len(found.facts):
        raise UserError(f"none of {len(some)} files can be read; {some.ids[0]}: {found.bad[0].reason}")
    return found.facts


def look(params: PrepareParams, listing: Listing, scratch: Path) -> Sight:
    """Reads all images, looks for copies, and says what cannot be used; of a large folder it reads a sample alone.

    params: `image` as it was chosen. scratch: an empty folder for the images in their small form.
    Raises UserError for a class without enough images, naming all such classes.
    """
    lines = notes(listing) + _nested(listing)
    if len(listing) > MOST_READ or _bytes(params, listing) > MOST_BYTES:
        ties = np.arange(len(listing))
        lines.append(f"{SAMPLE} of {len(listing)} images were opened: whether others can be read, `prepare` tells")
        seen = Sight(listing, listing.labels, ties, sample(params, listing), False, lines)
    else:
        seen = _read(params, listing, scratch, lines)
    _refuse_small_classes(seen, len(listing))
    return seen


def _read(params: PrepareParams, listing: Listing, scratch: Path, lines: list[str]) -> Sight:
    found = intake.take_in(listing, params.model_copy(update={"on_bad_image": "skip"}), scratch, _one_by_one)
    sets = duplicates.exact_sets(found.facts["digest"])
    distance, flips = params.near_duplicate_distance, params.image.flip_ok
    near = duplicates.search(sets, found.facts["thumbnail"], found.parts.pixels, distance, flips, _one_by_one)
    one = np.zeros(len(sets), dtype=bool)
    resolved = checks.resolve(found.listing, found.facts, sets, near, one, params.on_leak, params.image.size)
    findings: list[Finding] = found.skipped + resolved.findings
    kept = found.listing.take(resolved.rows)
    return Sight(kept, resolved.labels, resolved.groups, found.facts, True, lines + left_out(findings))


def _one_by_one(work: Callable[[Any], Any], jobs: Sequence[Any], unit: str) -> list[Any]:  # noqa: ARG001
    """A few thousand images are read sooner than further processes have begun."""
    return [work(job) for job in jobs]


def _bytes(params: PrepareParams, listing: Listing) -> int:
    root = Path(params.source.path)
    paths = {root / file for _, (file, _) in listing.locators}
    return sum(path.lstat().st_size for path in paths if path.exists())


def _refuse_small_classes(seen: Sight, listed: int) -> None:
    counts = zip(seen.listing.class_names, seen.counts.tolist(), strict=True)
    small = [(name, count) for name, count in counts if count < LEAST]
    if small:
        beside = " beside the given test and validation sets" if seen.has_test or seen.has_validation else ""
        told = "".join(f"\n  {line}" for line in seen.lines)
        remedies = "Add images or join classes"
        if len(small) + 1 < len(seen.counts):
            remedies = (
                f"Add images, join classes, or leave these out: LEAVE_OUT='{','.join(name for name, _ in small)}'"
            )
        named = ", ".join(f"class {name!r} has {count}" for name, count in small)
        raise UserError(
            f"each class needs {LEAST} different images{beside}, one to test on, one to train on, one that choices are "
            f"made on and one for the threshold of copies, but of {listed} images {named}. "
            f"{remedies}{told}"
        )


def _nested(listing: Listing) -> list[str]:
    """A line where the folders inside the classes' folders, at some depth, look like the classes themselves."""
    inner: dict[int, dict[int, set[str]]] = {}  # by depth and class
    for name, label, split in zip(listing.ids.tolist(), listing.labels.tolist(), listing.splits.tolist(), strict=True):
        for depth, folder in enumerate([*name.split("/")[2 if split else 1 : -1], ""]):
            if label >= 0:
                inner.setdefault(depth, {}).setdefault(label, set()).add(folder)
    for of_class in inner.values():
        first = of_class.get(0, set())
        alike = len(of_class) == len(listing.class_names) and all(each == first for each in of_class.values())
        if alike and len(first) > 1 and "" not in first:
            return [_inside_out(listing.class_names, sorted(first))]
    return []


def _inside_out(classes: Sequence[str], inner: Sequence[str]) -> str:
    return (
        f"the folders of all classes ({_named(classes)}) hold the same folders ({_named(inner)}): if these are the "
        f"classes, turn the tree inside out, for instance into {inner[0]}/{classes[0]}/FILE"
    )


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
