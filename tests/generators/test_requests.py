import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.generators.params import BalancePlan, FactorPlan, GenerateParams
from stages.generators.plan import class_plan
from stages.plumbing.errors import UserError

COUNTS = st.lists(st.integers(1, 500), min_size=2, max_size=12)


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"truncation": 0},
        {"truncation": 1.1},
        {"plan": {"kind": "balance", "factor": 2}},
        {"plan": {"kind": "double", "factor": 2}},
        {"plan": {"kind": "factor", "factor": []}},
        {"seeds": 1},
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object]) -> None:
    good = {"seed": 0, "external": "data/raw/none", "truncation": 1.0, "scores": False}
    good |= {"plan": {"kind": "balance", "per_class": 5}}
    GenerateParams.model_validate(good)
    with pytest.raises(ValidationError):
        GenerateParams.model_validate(good | wrong)
