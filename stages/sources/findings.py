"""What the checks found, image by image, as numbers and as the examples that the report shows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stages.imaging.decoding import Fault
from stages.plumbing import images
from stages.plumbing.parts import Parts

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
SHOWN = 6  # findings of each kind that come with pictures
KINDS: tuple[Kind | Fault, ...] = (*get_args(Kind), *get_args(Fault))
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("kind", "id", "other", "action", "detail")]
    + [("shown", pa.bool_()), ("image", pa.binary()), ("other_image", pa.binary())]
)


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


def as_table(findings: Sequence[Finding], ids: NDArray[np.str_], parts: Parts) -> pa.Table:
    """All findings, a row each, and beside those to be `shown` the PNG bytes of the images that could be read.

    Internal: pictures and file names may be those of people. ids: of the images in `parts`.
    """
    shown = set(examples(findings, SHOWN))
    row = {name: index for index, name in enumerate(ids.tolist())}

    def picture(name: str) -> bytes | None:
        return images.encode_png(parts.pixels(np.array([row[name]]))[0]) if name in row else None

    records = [
        asdict(each)
        | ({"shown": True, "image": picture(each.id), "other_image": picture(each.other)} if each in shown else {})
        for each in findings
    ]
    return pa.Table.from_pylist(records, schema=_SCHEMA)
