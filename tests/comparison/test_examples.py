import pandas as pd
import pytest

from stages.comparison.examples import suspicious


def decisions(dropped: int, kept: int) -> pd.DataFrame:
    rows = [(f"d{i}", 0.001 * (dropped - i), "memorized") for i in range(dropped)]
    rows += [(f"k{i}", 0.5 + 0.001 * (kept - i), "") for i in range(kept)]
    return pd.DataFrame(rows, columns=["id", "p", "reason"]).sample(frac=1, random_state=0)


@pytest.mark.parametrize(
    ("dropped", "kept", "expected"),
    [(10, 10, (3, 3)), (1, 10, (1, 5)), (10, 2, (4, 2)), (0, 10, (0, 6)), (2, 1, (2, 1))],
)
def test_half_are_dropped_ones_and_the_other_half_fills_up(dropped: int, kept: int, expected: tuple[int, int]) -> None:
    shown = suspicious(decisions(dropped, kept), 6)
    assert ((shown["reason"] != "").sum(), (shown["reason"] == "").sum()) == expected


def test_the_most_suspicious_come_first() -> None:
    shown = suspicious(decisions(20, 20), 8)
    for _, half in shown.groupby(shown["reason"] != ""):
        assert half["p"].is_monotonic_increasing
    assert shown["id"].tolist() == ["d19", "d18", "d17", "d16", "k19", "k18", "k17", "k16"]
