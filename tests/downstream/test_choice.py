"""An arm's setting is chosen once, on the mean of all replicates' validation scores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.downstream.choice import choose, no_choice

scores = st.integers(1, 4).flatmap(
    lambda settings: st.integers(1, 6).flatmap(
        lambda replicates: st.lists(
            st.lists(st.integers(0, 10).map(float), min_size=replicates, max_size=replicates),
            min_size=settings,
            max_size=settings,
        )
    )
)


def trials(rows):
    """Of each replicate's settings, kept at steps that are all different."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return [
        [{"validation_score": score, "step": 10 * replicate + setting} for setting, score in enumerate(column)]
        for replicate, column in enumerate(columns)
    ]


@given(scores)
def test_the_choice_has_the_highest_mean_and_is_the_first_of_equals(rows):
    means = [sum(row) for row in rows]
    chosen = choose(trials(rows))
    assert chosen.setting == means.index(max(means))
    assert chosen.scores.tolist() == rows
    assert chosen.steps == [10 * replicate + chosen.setting for replicate in range(len(rows[0]))], "each one's own"


@given(scores, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_replicates(rows, random):
    columns = trials(rows)
    random.shuffle(columns)
    assert choose(columns).setting == choose(trials(rows)).setting


@pytest.mark.parametrize("replicates", [1, 3])
def test_without_a_choice_every_training_goes_to_its_end(replicates):
    chosen = no_choice(replicates)
    assert (chosen.setting, chosen.steps, chosen.scores) == (0, [None] * replicates, None)
