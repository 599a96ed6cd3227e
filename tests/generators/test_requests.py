"""What is drawn is a function of seed, replicate, class and index alone, whatever else is asked for."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stages.generators.params import BalancePlan, FactorPlan
from stages.generators.requests import BATCH, Requests, Sources, class_plan, few_of_each_class, requests, shards
from stages.plumbing.errors import UserError

COUNTS = st.lists(st.integers(1, 500), min_size=2, max_size=12)
Row = tuple[tuple[float, ...], int | None]


@given(COUNTS, st.integers(501, 2000))
def test_balance_makes_labelled_and_synthetic_images_together_equally_many(labelled: list[int], per_class: int) -> None:
    counts = class_plan(labelled, BalancePlan(kind="balance", per_class=per_class))
    assert {real + made for real, made in zip(labelled, counts, strict=True)} == {per_class}


@given(COUNTS, st.floats(0.6, 20), st.floats(0, 20))
def test_a_larger_factor_never_makes_fewer_images(labelled: list[int], factor: float, more: float) -> None:
    fewer = class_plan(labelled, FactorPlan(kind="factor", factor=factor))
    larger = class_plan(labelled, FactorPlan(kind="factor", factor=factor + more))
    assert all(a <= b for a, b in zip(fewer, larger, strict=True))


def test_a_factor_for_each_class_multiplies_that_class() -> None:
    assert class_plan([10, 4, 7], FactorPlan(kind="factor", factor=[0, 2.5, 1])) == [0, 10, 7]


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (BalancePlan(kind="balance", per_class=7), "at least 8"),
        (FactorPlan(kind="factor", factor=[1, 2, 3]), "3 factors for 2 classes"),
        (FactorPlan(kind="factor", factor=0.01), "no image in any class"),
    ],
)
def test_an_impossible_plan_is_refused_in_words(plan: BalancePlan | FactorPlan, words: str) -> None:
    with pytest.raises(UserError, match=words):
        class_plan([3, 7], plan)


SOURCES = Sources(np.array([2, 0, 0, 1, 2, 0]))


def rows(
    wanted: list[range], seed: int = 4, replicate: int = 1, sources: Sources | None = SOURCES
) -> dict[tuple[int, int], Row]:
    """Latents and source of each image that is wanted, by class and index."""
    drawn: dict[tuple[int, int], Row] = {}
    for asked in requests(wanted, seed, replicate, sources):
        latents = asked.latents(3)
        for row in range(asked.wanted):
            key = int(asked.labels[row]), int(asked.index[row])
            assert key not in drawn
            drawn[key] = tuple(latents[row].tolist()), None if asked.sources is None else int(asked.sources[row])
    return drawn


def of(counts: list[int]) -> list[range]:
    return [range(count) for count in counts]


@given(st.lists(st.integers(0, 5 * BATCH), min_size=1, max_size=4), st.integers(1, 5))
def test_shards_are_whole_batches_and_together_all_that_is_wanted(counts: list[int], batches: int) -> None:
    parts, drawn = shards(counts, batches), list[tuple[int, int]]()
    for ranges in parts:
        assert sum(-(-len(each) // BATCH) for each in ranges) <= batches
        assert all(each.start % BATCH == 0 for each in ranges)
        drawn += [(label, index) for label, each in enumerate(ranges) for index in each]
    assert drawn == [(label, index) for label, count in enumerate(counts) for index in range(count)]
    assert len(parts) == -(-sum(-(-count // BATCH) for count in counts) // batches)


@pytest.mark.parametrize("batches", [1, 2, 3, 8])
def test_an_image_is_the_same_in_whatever_shard_it_is_asked_for(batches: int) -> None:
    counts = [BATCH + 9, 0, 2 * BATCH]
    parts = [rows(ranges, sources=np.array([0, 2, 2])) for ranges in shards(counts, batches)]
    whole = rows(of(counts), sources=np.array([0, 2, 2]))
    assert {key: row for part in parts for key, row in part.items()} == whole
    assert sum(map(len, parts)) == sum(counts)


def test_asking_for_more_or_for_other_classes_changes_no_image() -> None:
    few = rows(of([3, 0, BATCH + 7]))
    many = rows(of([BATCH + 9, 40, 3 * BATCH]))
    assert few.items() <= many.items()
    later = rows([range(0), range(0), range(BATCH, BATCH + 5)])
    assert later.items() <= many.items()
    assert len(later) == 5


def test_every_batch_is_whole_and_of_one_class_and_says_what_is_wanted_of_it() -> None:
    asked = list(requests(of([BATCH + 1, 0, 1]), 4, 1))
    assert [(each.labels.tolist(), each.wanted) for each in asked] == [
        ([0] * BATCH, BATCH),
        ([0] * BATCH, 1),
        ([2] * BATCH, 1),
    ]
    assert [each.index.tolist() for each in asked] == [
        list(range(BATCH)),
        list(range(BATCH, 2 * BATCH)),
        list(range(BATCH)),
    ]
    assert all(each.sources is None for each in asked)


def test_batches_come_when_they_are_asked_for() -> None:
    first = next(requests([range(10**15)], 0, 0))
    assert first.wanted == BATCH


def test_a_batchs_latents_are_one_stream_of_numpys_that_its_seed_alone_decides() -> None:
    (asked,) = requests([range(5)], 4, 1)
    expected = np.random.default_rng(asked.seed).standard_normal((BATCH, 7), dtype=np.float32)
    assert np.array_equal(asked.latents(7), expected)
    assert expected.dtype == asked.latents(7).dtype == np.float32
    assert 0 <= asked.seed < 2**63, "a column of integers holds it"


def test_every_seed_replicate_class_and_batch_has_latents_of_its_own() -> None:
    seeds = [
        asked.seed
        for seed in (0, 1, 2**32 - 1)
        for replicate in range(10)
        for asked in requests([range(3 * BATCH)] * 10, seed, replicate)
    ]
    assert len(set(seeds)) == len(seeds) == 3 * 10 * 30


def test_latents_are_standard_normal_and_independent() -> None:
    """Within a row, with the next row, and with the same image of another class, seed and replicate."""
    settings_of = [(0, 0), (0, 1), (1, 0)]
    streams = [
        [asked.latents(16) for asked in requests([range(80 * BATCH)] * 2, seed, replicate)]
        for seed, replicate in settings_of
    ]
    first, *others = [np.concatenate(part) for stream in streams for part in (stream[:80], stream[80:])]
    count = len(first)
    assert stats.kstest(first.ravel(), "norm").pvalue > 1e-3
    assert first.mean() == pytest.approx(0, abs=4 / first.size**0.5)
    columns = np.concatenate([first[:-1], first[1:], *(other[:-1] for other in others)], axis=1)
    for values in (columns, columns**2):
        assert np.abs(np.corrcoef(values.T) - np.eye(columns.shape[1])).max() < 5.5 / np.sqrt(count)


def test_sources_take_turns_among_those_of_the_class() -> None:
    by_class = {label: np.flatnonzero(label == SOURCES.labels).tolist() for label in range(3)}
    drawn = rows(of([BATCH + 4, 3, 5]))
    for (label, index), (_, source) in drawn.items():
        assert source == by_class[label][index % len(by_class[label])]


def test_without_sources_there_are_none() -> None:
    assert {source for _, source in rows(of([2, 2, 2]), sources=None).values()} == {None}


def test_the_same_latents_come_with_and_without_sources() -> None:
    one, other = rows(of([9, 9, 9])), rows(of([9, 9, 9]), sources=None)
    assert [latents for latents, _ in one.values()] == [latents for latents, _ in other.values()]


def test_the_first_of_each_class_come_class_by_class_from_one_seed() -> None:
    asked = few_of_each_class(3, 4, 7, SOURCES)
    assert isinstance(asked, Requests)
    assert asked.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert asked.index.tolist() == [0, 1, 2, 3] * 3
    assert asked.sources is not None
    assert asked.sources.tolist() == [1, 2, 5, 1, 3, 3, 3, 3, 0, 4, 0, 4]
    assert (asked.seed, asked.wanted) == (7, 12)
    assert few_of_each_class(3, 4, 7).sources is None
    assert all(not np.array_equal(*pair) for pair in pairwise(asked.latents(5)))
