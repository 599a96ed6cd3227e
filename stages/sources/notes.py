"""What a user should know of a source before its images are looked at, a line for each thing."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stages.sources.findings import Finding, as_numbers
from stages.sources.listing import Listing

# What programs write where they know no value.
_MISSING = frozenset({"", "nan", "nat", "none", "null", "na", "n/a", "<na>", "#n/a", "unknown"})


def summary(read: int, labels: NDArray[np.int64], class_names: Sequence[str]) -> str:
    """What was read and what of it can be used. labels: of the images that can, (N,), -1 without one."""
    counts = np.bincount(labels[labels >= 0], minlength=len(class_names))
    spread = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    without = f", {len(labels) - counts.sum()} without a label" if counts.sum() < len(labels) else ""
    return f"{read} images read, {len(labels)} used: {len(counts)} classes of {spread}{without}"


def notes(listing: Listing) -> list[str]:
    """What was passed over, classes whose names are nearly the same, and groups that stand for a missing value."""
    most_first = sorted(listing.ignored.items(), key=lambda each: (-each[1], each[0]))
    passed_over = [f"{_files(count)} passed over: {reason}" for reason, count in most_first]
    return passed_over + _alike_classes(listing.class_names) + _doubtful_groups(listing.groups or ())


def left_out(findings: Sequence[Finding]) -> list[str]:
    """A line for each kind of finding for which images were left out, with the first of them."""
    out = [each for each in reversed(findings) if each.action in ("dropped", "skipped")]
    first = {str(each.kind): each for each in out}
    return [
        f"{_files(count['dropped'])} left out: {kind.replace('_', ' ')}, such as {first[kind].id}: {first[kind].detail}"
        for kind, count in as_numbers(findings).items()
        if count["dropped"]
    ]


def _alike_classes(names: Sequence[str]) -> list[str]:
    alike = defaultdict(list)
    for name in names:
        alike["".join(name.casefold().split())].append(name)
    return [
        f"the classes {', '.join(map(repr, group))} differ in case or spaces alone, and count as different classes; "
        "if they are one, give them one name"
        for group in alike.values()
        if len(group) > 1
    ]


def _doubtful_groups(groups: Sequence[str | None]) -> list[str]:
    images = Counter(groups)
    alone = images.pop(None, 0) if len(images) > 1 else 0
    without = [f"{_files(alone)} without a group, which count as a group each"] if alone else []
    return without + [
        f"{_files(count)} in the group {name!r}, which looks like a missing value: they are kept together as if they "
        "were of one patient"
        for name, count in images.items()
        if name is not None and name.strip().casefold() in _MISSING
    ]


def _files(count: int) -> str:
    return "1 image or file" if count == 1 else f"{count} images or files"
