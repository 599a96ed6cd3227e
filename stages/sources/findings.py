"""What the checks found, image by image, as numbers and as the examples that the report shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from stages.sources.listing import Fault

Kind = Literal[
    "leak",
    "contradicting_labels",
    "duplicate",
    "near_contradicting_labels",
    "near_duplicate",
    "constant",
    "wrong_extension",
    "channel_outlier",
    "size_outlier",
    "upscaled",
    "class_too_small",
]
Action = Literal["dropped", "unlabelled", "kept", "skipped"]
KINDS: tuple[Kind | Fault, ...] = (*get_args(Kind), *get_args(Fault))


@dataclass(frozen=True)
class Finding:
    """Something about one image. `other`: the id of the image it clashes with, or ''. `id` is '' for an empty class.

    action: what became of the image for this reason; `skipped` where it could not be read. detail: words for people.
    """

    kind: Kind | Fault
    id: str
    other: str
    action: Action
    detail: str


def as_numbers(findings: Sequence[Finding]) -> dict[str, dict[str, int]]:
    """Counts for metrics/prepare.json: by kind the `images` found and how many of them were `dropped` or skipped.

    Every kind is there, with zeros where nothing was found. An image may be found, and dropped, for several reasons.
    """
    counts = {kind: {"images": 0, "dropped": 0} for kind in KINDS}
    for finding in findings:
        counts[finding.kind]["images"] += bool(finding.id)
        counts[finding.kind]["dropped"] += finding.action in ("dropped", "skipped")
    return {str(kind): count for kind, count in counts.items()}


def examples(findings: Sequence[Finding], per_kind: int) -> list[Finding]:
    """The first findings of each kind that name an image, every pair of images once."""
    shown: dict[tuple[str, frozenset[str]], Finding] = {}
    count = dict.fromkeys(KINDS, 0)
    for finding in findings:
        key = finding.kind, frozenset((finding.id, finding.other))
        if finding.id and key not in shown and count[finding.kind] < per_kind:
            shown[key] = finding
            count[finding.kind] += 1
    return list(shown.values())
