"""The scores of all GANs' snapshots as one table, which `dvc plots` draws."""

import csv
import io
from collections.abc import Mapping, Sequence

MEASURES = ("usefulness", "kid", "recall", "nearest_real_ratio", "most_copied", "confused")


def as_csv(curves: Sequence[Sequence[Mapping[str, float]]]) -> str:
    """One row for each replicate and snapshot: `replicate`, `step` and MEASURES, after a header.

    curves: for each replicate its snapshots' scores, {"step": ..., measure: ...}; a measure that a snapshot lacks
    is an empty cell. Raises ValueError for a measure that MEASURES lacks.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, ("replicate", "step", *MEASURES), lineterminator="\n")
    table.writeheader()
    table.writerows({"replicate": replicate, **scores} for replicate, curve in enumerate(curves) for scores in curve)
    return text.getvalue()
