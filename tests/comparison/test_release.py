import numpy as np
import pytest

from stages.comparison.release import kept_everywhere, published_columns


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


def test_what_the_arms_alone_may_know_is_not_told_and_real_images_are_named_only_where_they_may_be() -> None:
    columns = {
        "seed": np.array([1, 2]),
        "generator": np.array(["gan", "gan"]),
        "source_id": np.array(["train/cat/7.png", ""]),
        "realness": np.zeros(2),
        "latent_norm": np.zeros(2),
        "probabilities": np.ones((2, 3)),
    }
    named = published_columns(columns, name_real_images=True)
    assert set(named) == {"seed", "generator", "source_id", "probabilities"}
    assert named["source_id"].tolist() == ["train/cat/7.png", ""]
    nameless = published_columns(columns, name_real_images=False)
    assert set(nameless) == set(named)
    assert nameless["source_id"].tolist() == ["", ""]
    assert columns["source_id"][0] == "train/cat/7.png", "the columns given are not changed"
    assert set(published_columns({"seed": np.array([1])}, name_real_images=False)) == {"seed"}
