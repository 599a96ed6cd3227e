import numpy as np
import pytest

from stages.comparison.release import kept_everywhere


def test_images_of_one_replicate_each_are_all_published_in_their_order() -> None:
    kept = np.array(["b-1", "a-0", "c-2"])
    judged = np.array(["a-0", "b-1", "c-2", "dropped-1"])
    assert kept_everywhere(kept, judged).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("dropped_by", "published"), [((), ["x", "y", "z"]), ((0,), ["y", "z"]), ((0, 1, 2), ["y", "z"])]
)
def test_an_image_that_one_replicate_calls_a_copy_is_not_published(
    dropped_by: tuple[int, ...], published: list[str]
) -> None:
    given = ["x", "y", "z"]
    kept = np.array([name for replicate in range(3) for name in given if not (name == "x" and replicate in dropped_by)])
    assert kept[kept_everywhere(kept, np.array(given * 3))].tolist() == published
