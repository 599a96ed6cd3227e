from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import betabinom, binomtest
from torch.nn.functional import interpolate

from stages.memorization.conformal import cutoff_rank, p_values
from stages.memorization.filtering import Decisions, MemorizationFilter, Originals, check_some_kept
from stages.memorization.planted import noise
from stages.plumbing.errors import UserError
from tests.memorization.toy import PARAMS, make, random_images

FULL = {"too_few": "full_conformal"}


def smooth_images(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Blobs, 6 x 6: random fields of so low a frequency that some lie far nearer to each other than others."""
    coarse = torch.from_numpy(rng.uniform(0, 255, (count, 1, 2, 3)))
    return interpolate(coarse, size=(6, 6), mode="bilinear").round().to(torch.uint8)


def test_copies_are_dropped_with_their_source_named_and_fresh_images_kept(digits: torch.Tensor) -> None:
    seen, calibration, fresh = digits[:600], digits[600:800], digits[800:]
    moved = torch.roll(seen[40:60], (1, -1), (2, 3))
    decisions = make(seen, calibration).decide(torch.cat([seen[:40], moved, fresh]))
    assert decisions.dropped[:60].all()
    assert decisions.nearest[:60].tolist() == list(range(60))
    assert (decisions.distance[:60] < 1e-12).all()
    assert decisions.dropped[60:].mean() < 0.15
    np.testing.assert_array_equal(decisions.dropped, decisions.p <= PARAMS.alpha)


def test_mirrored_copies_are_dropped_only_where_they_count(digits: torch.Tensor) -> None:
    mirrored = digits[:30].flip(-1)
    dropped = [make(digits[:300], digits[600:700], flip_ok).decide(mirrored).dropped for flip_ok in (True, False)]
    assert dropped[0].all()
    assert dropped[1].mean() < 0.5


def test_p_is_the_rank_among_the_images_that_calibrate() -> None:
    calibration, generated = random_images(60, 0), random_images(30, 1)
    filter_ = make(random_images(50, 2), calibration)
    decisions = filter_.decide(generated)
    ranks = [(filter_.calibration_scores <= score).sum() + 1 for score in decisions.score]
    np.testing.assert_allclose(decisions.p, np.array(ranks) / 61)
    np.testing.assert_array_equal(filter_.calibration_scores, filter_.decide(calibration).score)


@pytest.mark.parametrize(
    "changes",
    [{}, {"blurred_view": True}, {"guarantee": "with_confidence"}, {"thresholds": "per_class"}, FULL | {"alpha": 0.02}],
)
def test_deciding_block_by_block_is_deciding_on_all(changes: dict[str, object]) -> None:
    """The last case has too few calibration images for its alpha, and judges by the seen ones."""
    rng = np.random.default_rng(0)
    labels, calibration = rng.integers(0, 2, 61), rng.integers(0, 2, 45)
    seen = random_images(120, 3, (1, 6, 6))
    originals = Originals(seen, random_images(45, 4, (1, 6, 6)), False, calibration_labels=calibration)
    params = PARAMS.model_copy(update={"alpha": 0.2} | changes)
    filter_ = MemorizationFilter(originals, params)
    assert filter_.full_conformal == (params.alpha == 0.02)
    generated = torch.cat([seen[:11], random_images(50, 5, (1, 6, 6))])
    whole = filter_.decide(generated, labels)
    cuts = [slice(0, 1), slice(1, 20), slice(20, 61)]
    parts = Decisions.concatenate([filter_.decide(generated[cut], labels[cut]) for cut in cuts])
    assert whole.dropped.any()
    for name in vars(whole):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def drops(splits: int, fresh: int, one: Callable[[np.random.Generator], NDArray[np.bool_]]) -> NDArray[np.int64]:
    """Of `fresh` images how many are dropped, in each split; nothing is shared between splits but their law."""
    found = [one(np.random.default_rng((7, split))) for split in range(splits)]
    assert all(len(dropped) == fresh for dropped in found)
    return np.array([np.count_nonzero(dropped) for dropped in found])


def check_rate(counts: NDArray[np.int64], fresh: int, rank: int, calibration: int) -> None:
    """The share of fresh images below the `rank`-th lowest of m exchangeable scores is Beta(rank, m + 1 - rank)."""
    law = betabinom(fresh, rank, calibration + 1 - rank)
    assert abs(counts.mean() - law.mean()) < 3.5 * law.std() / len(counts) ** 0.5


@pytest.mark.parametrize("alpha", [0.05, 0.1])
@pytest.mark.parametrize("changes", [{}, {"blurred_view": True}, {"guarantee": "with_confidence"}])
def test_fresh_images_are_dropped_as_often_as_stated(changes: dict[str, object], alpha: float) -> None:
    """Neither more nor, with ranks that allow no more, less."""

    def one(rng: np.random.Generator) -> NDArray[np.bool_]:
        filter_ = make(smooth_images(60, rng), smooth_images(79, rng), alpha=alpha, shift_pixels=0, **changes)
        return filter_.decide(smooth_images(40, rng)).dropped

    rank = cutoff_rank(alpha, 79, 0.95 if changes.get("guarantee") == "with_confidence" else None)
    counts = drops(50, 40, one)
    check_rate(counts, 40, rank, 79)
    assert counts.mean() / 40 < 1.5 * alpha


def test_with_confidence_the_rate_exceeds_alpha_in_few_draws_where_on_average_it_does_in_many() -> None:
    exceeded = {}
    for guarantee in ("on_average", "with_confidence"):

        def one(rng: np.random.Generator, guarantee: str = guarantee) -> NDArray[np.bool_]:
            seen, calibration = smooth_images(40, rng), smooth_images(59, rng)
            filter_ = make(seen, calibration, alpha=0.05, guarantee=guarantee, shift_pixels=0)
            return filter_.decide(smooth_images(400, rng)).dropped

        exceeded[guarantee] = int((drops(40, 400, one) > 0.05 * 400).sum())
    assert binomtest(exceeded["with_confidence"], 40, 0.05, alternative="greater").pvalue > 0.001
    assert exceeded["on_average"] > exceeded["with_confidence"]


def test_at_most_alpha_of_fresh_digits_are_dropped_over_splits(digits: torch.Tensor) -> None:
    rng, counts = np.random.default_rng(1), []
    for _ in range(20):
        images = digits[torch.from_numpy(rng.permutation(len(digits)))]
        filter_ = make(images[:300], images[300:499], alpha=0.1)
        counts.append(np.count_nonzero(filter_.decide(images[499:549]).dropped))
    check_rate(np.array(counts), 50, 20, 199)


def test_per_class_the_promise_holds_in_each_class_and_pooled_it_does_not() -> None:
    """Class 0 is blobs, whose scores are low and strewn; class 1 is noise, with scores near 1."""
    labels = np.repeat([0, 1], 20)

    def images(rng: np.random.Generator) -> torch.Tensor:
        noise = torch.from_numpy(rng.integers(0, 256, (20, 1, 6, 6), dtype=np.uint8))
        return torch.cat([smooth_images(20, rng), noise])

    def one(rng: np.random.Generator, thresholds: str) -> NDArray[np.bool_]:
        originals = Originals(images(rng), images(rng), False, calibration_labels=labels)
        params = PARAMS.model_copy(update={"alpha": 0.1, "thresholds": thresholds, "shift_pixels": 0})
        return MemorizationFilter(originals, params).decide(images(rng), labels).dropped

    for label in (0, 1):
        check_rate(drops(60, 20, lambda rng: one(rng, "per_class")[labels == label]), 20, 2, 20)  # noqa: B023
    pooled = drops(60, 20, lambda rng: one(rng, "pooled")[:20])
    assert pooled.mean() / 20 > 0.15


def test_of_each_group_one_image_calibrates_and_the_promise_holds_for_fresh_groups() -> None:
    """Frames of a group are alike: counted as independent, 20 groups of 4 would pass for 80 images."""

    def grouped(groups: int, rng: np.random.Generator) -> torch.Tensor:
        frames = smooth_images(groups, rng).repeat_interleave(4, dim=0) // 2
        return frames + torch.from_numpy(rng.integers(0, 12, frames.shape, dtype=np.uint8))

    names = [f"group {row // 4}" for row in range(80)]

    def one(rng: np.random.Generator) -> NDArray[np.bool_]:
        originals = Originals(grouped(20, rng), grouped(20, rng), False, names, [f"held out {name}" for name in names])
        filter_ = MemorizationFilter(originals, PARAMS.model_copy(update={"alpha": 0.1, "shift_pixels": 0}))
        assert filter_.calibrating.tolist() == list(range(0, 80, 4))
        assert filter_.calibration_scores.shape == (20,)
        return filter_.decide(grouped(30, rng)[::4]).dropped

    check_rate(drops(60, 30, one), 30, 2, 20)


@pytest.mark.parametrize(("blurred_view", "source"), [(False, -1), (True, 5)])
def test_without_calibration_images_at_most_alpha_of_fresh_ones_are_dropped(blurred_view: bool, source: int) -> None:
    def one(rng: np.random.Generator) -> NDArray[np.bool_]:
        nothing = torch.empty(0, 1, 6, 6, dtype=torch.uint8)
        changes = FULL | {"blurred_view": blurred_view, "alpha": 0.1, "shift_pixels": 0}
        filter_ = make(smooth_images(40, rng), nothing, **changes)
        return filter_.decide(smooth_images(4, rng), sources=np.full(4, source)).dropped

    dropped = int(drops(150, 4, one).sum())
    assert binomtest(dropped, 600, 0.1, alternative="greater").pvalue > 0.001
    assert dropped > 0


@pytest.mark.parametrize("held_out", [0, 18])
def test_without_calibration_images_enough_exact_and_moved_copies_are_found(
    digits: torch.Tensor, held_out: int
) -> None:
    seen = digits[:80]
    filter_ = make(seen, digits[800 : 800 + held_out], **FULL)
    assert filter_.full_conformal
    generated = torch.cat([seen[:30], torch.roll(seen[30:60], (1, -1), (2, 3)), digits[300:400]])
    decisions = filter_.decide(generated)
    assert decisions.dropped[:60].all()
    assert decisions.nearest[:60].tolist() == list(range(60))
    np.testing.assert_allclose(decisions.p[:60], 2 / 81)
    assert decisions.dropped[60:].mean() < 0.15


@pytest.mark.parametrize(("alpha", "needed"), [(0.05, 39), (0.1, 19), (0.07, 28)])
def test_too_few_seen_images_for_full_conformal_stop_where_an_exact_copy_could_not_be_dropped(
    alpha: float, needed: int
) -> None:
    seen, nothing = random_images(needed, 28), random_images(0, 29)
    assert make(seen, nothing, alpha=alpha, **FULL).decide(seen).dropped.all()
    words = (
        rf"full conformal prediction needs at least {needed} different images.*but there are {needed - 1}: .*prepare"
    )
    with pytest.raises(UserError, match=words):
        make(torch.cat([seen[1:], seen[1:]]), nothing, alpha=alpha, **FULL)


def test_without_calibration_images_the_blurred_view_finds_noisy_copies() -> None:
    """Which it names as copies of what they copy: p, distance and nearest image follow the same views."""
    fields = torch.from_numpy(np.random.default_rng(0).normal(128, 22, (120, 1, 4, 4)))
    seen = interpolate(fields, size=(28, 28), mode="bicubic").round().clamp(0, 255).to(torch.uint8)
    copies = noise(seen[:40], np.random.default_rng(1))
    found = [make(seen, seen[:0], blurred_view=view, **FULL).decide(copies) for view in (False, True)]
    assert found[0].dropped.mean() < 0.5
    assert found[1].dropped.mean() > 0.9
    assert found[1].nearest.tolist() == list(range(40))


def test_without_calibration_images_enough_seen_ones_in_groups_are_refused() -> None:
    seen, params = random_images(60, 30), PARAMS.model_copy(update=FULL)
    pairs, alone = [str(row // 2) for row in range(60)], [str(row) for row in range(60)]
    with pytest.raises(UserError, match=r"full_conformal.*come in groups.*at least 19 groups.*by_group to false"):
        MemorizationFilter(Originals(seen, seen[:0], False, pairs, []), params)
    assert MemorizationFilter(Originals(seen, seen[:0], False, alone, []), params).full_conformal


def test_with_calibration_images_enough_full_conformal_is_not_called_upon() -> None:
    sets = random_images(50, 8), random_images(40, 9)
    held_out, allowed = make(*sets), make(*sets, **FULL)
    assert not allowed.full_conformal
    generated = random_images(20, 10)
    np.testing.assert_array_equal(held_out.decide(generated).p, allowed.decide(generated).p)


@pytest.mark.parametrize(
    ("count", "changes", "words"),
    [
        (18, {}, "needs at least 19 calibration images, but there are 18"),
        (0, {}, "needs at least 19 calibration images, but there are 0"),
        (98, {"alpha": 0.01}, "needs at least 99 calibration images, but there are 98"),
        (58, {"guarantee": "with_confidence"}, "needs at least 59 calibration images to hold with 95% confidence"),
    ],
)
def test_too_few_calibration_images_stop_with_the_number_needed(
    count: int, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        make(random_images(30, 11), random_images(count, 12), **changes)
    assert make(random_images(30, 11), random_images(count + 100, 12), **changes).calibration_scores.any()


def test_too_few_groups_stop_however_many_frames_they_have() -> None:
    originals = Originals(
        random_images(30, 13), random_images(90, 14), False, None, [str(row // 5) for row in range(90)]
    )
    with pytest.raises(
        UserError, match=r"at least 19 .* but there are 18.*There are 90, but only one of each group.*by_group"
    ):
        MemorizationFilter(originals, PARAMS)


def test_one_class_only_is_judged_as_if_pooled() -> None:
    seen, calibration, generated = random_images(50, 15), random_images(40, 16), random_images(40, 17)
    originals = Originals(seen, calibration, False, calibration_labels=np.zeros(40, dtype=np.int64))
    own = MemorizationFilter(originals, PARAMS.model_copy(update={"thresholds": "per_class", "alpha": 0.2}))
    pooled = make(seen, calibration, alpha=0.2).decide(generated)
    decisions = own.decide(generated, np.zeros(40, dtype=np.int64))
    np.testing.assert_array_equal(decisions.p, pooled.p)
    np.testing.assert_array_equal(decisions.dropped, pooled.dropped)


def test_labels_are_read_only_for_thresholds_of_each_class_and_images_without_them_are_judged_by_all() -> None:
    seen, calibration, generated = random_images(50, 18), random_images(60, 19), random_images(40, 20)
    labels = np.arange(60) % 2
    originals = Originals(seen, calibration, False, calibration_labels=labels)
    pooled = MemorizationFilter(originals, PARAMS)
    by_class = MemorizationFilter(originals, PARAMS.model_copy(update={"thresholds": "per_class"}))
    assert pooled.calibration_labels is None
    assert by_class.calibration_labels is not None
    np.testing.assert_array_equal(by_class.calibration_labels, labels)
    own = labels[:40]
    np.testing.assert_array_equal(pooled.decide(generated, own).p, by_class.decide(generated).p)
    scores, expected = by_class.calibration_scores, by_class.decide(generated, own)
    for label in (0, 1):
        here = own == label
        np.testing.assert_array_equal(expected.p[here], p_values(expected.score[here], scores[labels == label]))


def test_labels_follow_the_images_that_calibrate_for_their_groups() -> None:
    groups, labels = [str(row // 2) for row in range(60)], np.arange(60) // 2 % 3
    originals = Originals(random_images(50, 21), random_images(60, 22), False, None, groups, labels)
    by_class = MemorizationFilter(originals, PARAMS.model_copy(update={"thresholds": "per_class"}))
    assert by_class.calibration_labels is not None
    assert by_class.calibration_labels.tolist() == [0, 1, 2] * 10


def test_images_of_one_grey_level_throughout_do_not_break_the_scores() -> None:
    """With no contrast anywhere every image equals every other, and nothing can be told from a copy or dropped."""
    even = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 1, 8, 8)
    for filter_ in (make(even[:50], even[50:80]), make(even[:50], even[:0], **FULL)):
        decisions = filter_.decide(even[80:])
        assert (decisions.score == 0).all()
        assert (decisions.p == 1).all()
        assert not decisions.dropped.any()


def test_identical_seen_images_throughout_are_refused() -> None:
    with pytest.raises(UserError, match=r"saw 1 different images.*needs at least 6"):
        make(random_images(1, 23).repeat(50, 1, 1, 1), random_images(40, 24))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"generated": torch.full((9, 1, 8, 8), torch.nan)}, "generated images hold NaN"),
        ({"seen": torch.full((30, 1, 8, 8), torch.nan)}, "seen images hold NaN"),
        ({"calibration": torch.full((30, 1, 8, 8), torch.nan)}, "calibration images hold NaN"),
        ({"seen": torch.zeros(9, 1, 8, 8)}, r"seen images are of type torch\.float32; allowed .*uint8"),
        ({"calibration": torch.zeros(40, 1, 8, 8)}, r"calibration images are of type torch\.float32; allowed .*uint8"),
        ({"calibration": random_images(40, 0, (3, 8, 8))}, r"differ in size.*seen 1 x 8 x 8, calibration 3 x 8 x 8"),
        ({"generated": random_images(9, 0, (1, 8, 9))}, r"differ in size.*generated 1 x 8 x 9, seen 1 x 8 x 8"),
        ({"generated": random_images(0, 0)}, r"generated images have shape \(0, 1, 8, 8\)"),
        ({"seen": random_images(0, 0)}, r"seen images have shape \(0, 1, 8, 8\)"),
        ({"seen": random_images(9, 0)[:, 0]}, r"seen images have shape \(9, 8, 8\)"),
    ],
)
def test_bad_images_get_clear_words(changed: dict[str, torch.Tensor], words: str) -> None:
    sets = {
        "generated": random_images(9, 1),
        "seen": random_images(30, 2),
        "calibration": random_images(40, 3),
    } | changed
    with pytest.raises(UserError, match=words):
        make(sets["seen"], sets["calibration"]).decide(sets["generated"])


def test_a_gan_that_returns_only_what_it_saw_is_stopped_with_advice() -> None:
    seen = random_images(60, 25)
    decisions = make(seen, random_images(40, 26)).decide(torch.cat([seen, random_images(1, 27)]))
    check_some_kept(decisions.dropped, "gan", replicate=4)
    copies = make(seen, random_images(40, 26)).decide(seen)
    with pytest.raises(UserError, match=r"all 60 images that the generator gan drew in replicate 4 .* memorised "):
        check_some_kept(copies.dropped, "gan", replicate=4)


LINEAGE = [
    {},
    {"blurred_view": True},
    {"thresholds": "per_class"},
    FULL | {"alpha": 0.02},
    FULL | {"alpha": 0.02, "blurred_view": True},
]


def with_lineage(
    changes: dict[str, object], groups: list[str] | None = None
) -> tuple[torch.Tensor, MemorizationFilter]:
    """120 seen images, the last of which equals the first; for the smaller alpha the 40 others are too few."""
    seen = random_images(119, 31)
    seen, labels = torch.cat([seen, seen[:1]]), np.repeat([0, 1], 20)
    params = PARAMS.model_copy(update=changes)
    return seen, MemorizationFilter(Originals(seen, random_images(40, 32), False, groups, None, labels), params)


@pytest.mark.parametrize("changes", LINEAGE)
def test_what_resembles_its_own_source_is_kept_and_noted_and_a_copy_of_another_image_dropped(
    changes: dict[str, object],
) -> None:
    seen, filter_ = with_lineage(changes)
    generated, labels = torch.cat([seen[:20], seen[:20], seen[:20]]), np.zeros(60, dtype=np.int64)
    sources = np.concatenate([np.arange(20), np.roll(np.arange(20), 1), np.full(20, -1)])
    decisions = filter_.decide(generated, labels, sources)
    assert decisions.own_source.tolist() == [True] * 20 + [False] * 40
    assert decisions.dropped[20:].all()
    assert decisions.dropped[:20].sum() <= 3  # as of fresh images
    assert (decisions.nearest[:20] != np.arange(20)).all()
    assert (decisions.nearest[20:40] == np.arange(20)).all()


@pytest.mark.parametrize("changes", LINEAGE)
def test_without_sources_decisions_are_those_without_lineage(changes: dict[str, object]) -> None:
    seen, filter_ = with_lineage(changes)
    generated, labels = torch.cat([seen[:10], random_images(40, 33)]), np.arange(50) % 2
    plain = filter_.decide(generated, labels)
    nothing = filter_.decide(generated, labels, np.full(50, -1))
    mixed = filter_.decide(generated, labels, np.where(np.arange(50) < 5, np.arange(50), -1))
    for name, values in vars(plain).items():
        np.testing.assert_array_equal(getattr(nothing, name), values)
        np.testing.assert_array_equal(getattr(mixed, name)[5:], values[5:])
    assert not plain.own_source.any()
    assert plain.dropped[:5].all()
    assert mixed.own_source[:5].all()


@pytest.mark.parametrize("changes", LINEAGE[:3])
def test_with_a_source_an_image_is_judged_as_by_a_filter_that_never_saw_that(changes: dict[str, object]) -> None:
    """But for the calibration images' scores, which stay: none of them has a source."""
    seen, filter_ = with_lineage(changes)
    generated = torch.cat([noise(seen[:8], np.random.default_rng(2)), random_images(8, 34)])
    decisions = filter_.decide(generated, sources=np.full(16, 3))
    others = np.delete(np.arange(120), 3)
    alone = make(seen[torch.from_numpy(others)], random_images(40, 32), **changes)
    found = alone.likeness.of(generated)
    np.testing.assert_array_equal(decisions.score, found.score)
    np.testing.assert_array_equal(decisions.distance, found.distance)
    np.testing.assert_array_equal(decisions.nearest, others[found.nearest])
    np.testing.assert_array_equal(decisions.p, p_values(found.score, filter_.calibration_scores))


def test_images_equal_to_a_source_or_of_its_group_are_its_likeness_and_no_others_are() -> None:
    """Image 119 equals image 0; 4 to 7 are one patient, as are 119 and 118."""
    seen, filter_ = with_lineage({}, [f"patient {row // 4}" for row in range(116)] + ["w", "x", "y", "y"])
    generated = seen[[0, 119, 118, 5, 5, 0, 118]]
    decisions = filter_.decide(generated, sources=np.array([119, 0, 119, 6, 8, 5, 0]))
    assert decisions.own_source.tolist() == [True, True, True, True, False, False, False]
    assert decisions.dropped.tolist()[4:] == [True, True, True]
    assert not decisions.dropped[:4].all()


def test_what_would_be_kept_anyway_does_not_resemble_its_source_though_that_is_nearest() -> None:
    _, filter_ = with_lineage({"alpha": 0.2})
    generated = random_images(60, 38)
    plain = filter_.decide(generated)
    assert 0 < plain.dropped.sum() < 60
    assert filter_.decide(generated, sources=plain.nearest).own_source.tolist() == plain.dropped.tolist()


def test_fresh_images_said_to_have_sources_are_dropped_as_often_as_stated() -> None:
    def one(rng: np.random.Generator) -> NDArray[np.bool_]:
        filter_ = make(smooth_images(60, rng), smooth_images(79, rng), alpha=0.1, shift_pixels=0)
        return filter_.decide(smooth_images(40, rng), sources=rng.integers(0, 60, 40)).dropped

    check_rate(drops(50, 40, one), 40, 8, 79)


def test_too_few_seen_images_beside_a_source_are_refused() -> None:
    generated, source = random_images(3, 37), np.zeros(3, dtype=np.int64)
    full = make(random_images(39, 35), random_images(0, 36), **FULL)
    assert len(full.decide(generated, sources=source - 1).p) == 3
    with pytest.raises(UserError, match=r"at least 39 different images .* beside an image's source, but there are 38"):
        full.decide(generated, sources=source)
    groups = ["one"] * 20 + ["two"] * 17 + ["three", "four"]
    grouped = MemorizationFilter(Originals(random_images(39, 35), random_images(40, 36), False, groups), PARAMS)
    assert len(grouped.decide(generated, sources=source - 1).p) == 3
    with pytest.raises(UserError, match="5 neighbours are wanted, but without an image's source and its group"):
        grouped.decide(generated, sources=source)
