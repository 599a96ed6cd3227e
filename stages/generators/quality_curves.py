"""What was measured while the generators learned, as one table, which `dvc plots` draws."""

import csv
import io
from collections.abc import Mapping, Sequence

MEASURES = ("kid", "recall", "confused")


def as_csv(curves: Sequence[Sequence[Mapping[str, float]]]) -> str:
    """One row for each replicate and look: `replicate`, `step` and MEASURES, after a header.

    curves: for each replicate {"step": ..., measure: ...} of every look; a measure that one lacks is an empty cell.
    Raises ValueError for a measure that MEASURES lacks.
    """
    text = io.StringIO()
    table = csv.DictWriter(text, ("replicate", "step", *MEASURES), lineterminator="\n")
    table.writeheader()
    table.writerows({"replicate": replicate, **scores} for replicate, curve in enumerate(curves) for scores in curve)
    return text.getvalue()
