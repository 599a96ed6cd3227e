"""What is chosen for a folder, from how many images of each class there are."""

import numpy as np
import pytest

from stages.chooser.choice import MANY_LABELS, Held, choices
from stages.memorization.conformal import calibration_needed


def held(counts: list[int], unlabelled: int = 0, per_group: float = 0.0, has_test: bool = False) -> Held:
    return Held(np.array(counts), unlabelled, per_group, has_test, has_validation=False, pretrained=False)


@pytest.mark.parametrize("counts", [[12, 12, 12], [9, 200], [40] * 2, [500] * 10, [12] * 300])
def test_no_choice_asks_for_more_than_there_is(counts: list[int]) -> None:
    found = list(choices(held(counts)))
    assert found
    for choice in found:
        left = held(counts).left(choice.test_share)
        assert choice.validation < left.min()
        assert 3 * choice.calibration <= left.sum()
        assert choice.labels == "all" or int(choice.labels) + choice.validation <= left.min()
        if not choice.full_conformal:
            assert choice.calibration >= calibration_needed(choice.alpha)


def test_the_lowest_error_rate_comes_first_and_rises_where_images_are_few() -> None:
    first = {count: next(choices(held([count, count]))) for count in (12, 30, 300)}
    assert (first[300].alpha, first[300].full_conformal) == (0.05, False)
    assert (first[30].alpha, first[30].full_conformal) == (0.05, True), "too few to set 19 aside"
    assert first[12].alpha == 0.2


def test_unlabelled_images_calibrate_too() -> None:
    few, with_pool = (next(choices(held([12, 12], unlabelled=each))) for each in (0, 200))
    assert (few.alpha, with_pool.alpha) == (0.2, 0.05)


def test_in_groups_one_image_of_each_counts_and_full_conformal_is_no_way_out() -> None:
    found = list(choices(held([110, 110], per_group=11)))
    assert not any(each.full_conformal for each in found)
    assert [each.alpha for each in found if each.by_group] == [0.2] * 6
    assert found[0].calibration >= 4 * 11


def test_of_a_large_set_part_of_the_labels_is_taken() -> None:
    assert next(choices(held([100] * 3))).labels == "all"
    labels = next(choices(held([5000] * 10))).labels
    assert labels == MANY_LABELS // 10
