"""Patients, speakers or slides that the files' names may tell. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stages.sources.listing import Listing

LEAST_GROUPS = 4  # of each class: fewer cannot be test, train, validation and calibration at once
# A word for a person or a thing with a number; a folder inside the class's; what stands before the last sign
_PATTERNS = (
    r"(?i)(?:^|[/_-])((?:patient|pat|subject|subj|sub|case|slide|scan|speaker|p|s)[ _-]?\d+)(?!\d)",
    r"([^/]+)/[^/]+$",
    r"([^/_-]+)[_-][^/]*$",
)


@dataclass(frozen=True)
class GroupNames:
    """pattern: a regular expression whose bracket is the group, in every path. groups: how many. example: one."""

    pattern: str
    groups: int
    example: str


def names_of_groups(listing: Listing) -> GroupNames | None:
    """The groups in the names, where all follow a pattern by which each class has several groups, of two of its images
    or more in the mean. Mere numbers that begin anew in each class are none."""
    ids, labels = listing.ids.tolist(), listing.labels.tolist()
    for pattern in _PATTERNS:
        groups = _matched(pattern, ids)
        if groups is None:
            continue
        sizes, of_class = Counter(groups), Counter(label for label, _ in set(zip(labels, groups, strict=True)))
        if 2 * of_class.total() <= len(ids) and min(of_class.values()) >= LEAST_GROUPS:
            return GroupNames(pattern, len(sizes), sizes.most_common(1)[0][0])
    return None


def _matched(pattern: str, ids: Sequence[str]) -> list[str] | None:
    """The bracket's text in every id, or None where one does not match."""
    groups = []
    for each in ids:
        match = re.search(pattern, each)
        if match is None:
            return None
        groups.append(match.group(1))
    return groups
