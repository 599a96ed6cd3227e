"""What is wrong with the images of a source, which of them stay, and which must not be parted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.plumbing.dataset import TEST, VALIDATION
from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources.duplicates import NearPairs, components
from stages.sources.findings import Action, Finding, Kind
from stages.sources.ingest import Facts
from stages.sources.listing import Listing

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]

_TRAINING, _VALIDATION, _TEST = 0, 1, 2  # ranks: an image leaks into a higher rank, and gives way to it
RANK_NAMES = ("training", "validation", "test")
FEW_CHANNELS = 0.05  # the rarer of grey and colour, as a share of the images, is an outlier
SIDE_RATIO = 4.0  # to the median side
ASPECT_RATIO = 2.0  # to the median aspect
SMALL_CLASS = 20  # images; beside a test set of a fifth, 16 are left for all other roles


@dataclass(frozen=True, eq=False)
class Resolution:
    """Rows that stay, int64 (M,), ascending; their labels, int64 (M,), and groups, int64 (M,) from 0; the findings.

    Two images of one group must play the same role: same patient or speaker, or nearly the same picture.
    """

    rows: Rows
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    findings: list[Finding]


@dataclass(frozen=True, eq=False)
class _Links:
    """What ties rows together: exact set and group (-1: none) of each row, near pairs between exact sets."""

    rank: NDArray[np.int64]
    sets: Rows
    groups: NDArray[np.int64]
    near: NearPairs

    def first_of_sets(self, kept: Mask, rank: int) -> Rows:
        """The first kept row of `rank` in each exact set, by the set's number, (N,); -1 where there is none."""
        return _first_by_code(self.sets, kept & (self.rank == rank))

    def near_rows(self, kept: Mask, rank: int, other_rank: int) -> tuple[Rows, Rows, NDArray[np.float64]]:
        """Near pairs of kept rows, seen from both sides, the nearest last: rows of `rank`, partners, distances."""
        sets = np.concatenate([self.near.pairs, self.near.pairs[:, ::-1]])
        distances = np.tile(self.near.distances, 2)
        rows, partners = self.first_of_sets(kept, rank)[sets[:, 0]], self.first_of_sets(kept, other_rank)[sets[:, 1]]
        there = np.flatnonzero((rows >= 0) & (partners >= 0))
        order = there[np.argsort(-distances[there], kind="stable")]
        return rows[order], partners[order], distances[order]


@dataclass(frozen=True)
class _Leak:
    row: int
    partner: int
    distance: float


def resolve(
    listing: Listing,
    facts: Facts,
    sets: Rows,
    near: NearPairs,
    second: Mask,
    on_leak: Literal["error", "drop", "warn"],
    size: int,
) -> Resolution:
    """Decides what becomes of duplicates, contradicting labels and leaks, and reports all else that is odd.

    Of identical images in one given split one stays, without a label where their labels contradict each other; from a
    validation split they then go, because images without labels are no use there. Training images that are (nearly)
    the same as a validation or test image, or of the same group, and validation images that are so to a test
    image, leak: `on_leak` says what becomes of them. Test images always stay as they are.
    Images without a given split rank as training images. The copy that stays keeps its own group alone: a blank image
    that every patient has must not make one group of them all.

    Args:
        listing: the images that could be read.
        facts: of the same images in the same order.
        sets: int64 (N,), as `duplicates.exact_sets` gives them.
        near: near pairs between rows that stand for their exact set.
        second: (N,) which images are a second source's: odd sizes and colours are odd among those of their own source.
        on_leak, size: `prepare.on_leak` and `prepare.image.size`.

    Raises:
        UserError: there are leaks and `on_leak` is error.
    """
    rank = np.where(listing.splits == TEST, _TEST, np.where(listing.splits == VALIDATION, _VALIDATION, _TRAINING))
    pairs = np.sort(sets[near.pairs], axis=1)
    links = _Links(rank, sets, _codes(listing.groups, len(listing)), NearPairs(pairs, near.distances))
    kept, labels = _settle_copies(listing.labels, links)
    leaks: list[_Leak] = []
    for rank_above in (_TEST, _VALIDATION):
        partner, distance = _leaks(kept, links, rank_above)
        leaking = np.flatnonzero((partner >= 0) & ~np.isin(np.arange(len(rank)), [leak.row for leak in leaks]))
        leaks += [_Leak(row, int(partner[row]), float(distance[row])) for row in leaking.tolist()]
        if on_leak == "drop":
            kept[leaking] = False
    if on_leak == "error" and leaks:
        raise UserError(_too_leaky(leaks, listing, rank))
    findings = [
        *_leak_findings(leaks, listing, links, "dropped" if on_leak == "drop" else "kept"),
        *_contradictions(kept, labels, listing, links),
        *_duplicates(kept, listing, links),
        *_near_findings(kept, listing, links),
        *_outliers(listing.ids[~second], facts[~second], size),
        *_outliers(listing.ids[second], facts[second], size),
        *_small_classes(listing, kept, labels),
    ]
    rows = np.flatnonzero(kept)
    return Resolution(rows, labels[rows], _kept_together(kept, links), findings)


def _settle_copies(labels: NDArray[np.int64], links: _Links) -> tuple[Mask, NDArray[np.int64]]:
    """Which rows stay, and with what label, when identical images of one rank are brought down to one."""
    cells = len(RANK_NAMES) * links.sets + links.rank
    keeper = _keepers(labels, links)
    contradicting = _disagree(labels, cells)
    kept = (links.rank == _TEST) | (keeper == np.arange(len(labels)))
    kept &= ~(contradicting & (links.rank == _VALIDATION))
    return kept, np.where(contradicting & (links.rank == _TRAINING), UNLABELLED, labels)


def _keepers(labels: NDArray[np.int64], links: _Links) -> Rows:
    """For every row the one that stays of its identical images in the same rank: the first, if possible labelled."""
    cells = len(RANK_NAMES) * links.sets + links.rank
    first, labelled = (_first_by_code(cells, mask)[cells] for mask in (cells >= 0, labels != UNLABELLED))
    return np.where(labelled >= 0, labelled, first)


def _leaks(kept: Mask, links: _Links, rank_above: int) -> tuple[Rows, NDArray[np.float64]]:
    """For every kept row of a lower rank the row of `rank_above` that it is tied to (else -1), and their distance.

    The strongest tie counts: the same pixels, then the nearest picture, then the same group (distance NaN).
    """
    partner = np.full(len(kept), -1)
    distance = np.full(len(kept), np.nan)
    grouped = np.flatnonzero(links.groups >= 0)
    partner[grouped] = _first_by_code(links.groups, kept & (links.rank == rank_above))[links.groups[grouped]]
    for rank in range(rank_above):
        rows, partners, distances = links.near_rows(kept, rank, rank_above)
        partner[rows], distance[rows] = partners, distances
    same = links.first_of_sets(kept, rank_above)[links.sets]
    partner, distance = np.where(same >= 0, same, partner), np.where(same >= 0, 0.0, distance)
    partner[~kept | (links.rank >= rank_above)] = -1
    return partner, distance


def _kept_together(kept: Mask, links: _Links) -> NDArray[np.int64]:
    """Group number of every kept row, from 0: rows of one rank tied by pixels, nearness or group, however indirectly.

    Ties across ranks are left out: `on_leak` has cut them, or the user was warned.
    """
    rows = np.flatnonzero(kept)
    grouped = rows[links.groups[rows] >= 0]
    hubs = len(kept) + len(RANK_NAMES) * links.groups[grouped] + links.rank[grouped]
    edges = [np.stack([grouped, hubs], axis=1)]
    for rank in range(len(RANK_NAMES)):
        alike, partners, _ = links.near_rows(kept, rank, rank)
        copies = rows[links.rank[rows] == rank]
        edges += [np.stack([alike, partners], axis=1)]
        edges += [np.stack([copies, links.first_of_sets(kept, rank)[links.sets[copies]]], axis=1)]
    count = len(kept) + len(RANK_NAMES) * (links.groups.max(initial=-1) + 1)
    return np.unique(components(np.concatenate(edges), count)[rows], return_inverse=True)[1].astype(np.int64)


def _too_leaky(leaks: Sequence[_Leak], listing: Listing, rank: NDArray[np.int64]) -> str:
    pairs = "; ".join(
        f"{listing.ids[leak.row]} ({RANK_NAMES[rank[leak.row]]}) and "
        f"{listing.ids[leak.partner]} ({RANK_NAMES[rank[leak.partner]]})"
        for leak in leaks[:3]
    )
    return (
        f"{len(leaks)} images are the same as, nearly the same as, or of the same group as images that the source "
        f"keeps for validation or test, for instance {pairs}. Mend the source's splits, or set prepare.on_leak to "
        "drop, which leaves such images out of training and never touches the test set"
    )


def _leak_findings(leaks: Sequence[_Leak], listing: Listing, links: _Links, action: Action) -> list[Finding]:
    findings = []
    for row, partner, distance in ((leak.row, leak.partner, leak.distance) for leak in leaks):
        if links.sets[row] == links.sets[partner]:
            tie = "the same pixels"
        elif np.isnan(distance):
            tie = f"the same group {(listing.groups or [])[row]!r}"
        else:
            tie = f"distance {distance:.3f}"
        detail = f"{tie} in {RANK_NAMES[links.rank[row]]} and {RANK_NAMES[links.rank[partner]]}"
        findings.append(Finding("leak", str(listing.ids[row]), str(listing.ids[partner]), action, detail))
    return findings


def _contradictions(kept: Mask, labels: NDArray[np.int64], listing: Listing, links: _Links) -> list[Finding]:
    """All images whose pixels occur under several labels; each beside one of another label."""
    given = listing.labels
    is_lowest = given == _label_range(given, links.sets)[0]
    low = _first_by_code(links.sets, is_lowest)[links.sets]
    high = _first_by_code(links.sets, ~is_lowest & (given != UNLABELLED))[links.sets]
    findings = []
    for row in np.flatnonzero(_disagree(given, links.sets)).tolist():
        other = int(high[row] if is_lowest[row] else low[row])
        action: Action = "dropped" if not kept[row] else "unlabelled" if labels[row] != given[row] else "kept"
        detail = f"the same pixels labelled {_class_name(listing, given[row])} and {_class_name(listing, given[other])}"
        findings.append(Finding("contradicting_labels", str(listing.ids[row]), str(listing.ids[other]), action, detail))
    return findings


def _duplicates(kept: Mask, listing: Listing, links: _Links) -> list[Finding]:
    """Further copies within one rank, unless their labels contradict each other, which is the graver finding."""
    keeper = _keepers(listing.labels, links)
    copies = np.flatnonzero((keeper != np.arange(len(kept))) & ~_disagree(listing.labels, links.sets))
    return [
        Finding(
            "duplicate",
            str(listing.ids[row]),
            str(listing.ids[keeper[row]]),
            "kept" if kept[row] else "dropped",
            f"the same pixels twice in {RANK_NAMES[links.rank[row]]}",
        )
        for row in copies.tolist()
    ]


def _near_findings(kept: Mask, listing: Listing, links: _Links) -> list[Finding]:
    """Kept images nearly the same as another of their rank, each beside the nearest; then those of other labels."""
    seen = [links.near_rows(kept, rank, rank) for rank in range(len(RANK_NAMES))]
    rows, partners, distances = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    lowest, highest = _label_range(listing.labels, links.sets)
    agreed = np.where(lowest == highest, highest, UNLABELLED)  # of all copies: which of them is first must not matter
    known = (agreed[rows] != UNLABELLED) & (agreed[partners] != UNLABELLED)
    differ = known & (agreed[rows] != agreed[partners])
    kinds: tuple[tuple[Kind, Mask], ...] = (
        ("near_contradicting_labels", differ),
        ("near_duplicate", np.ones_like(differ)),
    )
    findings = []
    for kind, mask in kinds:
        triples = zip(rows[mask].tolist(), partners[mask].tolist(), distances[mask].tolist(), strict=True)
        nearest = {row: (partner, distance) for row, partner, distance in triples}  # the last, so the nearest, stays
        for row, (partner, distance) in sorted(nearest.items()):
            detail = f"distance {distance:.3f}"
            if kind == "near_contradicting_labels":
                detail += f", labelled {_class_name(listing, agreed[row])} and {_class_name(listing, agreed[partner])}"
            findings.append(Finding(kind, str(listing.ids[row]), str(listing.ids[partner]), "kept", detail))
    return findings


def _outliers(ids: NDArray[np.str_], facts: Facts, size: int) -> list[Finding]:
    """Images unlike the others, or of little use; all are kept."""
    width, height, colourful = facts["width"], facts["height"], facts["colourful"]
    colour = colourful.mean() if len(ids) else 0.0
    median = f"{np.median(width):g} x {np.median(height):g}" if len(ids) else ""
    odd = _beyond(np.sqrt(width * height), SIDE_RATIO) | _beyond(width / height, ASPECT_RATIO)
    found: tuple[tuple[Kind, Mask, str], ...] = (
        ("constant", facts["constant"], "one grey level or colour throughout"),
        ("wrong_extension", facts["wrong_extension"], "the content is of another format than the name says"),
        ("channel_outlier", colourful & (colour <= FEW_CHANNELS), f"in colour, where {1 - colour:.1%} are grey"),
        (
            "channel_outlier",
            ~colourful & (colour >= 1 - FEW_CHANNELS),
            f"grey, where {colour:.1%} are in colour",
        ),
        ("size_outlier", odd, f"{{}} x {{}} pixels, where the median is {median}"),
        ("upscaled", (width < size) & (height < size), f"{{}} x {{}} pixels, enlarged to {size}"),
    )
    return [
        Finding(kind, str(ids[row]), "", "kept", detail.format(width[row], height[row]))
        for kind, mask, detail in found
        for row in np.flatnonzero(mask).tolist()
    ]


def _small_classes(listing: Listing, kept: Mask, labels: NDArray[np.int64]) -> list[Finding]:
    """The kept images of classes with fewer than `SMALL_CLASS` of them; an empty class by its name alone.

    Where all classes are so small, no image stands out, and `notes.summary` tells it.
    """
    labels = np.where(kept, labels, UNLABELLED)
    counts = np.bincount(labels[labels >= 0], minlength=len(listing.class_names))
    findings = []
    for label, name in enumerate(listing.class_names):
        ids = listing.ids[labels == label].tolist()
        if len(ids) < SMALL_CLASS and (counts.max() >= SMALL_CLASS or not ids):
            detail = f"class {name!r} has {len(ids)} different image{'s' * (len(ids) != 1)}"
            findings += [Finding("class_too_small", each, "", "kept", detail) for each in ids or [""]]
    return findings


def _codes(groups: Sequence[str | None] | None, count: int) -> NDArray[np.int64]:
    """A number from 0 for every group, (N,); -1 for rows without one."""
    number: dict[str | None, int] = {None: -1}
    return np.array([number.setdefault(group, len(number) - 1) for group in groups or [None] * count], dtype=np.int64)


def _first_by_code(codes: NDArray[np.int64], mask: Mask) -> Rows:
    """The first row within `mask` that has code 0, 1, ... up to the largest code; -1 where there is none."""
    first = np.full(codes.max(initial=-1) + 1, -1)
    rows = np.flatnonzero(mask & (codes >= 0))[::-1]
    first[codes[rows]] = rows  # of several values for one place the last is kept
    return first


def _disagree(labels: NDArray[np.int64], codes: NDArray[np.int64]) -> Mask:
    """Rows whose code, 0 or more, is shared by labelled rows of different labels."""
    lowest, highest = _label_range(labels, codes)
    return highest > lowest


def _label_range(labels: NDArray[np.int64], codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every row the lowest and highest label among labelled rows of its code; lowest > highest without any."""
    lowest = np.full(codes.max(initial=-1) + 1, np.iinfo(np.int64).max)
    highest = np.full_like(lowest, UNLABELLED)
    labelled = labels != UNLABELLED
    np.minimum.at(lowest, codes[labelled], labels[labelled])
    np.maximum.at(highest, codes[labelled], labels[labelled])
    return lowest[codes], highest[codes]


def _beyond(values: NDArray[np.float64], ratio: float) -> Mask:
    """Values more than `ratio` times the median, or less than it divided by `ratio`."""
    if len(values) == 0:
        return np.zeros(0, dtype=bool)
    middle = np.median(values)
    return (values > ratio * middle) | (values * ratio < middle)


def _class_name(listing: Listing, label: int) -> str:
    return "nothing" if label == UNLABELLED else repr(listing.class_names[label])
