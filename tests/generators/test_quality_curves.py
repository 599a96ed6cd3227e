import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.generators.quality_curves import MEASURES, as_csv

SCORES = st.dictionaries(st.sampled_from(MEASURES), st.floats(allow_nan=False, allow_infinity=False))
CURVES = st.lists(
    st.dictionaries(st.integers(1, 10**6), SCORES, max_size=4).map(
        lambda by_step: [{"step": step, **scores} for step, scores in sorted(by_step.items())]
    ),
    max_size=4,
)


@given(CURVES)
def test_the_table_holds_exactly_the_curves(curves: list[list[dict[str, float]]]) -> None:
    rows = csv.DictReader(io.StringIO(as_csv(curves)))
    read: list[list[dict[str, float]]] = [[] for _ in curves]
    for row in rows:
        values = {name: float(value) for name, value in row.items() if value}
        read[int(values.pop("replicate"))].append(values)
    assert read == curves
    assert rows.fieldnames == ["replicate", "step", *MEASURES]


def test_without_a_gan_there_is_a_header_alone() -> None:
    assert as_csv([]) == "replicate,step,kid,recall,confused\n"


def test_no_measure_is_lost_unseen() -> None:
    with pytest.raises(ValueError, match="novelty"):
        as_csv([[{"step": 1, "novelty": 0.5}]])
