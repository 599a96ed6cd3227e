"""An arm's setting is chosen once, on the mean of all replicates' validation scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.downstream.choice import choose

scores = st.integers(1, 4).flatmap(
    lambda settings: st.integers(1, 6).flatmap(
        lambda replicates: st.lists(
            st.lists(st.integers(0, 10).map(float), min_size=replicates, max_size=replicates),
            min_size=settings,
            max_size=settings,
        )
    )
)


@given(scores)
def test_the_choice_has_the_highest_mean_and_is_the_first_of_equals(rows):
    means = [sum(row) for row in rows]
    assert choose(np.array(rows)) == means.index(max(means))


@given(scores, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_replicates(rows, random):
    columns = list(zip(*rows, strict=True))
    random.shuffle(columns)
    assert choose(np.array(columns).T) == choose(np.array(rows))


def test_one_setting_needs_no_score_but_two_do():
    assert choose(np.full((1, 3), np.nan)) == 0
    with pytest.raises(ValueError, match="no validation score"):
        choose(np.array([[0.5, np.nan], [0.5, 0.5]]))
