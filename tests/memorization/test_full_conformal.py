import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import binomtest

from stages.memorization import full_conformal
from stages.memorization.full_conformal import AmongSeen, full_conformal_p_values, p_values_apart


def score(distances: NDArray[np.float64], k: int) -> float:
    """s = d1 / mean(d2 .. dk) of one image, by the definition."""
    first, *others = np.sort(distances)[:k]
    return float(first / np.mean(others)) if np.mean(others) > 0 else 0.0


def inputs(seen: NDArray[np.float64], queries: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], ...]:
    among = cdist(seen, seen)
    np.fill_diagonal(among, np.inf)
    return np.sort(among, axis=1)[None, :, :k], cdist(queries, seen)[None]


def rebuilt(seen: NDArray[np.float64], query: NDArray[np.float64], k: int) -> float:
    """The p-value by measuring the augmented set anew: every image against all the others."""
    together = cdist(*[np.concatenate([seen, query[None]])] * 2)
    scores = np.array([score(np.delete(row, i), k) for i, row in enumerate(together)])
    return float(np.count_nonzero(scores <= scores[-1]) / len(scores))


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("seen_images", [6, 25])
def test_p_equals_that_of_the_augmented_set_measured_anew(k: int, seen_images: int) -> None:
    rng = np.random.default_rng(0)
    seen, fresh = rng.normal(size=(seen_images, 4)), rng.normal(size=(20, 4))
    queries = np.concatenate([fresh, seen[:3], seen[:3] + 1e-3, seen[:3] + 0.3])
    p = full_conformal_p_values(*inputs(seen, queries, k))
    np.testing.assert_allclose(p, [rebuilt(seen, query, k) for query in queries], rtol=1e-12)


@pytest.mark.parametrize("k", [2, 5])
def test_the_lowest_score_of_several_views_is_ranked(k: int) -> None:
    """By the definition, measuring the augmented set anew in both views."""
    rng = np.random.default_rng(4)
    seen, queries = rng.normal(size=(20, 6)), np.concatenate([rng.normal(size=(20, 6)), np.zeros((1, 6))])
    views = [(seen[:, part], queries[:, part]) for part in (slice(0, 3), slice(3, 6))]
    given = [inputs(*view, k) for view in views]
    p = full_conformal_p_values(*(np.concatenate(parts) for parts in zip(*given, strict=True)))
    for row in range(len(queries)):
        scores = np.full(21, np.inf)
        for references, images in views:
            together = cdist(*[np.concatenate([references, images[row, None]])] * 2)
            own = [score(np.delete(distances, i), k) for i, distances in enumerate(together)]
            scores = np.minimum(scores, own)
        assert p[row] == pytest.approx(np.mean(scores <= scores[-1]))


def test_an_image_with_a_source_is_judged_as_if_that_had_not_been_seen() -> None:
    rng = np.random.default_rng(5)
    seen, queries, k = rng.normal(size=(25, 3)), rng.normal(size=(12, 3)), 4
    among = cdist(seen, seen)
    np.fill_diagonal(among, np.inf)
    order = np.argsort(among, axis=1)[:, : k + 1]
    others = AmongSeen(np.take_along_axis(among, order, axis=1)[None], order[None])
    sources = np.array([3, -1, 7, 3, -1, 24, 0, 0, 7, 3, -1, 24])
    p = p_values_apart(others, inputs(seen, queries, k)[1], sources)
    for row, source in enumerate(sources):
        left = seen if source < 0 else np.delete(seen, source, axis=0)
        loo, distances = inputs(left, queries[row, None], k)
        np.testing.assert_allclose(others.without(source), loo, rtol=1e-12)
        assert p[row] == full_conformal_p_values(loo, distances)[0]


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    given = inputs(rng.normal(size=(30, 3)), rng.normal(size=(17, 3)), 5)
    whole = full_conformal_p_values(*given)
    monkeypatch.setattr(full_conformal, "QUERY_CHUNK_VALUES", 100)
    np.testing.assert_array_equal(full_conformal_p_values(*given), whole)
    np.testing.assert_array_equal([full_conformal_p_values(given[0], row[None, None])[0] for row in given[1][0]], whole)


def test_no_queries_have_no_p_values() -> None:
    assert full_conformal_p_values(np.ones((1, 4, 2)), np.empty((1, 0, 4))).shape == (0,)


def test_identical_images_throughout_say_nothing() -> None:
    """Every image is as suspicious as every other: nobody is singled out."""
    np.testing.assert_array_equal(full_conformal_p_values(np.zeros((1, 9, 3)), np.zeros((1, 2, 9))), [1.0, 1.0])


def test_a_copy_stands_out_and_nothing_but_the_copied_image_ranks_with_it() -> None:
    rng = np.random.default_rng(2)
    seen = rng.normal(size=(99, 20))
    copies = seen + 0.05 * rng.normal(size=seen.shape)
    assert full_conformal_p_values(*inputs(seen, copies, 5)).max() <= 2 / 100


@pytest.fixture(scope="module")
def fresh() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """p of 3,000 fresh images, each with 19 new seen ones: by full conformal and by the naive leave-one-out rank.

    Points on a line and k = 2: a fresh image and its nearest are often each other's nearest, where leave-one-out errs.
    """
    rng, full, naive = np.random.default_rng(3), [], []
    for _ in range(3000):
        loo, distances = inputs(rng.normal(size=(19, 1)), rng.normal(size=(1, 1)), 2)
        full.append(full_conformal_p_values(loo, distances)[0])
        naive.append((1 + np.count_nonzero(loo[0, :, 0] / loo[0, :, 1] <= score(distances[0, 0], 2))) / 20)
    return np.array(full), np.array(naive)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 0.3])
def test_at_most_alpha_of_fresh_images_are_flagged(
    fresh: tuple[NDArray[np.float64], NDArray[np.float64]], alpha: float
) -> None:
    flagged = int(np.count_nonzero(fresh[0] <= alpha))
    assert binomtest(flagged, 3000, alpha, alternative="greater").pvalue > 0.001


def test_the_naive_leave_one_out_rank_flags_more_than_alpha(
    fresh: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    flagged = int(np.count_nonzero(fresh[1] <= 0.05))
    assert binomtest(flagged, 3000, 0.05, alternative="greater").pvalue < 1e-6
