from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.plumbing.errors import UserError
from stages.plumbing.images import UNLABELLED
from stages.sources import checks
from stages.sources.checks import Resolution
from stages.sources.duplicates import NearPairs, exact_sets
from stages.sources.findings import Kind, as_numbers
from stages.sources.ingest import Facts, facts_type
from stages.sources.listing import Listing

OnLeak = Literal["error", "drop", "warn"]
RANK = {"": 0, "train": 0, "validation": 1, "test": 2}


def plain_facts(pictures: Sequence[int]) -> Facts:
    """Facts of ordinary images; the same number stands for the same pixels."""
    facts = np.zeros(len(pictures), dtype=facts_type(8))
    facts["digest"] = np.array([picture.to_bytes(16) for picture in pictures], dtype="V16")
    facts["width"] = facts["height"] = 32
    return facts


def listed(labels: Sequence[int], splits: Sequence[str], groups: Sequence[str | None] | None = None) -> Listing:
    count = len(labels)
    return Listing(
        class_names=["benign", "malignant", "other"],
        ids=np.array([f"{row:02d}.png" for row in range(count)], dtype=np.str_),
        labels=np.array(labels, dtype=np.int64),
        splits=np.array(splits, dtype=np.str_),
        groups=groups,
        locators=range(count),
        ignored={},
    )


def near_pairs(pairs: Sequence[tuple[int, int, float]], sets: NDArray) -> NearPairs:
    """Pairs of rows as the search gives them: between rows that stand for their exact set, once."""
    by_set = {tuple(sorted((sets[left], sets[right]))): distance for left, right, distance in pairs}
    between = sorted((pair, distance) for pair, distance in by_set.items() if pair[0] != pair[1])
    rows = np.array([pair for pair, _ in between], dtype=np.int64).reshape(-1, 2)
    return NearPairs(rows, np.array([distance for _, distance in between], dtype=np.float64))


def resolved(
    pictures: Sequence[int],
    labels: Sequence[int],
    splits: Sequence[str] | None = None,
    groups: Sequence[str | None] | None = None,
    near: Sequence[tuple[int, int, float]] = (),
    on_leak: OnLeak = "drop",
) -> Resolution:
    """What becomes of images given by number of picture, label, split, group and near pairs of rows."""
    facts = plain_facts(pictures)
    sets = exact_sets(facts["digest"])
    listing = listed(labels, splits or [""] * len(labels), groups)
    return checks.resolve(listing, facts, sets, near_pairs(near, sets), np.zeros(len(sets), dtype=bool), on_leak, 32)


def outcome(result: Resolution, kind: Kind) -> list[tuple[int, int, str]]:
    """Findings of one kind as (row, other row or -1, action)."""
    found = [each for each in result.findings if each.kind == kind]
    return [(int(each.id[:2]), int(each.other[:2]) if each.other else -1, each.action) for each in found]


def kinds(result: Resolution) -> set[str]:
    return {each.kind for each in result.findings} - {"class_too_small"}


def test_a_sound_set_stays_as_it_is() -> None:
    result = resolved(range(6), [0, 1, 0, 1, 0, -1], groups=["p", "q", "p", None, None, None])
    assert result.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert result.labels.tolist() == [0, 1, 0, 1, 0, -1]
    assert result.groups.tolist() == [0, 1, 0, 2, 3, 4]
    assert kinds(result) == set()


def test_of_copies_in_one_class_the_first_stays() -> None:
    result = resolved([5, 6, 5, 5], [0, 1, 0, 0])
    assert result.rows.tolist() == [0, 1]
    assert outcome(result, "duplicate") == [(2, 0, "dropped"), (3, 0, "dropped")]


def test_the_labelled_one_of_two_copies_stays() -> None:
    result = resolved([5, 5, 6], [UNLABELLED, 1, 0])
    assert result.rows.tolist() == [1, 2]
    assert result.labels.tolist() == [1, 0]
    assert outcome(result, "duplicate") == [(0, 1, "dropped")]


def test_of_copies_with_contradicting_labels_one_stays_without_a_label() -> None:
    result = resolved([5, 6, 5, 5], [0, 1, 1, UNLABELLED])
    assert dict(zip(result.rows.tolist(), result.labels.tolist(), strict=True)) == {0: UNLABELLED, 1: 1}
    assert outcome(result, "contradicting_labels") == [(0, 2, "unlabelled"), (2, 0, "dropped"), (3, 0, "dropped")]
    assert kinds(result) == {"contradicting_labels"}
    detail = next(each.detail for each in result.findings if each.kind == "contradicting_labels")
    assert "'benign' and 'malignant'" in detail


def test_contradicting_validation_images_all_go() -> None:
    result = resolved([5, 5, 6], [0, 1, 0], ["validation", "validation", "train"])
    assert result.rows.tolist() == [2]
    assert [action for _, _, action in outcome(result, "contradicting_labels")] == ["dropped", "dropped"]


@pytest.mark.parametrize("lower", ["train", "validation", ""])
def test_what_a_test_image_shows_leaves_the_other_roles(lower: str) -> None:
    result = resolved([5, 6, 5, 7], [0, 0, 0, 1], [lower, lower, "test", "test"], near=[(1, 3, 0.02)])
    assert result.rows.tolist() == [2, 3]
    assert outcome(result, "leak") == [(0, 2, "dropped"), (1, 3, "dropped")]
    assert "near_contradicting_labels" not in kinds(result)


def test_validation_is_protected_from_training() -> None:
    result = resolved([5, 5, 6, 7], [0, 0, 1, 1], ["train", "validation", "train", "validation"], near=[(2, 3, 0.01)])
    assert result.rows.tolist() == [1, 3]
    assert outcome(result, "leak") == [(0, 1, "dropped"), (2, 3, "dropped")]


def test_a_validation_image_that_has_left_takes_no_training_image_with_it() -> None:
    """Row 0 is near row 1 alone, which leaks to the test set and goes."""
    result = resolved([5, 6, 7], [0, 0, 0], ["train", "validation", "test"], near=[(0, 1, 0.01), (1, 2, 0.01)])
    assert result.rows.tolist() == [0, 2]
    assert outcome(result, "leak") == [(1, 2, "dropped")]


def test_a_group_in_training_and_test_leaves_training() -> None:
    groups = ["anna", "anna", "bert", "anna", None]
    result = resolved(range(5), [0, 1, 0, 1, 0], ["train", "train", "train", "test", "test"], groups)
    assert result.rows.tolist() == [2, 3, 4]
    assert outcome(result, "leak") == [(0, 3, "dropped"), (1, 3, "dropped")]
    assert "'anna'" in result.findings[0].detail


def test_a_contradiction_across_the_split_is_reported_as_both_and_leaves_training() -> None:
    result = resolved([5, 5, 6], [0, 1, 0], ["train", "test", "train"])
    assert dict(zip(result.rows.tolist(), result.labels.tolist(), strict=True)) == {1: 1, 2: 0}
    assert outcome(result, "leak") == [(0, 1, "dropped")]
    assert outcome(result, "contradicting_labels") == [(0, 1, "dropped"), (1, 0, "kept")]


def test_copies_inside_the_test_set_stay_together() -> None:
    result = resolved([5, 5, 6, 6, 7], [0, 0, 0, 1, 1], ["test"] * 5)
    assert result.rows.tolist() == [0, 1, 2, 3, 4]
    assert result.labels.tolist() == [0, 0, 0, 1, 1]
    assert result.groups.tolist() == [0, 0, 1, 1, 2]
    assert outcome(result, "duplicate") == [(1, 0, "kept")]
    assert outcome(result, "contradicting_labels") == [(2, 3, "kept"), (3, 2, "kept")]


def test_warn_keeps_leaks_and_says_so() -> None:
    splits = ["train", "test", "train", "test"]
    result = resolved([5, 5, 6, 7], [0, 0, 1, 1], splits, near=[(2, 3, 0.01)], on_leak="warn")
    assert result.rows.tolist() == [0, 1, 2, 3]
    assert outcome(result, "leak") == [(0, 1, "kept"), (2, 3, "kept")]
    assert len(set(result.groups.tolist())) == 4


def test_error_names_the_number_of_leaks_three_pairs_and_the_remedy() -> None:
    pictures, splits = [*range(5), *range(5)], ["train"] * 5 + ["test"] * 5
    with pytest.raises(UserError, match=r"^5 images .*00\.png .training. and 05\.png .test.*drop") as caught:
        resolved(pictures, [0] * 10, splits, on_leak="error")
    assert str(caught.value).count(".png") == 6
    resolved(range(10), [0] * 10, splits, on_leak="error")


def test_near_images_stay_but_play_one_role() -> None:
    near = [(0, 1, 0.03), (1, 2, 0.01), (3, 4, 0.02)]
    result = resolved(range(6), [0, 0, 1, 1, UNLABELLED, 1], groups=[None, None, "a", None, "b", "a"], near=near)
    assert result.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert result.groups.tolist() == [0, 0, 0, 1, 1, 0]
    assert outcome(result, "near_duplicate") == [
        (0, 1, "kept"),
        (1, 2, "kept"),
        (2, 1, "kept"),
        (3, 4, "kept"),
        (4, 3, "kept"),
    ]
    assert outcome(result, "near_contradicting_labels") == [(1, 2, "kept"), (2, 1, "kept")]


def test_a_near_image_contradicts_what_all_copies_agree_on() -> None:
    near = [(0, 2, 0.02), (3, 5, 0.02)]
    agreeing = resolved([5, 5, 6, 7, 7, 8], [UNLABELLED, 0, 1, 0, 1, 1], ["test"] * 6, near=near)
    assert outcome(agreeing, "near_contradicting_labels") == [(0, 2, "kept"), (2, 0, "kept")]


def test_brain_scans_of_which_most_test_files_lie_in_training_in_miniature() -> None:
    """25 of 39 test images are pixel-identical to training images: these leave, and the test set stays whole."""
    pictures = [*range(60), *range(25), *range(100, 114)]
    splits = ["train"] * 60 + ["test"] * 39
    result = resolved(pictures, [picture % 3 for picture in pictures], splits)
    assert result.rows.tolist() == list(range(25, 99))
    numbers = as_numbers(result.findings)
    assert numbers["leak"] == {"images": 25, "dropped": 25}
    assert numbers["duplicate"] == {"images": 0, "dropped": 0}


def test_lesions_of_which_most_lie_in_two_classes_in_miniature() -> None:
    """7 of 8 images of a class also lie in another class: none of them keeps a label."""
    pictures, labels = [*range(20), *range(7), 99], [0] * 20 + [1] * 8
    result = resolved(pictures, labels)
    assert result.rows.tolist() == [*range(20), 27]
    assert result.labels.tolist() == [UNLABELLED] * 7 + [0] * 13 + [1]
    assert as_numbers(result.findings)["contradicting_labels"] == {"images": 14, "dropped": 7}


@st.composite
def sources(draw: st.DrawFn) -> dict:
    count = draw(st.integers(1, 14))

    def column(values: st.SearchStrategy) -> list:
        return draw(st.lists(values, min_size=count, max_size=count))

    row = st.integers(0, count - 1)
    return {
        "pictures": column(st.integers(0, 6)),
        "labels": column(st.integers(-1, 2)),
        "splits": column(st.sampled_from(list(RANK))),
        "groups": column(st.sampled_from([None, None, "a", "b", "c"])),
        "near": [(left, right, 0.01 * (left + right)) for left, right in draw(st.lists(st.tuples(row, row)))],
    }


@given(sources())
def test_after_dropping_nothing_alike_crosses_a_split_or_is_parted(source: dict) -> None:
    result = resolved(**source)
    rank = np.array([RANK[split] for split in source["splits"]])
    sets = exact_sets(plain_facts(source["pictures"])["digest"])
    near = {tuple(pair) for pair in near_pairs(source["near"], sets).pairs.tolist()}
    group = dict(zip(result.rows.tolist(), result.groups.tolist(), strict=True))
    for row in group:
        for other in group:
            alike = sets[row] == sets[other] or tuple(sorted((sets[row], sets[other]))) in near
            if alike or source["groups"][row] is not None is not source["groups"][other] == source["groups"][row]:
                assert rank[row] == rank[other]
                assert group[row] == group[other]
            if group[row] == group[other]:
                assert rank[row] == rank[other]
    for row in group:
        assert rank[row] == RANK["test"] or [sets[each] for each in group].count(sets[row]) == 1


@given(sources(), st.sampled_from(["drop", "warn"]))
def test_test_images_are_never_lost_or_relabelled_and_labels_never_invented(source: dict, on_leak: OnLeak) -> None:
    result = resolved(**source, on_leak=on_leak)
    label = dict(zip(result.rows.tolist(), result.labels.tolist(), strict=True))
    for row, (given_label, split) in enumerate(zip(source["labels"], source["splits"], strict=True)):
        if split == "test":
            assert label[row] == given_label
        assert label.get(row, given_label) in (given_label, UNLABELLED)
    dropped = {int(each.id[:2]) for each in result.findings if each.action == "dropped"}
    assert dropped == set(range(len(source["labels"]))) - set(label)
    assert max(Counter((each.kind, each.id) for each in result.findings if each.id).values(), default=1) == 1


@given(sources(), st.randoms(use_true_random=False), st.sampled_from(["drop", "warn"]))
def test_counts_do_not_depend_on_the_order_of_the_images(source: dict, random: Random, on_leak: OnLeak) -> None:
    """As long as copies agree on their group: else that of the first counts."""
    source["groups"] = [source["groups"][picture % len(source["groups"])] for picture in source["pictures"]]
    order = list(range(len(source["labels"])))
    random.shuffle(order)
    shuffled = {key: [source[key][row] for row in order] for key in ("pictures", "labels", "splits", "groups")}
    sets = exact_sets(plain_facts(source["pictures"])["digest"])
    pairs = near_pairs(source["near"], sets)
    near = [
        (order.index(left), order.index(right), distance)
        for (left, right), distance in zip(pairs.pairs.tolist(), pairs.distances.tolist(), strict=True)
    ]
    results = resolved(**source, on_leak=on_leak), resolved(**shuffled, near=near, on_leak=on_leak)
    first, second = (as_numbers(result.findings) for result in results)
    assert first == second


def of_facts(second: NDArray | None = None, **changes: NDArray) -> Counter:
    """Kinds found in 40 sound images of 32 x 32 in which some facts are changed."""
    facts = plain_facts(range(40))
    for name, column in changes.items():
        facts[name] = column
    sets, own = np.arange(40), np.zeros(40, dtype=bool) if second is None else second
    result = checks.resolve(listed([0] * 40, [""] * 40), facts, sets, near_pairs([], sets), own, "error", 16)
    assert result.rows.tolist() == list(range(40))
    return Counter(each.kind for each in result.findings if each.kind != "class_too_small")


def test_what_all_images_of_a_second_source_have_in_common_is_not_odd() -> None:
    second = np.arange(40) >= 38
    large = {"width": np.where(second, 300, 32), "height": np.where(second, 300, 32), "colourful": second}
    assert of_facts(**large) == {"size_outlier": 2, "channel_outlier": 2}
    assert of_facts(second, **large) == {}


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"constant": np.arange(40) < 3}, "constant", 3),
        ({"wrong_extension": np.arange(40) < 2}, "wrong_extension", 2),
        ({"colourful": np.arange(40) < 2}, "channel_outlier", 2),
        ({"colourful": np.arange(40) < 3}, "channel_outlier", 0),
        ({"colourful": np.arange(40) >= 2}, "channel_outlier", 2),
        ({"colourful": np.ones(40, dtype=bool)}, "channel_outlier", 0),
        (
            {"width": np.where(np.arange(40) < 1, 160, 32), "height": np.where(np.arange(40) < 1, 160, 32)},
            "size_outlier",
            1,
        ),
        (
            {"width": np.where(np.arange(40) < 1, 120, 32), "height": np.where(np.arange(40) < 1, 120, 32)},
            "size_outlier",
            0,
        ),
        ({"width": np.where(np.arange(40) < 4, 70, 32)}, "size_outlier", 4),
        ({"height": np.where(np.arange(40) < 4, 60, 32)}, "size_outlier", 0),
        ({"width": np.full(40, 15), "height": np.full(40, 15)}, "upscaled", 40),
        ({"width": np.full(40, 15), "height": np.full(40, 16)}, "upscaled", 0),
    ],
)
def test_odd_images_are_reported_and_kept(changes: dict, kind: str, expected: int) -> None:
    assert of_facts(**changes) == Counter({kind: expected} if expected else {})


def test_small_and_empty_classes_are_reported() -> None:
    labels = [0] * checks.SMALL_CLASS + [1] * (checks.SMALL_CLASS - 1)
    result = resolved(range(len(labels)), labels)
    small = [each for each in result.findings if each.kind == "class_too_small"]
    assert [each.id for each in small] == [f"{row:02d}.png" for row in range(20, 39)] + [""]
    assert "'malignant' has 19" in small[0].detail
    assert "'other' has 0" in small[-1].detail
