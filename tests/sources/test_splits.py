import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.plumbing.dataset import CALIBRATION, ROLES, TEST, TRAIN, UNLABELLED_POOL, VALIDATION
from stages.plumbing.errors import UserError
from stages.sources import splits
from stages.sources.params import PrepareParams

NAMES = ["a", "b", "c"]
LABELS = np.repeat([0, 1, 2], [60, 90, 150])


def make_params(**changes: object) -> PrepareParams:
    values: dict[str, object] = {
        "seed": 0,
        "replicates": 3,
        "source": {"kind": "digits", "path": "data/raw/digits"},
        "image": {"flip_ok": False},
        "test_share": 0.5,
        "labels_per_class": 5,
        "validation_per_class": 4,
        "calibration": 30,
        "unlabelled_share": 1.0,
    }
    return PrepareParams.model_validate(values | changes)


def roles_of(params: PrepareParams, replicate: int = 0) -> np.ndarray:
    test = splits.test_rows(LABELS, NAMES, params)
    return splits.replicate_roles(LABELS, test, NAMES, params, replicate)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    replicate=st.integers(0, 50),
    labels_per_class=st.integers(1, 10),
    validation=st.integers(1, 10),
    calibration=st.integers(1, 60),
    share=st.floats(0, 1),
)
def test_roles_have_the_sizes_asked_for(
    seed: int, replicate: int, labels_per_class: int, validation: int, calibration: int, share: float
) -> None:
    params = make_params(
        seed=seed,
        labels_per_class=labels_per_class,
        validation_per_class=validation,
        calibration=calibration,
        unlabelled_share=share,
    )
    roles = roles_of(params, replicate)
    assert set(np.unique(roles)) <= {*ROLES, ""}
    assert np.bincount(LABELS[roles == TRAIN]).tolist() == [labels_per_class] * 3
    assert np.bincount(LABELS[roles == VALIDATION]).tolist() == [validation] * 3
    assert np.sum(roles == CALIBRATION) == calibration
    rest = len(LABELS) - np.sum(np.isin(roles, [TRAIN, VALIDATION, CALIBRATION, TEST]))
    assert np.sum(roles == UNLABELLED_POOL) == round(rest * share)


def test_the_test_set_is_stratified_and_the_same_in_every_replicate() -> None:
    params = make_params()
    tests = [np.flatnonzero(roles_of(params, replicate) == TEST) for replicate in range(3)]
    assert all(np.array_equal(tests[0], other) for other in tests)
    assert np.bincount(LABELS[tests[0]]).tolist() == [30, 45, 75]


def test_calibration_and_pool_are_stratified() -> None:
    roles = roles_of(make_params(calibration=40))
    free = np.isin(roles, [CALIBRATION, UNLABELLED_POOL])
    for role in (CALIBRATION, UNLABELLED_POOL):
        expected = np.bincount(LABELS[free]) / free.sum() * np.sum(roles == role)
        assert np.all(np.abs(np.bincount(LABELS[roles == role]) - expected) <= 1.5)


def test_replicates_differ_and_a_further_one_changes_none_before() -> None:
    few, many = (
        [
            splits.replicate_roles(LABELS, splits.test_rows(LABELS, NAMES, params), NAMES, params, replicate)
            for replicate in range(params.replicates)
        ]
        for params in (make_params(replicates=2), make_params(replicates=4))
    )
    assert all(np.array_equal(one, other) for one, other in zip(few, many, strict=False))
    assert not np.array_equal(many[0], many[1])


def test_the_seed_decides() -> None:
    assert np.array_equal(roles_of(make_params(seed=1)), roles_of(make_params(seed=1)))
    assert not np.array_equal(roles_of(make_params(seed=1)), roles_of(make_params(seed=2)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels_per_class": 40}, r"class 'a' has 30 images beside the test set.*labels_per_class \(40\)"),
        ({"validation_per_class": 30}, r"class 'a' has 30 images beside the test set"),
        ({"calibration": 500}, r"prepare.calibration asks for 500 images, but 123 are left"),
        ({"test_share": 0.001}, r"class 'a' has 60 images: too few for a test set"),
    ],
)
def test_too_few_images_are_told_in_words(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        roles_of(make_params(**changes))


def test_counts_add_up() -> None:
    roles = roles_of(make_params())
    counts = splits.count(roles, LABELS, NAMES)
    assert sum(role["all"] for role in counts.values()) == np.sum(roles != "")
    assert all(role["all"] == sum(role[name] for name in NAMES) for role in counts.values())
