import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.comparison.gans import Spread, spreads

QUALITY = st.dictionaries(
    st.integers(0, 20).map(str), st.dictionaries(st.sampled_from("abc"), st.floats(-1e6, 1e6)), max_size=6
)


def test_measures_are_summed_up_over_the_replicates_that_have_them() -> None:
    quality = {"0": {"kid": 0.25, "recall": 0.5}, "1": {"kid": 0.75}}
    assert spreads(quality) == {"kid": Spread(0.5, 0.25, 0.75), "recall": Spread(0.5, 0.5, 0.5)}


@given(QUALITY)
def test_every_value_lies_within_its_spread_whatever_the_order(quality: dict[str, dict[str, float]]) -> None:
    found = spreads(quality)
    backwards = spreads(dict(reversed(quality.items())))
    assert set(found) == {name for measures in quality.values() for name in measures}
    for name, spread in found.items():
        values = [measures[name] for measures in quality.values() if name in measures]
        assert (spread.low, spread.high) == (min(values), max(values))
        assert spread.low <= spread.mean + 1e-6
        assert spread.mean <= spread.high + 1e-6
        assert backwards[name].mean == pytest.approx(spread.mean)
