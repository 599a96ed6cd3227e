import pandas as pd
import pytest

from stages.comparison.examples import suspicious


def decisions(dropped: int, kept: int) -> pd.DataFrame:
    rows = [(f"d{i}", 0.001 * (dropped - i), "memorized") for i in range(dropped)]
    rows += [(f"k{i}", 0.5 + 0.001 * (kept - i), "") for i in range(kept)]
    return pd.DataFrame(rows, columns=["id", "p", "reason"]).assign(distance=0.5).sample(frac=1, random_state=0)


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


def test_an_image_that_several_filters_judged_is_shown_once_and_as_dropped_if_any_dropped_it() -> None:
    rows = [("a", 0.01, ""), ("a", 0.02, "memorized"), ("b", 0.03, ""), ("b", 0.04, ""), ("a", 0.05, "memorized")]
    shown = suspicious(pd.DataFrame(rows, columns=["id", "p", "reason"]).assign(distance=0.5), 4)[["id", "p", "reason"]]
    assert list(shown.itertuples(index=False, name=None)) == [("a", 0.02, "memorized"), ("b", 0.03, "")]


def test_of_equally_suspicious_images_the_nearest_come_first() -> None:
    rows = [("a", 0.01, 0.3), ("b", 0.01, 0.1), ("c", 0.01, 0.2), ("d", 0.005, 0.9)]
    table = pd.DataFrame(rows, columns=["id", "p", "distance"]).assign(reason="memorized")
    assert suspicious(table, 3)["id"].tolist() == ["d", "b", "c"]
