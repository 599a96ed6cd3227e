import pytest
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"augment": {"arms": ["gan"], "rivals": []}}, "at least 1 item"),
        ({"augment": {"arms": ["gan"], "rivals": ["gan"]}}, "gan is repeated"),
        ({"stand_in": {"arms": ["a", "a"], "rivals": ["b"]}}, "a is repeated"),
        ({"augment": {"arms": [], "rivals": ["classic"]}}, "name an arm in one of them"),
        ({"measure": "auc"}, "'accuracy', 'balanced_accuracy', 'macro_f1' or 'auroc'"),
        ({"measure": {"sensitivity_at_specificity": 1, "of": "dog"}}, "less than 1"),
        ({"measure": {"specificity": 0.9, "of": "dog"}}, "Field required"),
        ({"leak_margin": 0.5}, "less than 0.5"),
        ({"licence": ""}, "at least 1 character"),
        ({"learning_curve": ["classic"]}, "two arms or more"),
        ({"learning_curve": ["classic", "classic"]}, "each named once"),
        ({"robustness": ["fog"]}, "'gaussian_noise', 'gaussian_blur'"),
        ({"confidence": 1.0}, "less than 1"),
        ({"margin": 0.0}, "greater than 0"),
        ({"bootstrap": 10}, "greater than or equal to 100"),
        ({"markup": 1}, "Extra inputs"),
    ],
)
def test_bad_values_are_refused_in_words(make_params, change, complaint):
    with pytest.raises(ValidationError, match=complaint):
        make_params(**change)


def test_every_field_must_be_stated(make_params):
    fields = make_params().model_dump()
    for name in fields:
        with pytest.raises(ValidationError, match="Field required"):
            type(make_params()).model_validate({k: v for k, v in fields.items() if k != name})


def test_arms_and_rivals_of_both_questions_are_named_once_and_those_of_none_left_out(make_params):
    both = make_params(
        augment={"arms": ["gan"], "rivals": ["classic", "pool"]},
        stand_in={"arms": ["only"], "rivals": ["pool", "real"]},
    )
    assert both.arms == ("gan", "only")
    assert both.rivals == ("classic", "pool", "real")
    assert both.reference == "classic"
    assert both.pairs == [("gan", "classic"), ("gan", "pool"), ("only", "pool"), ("only", "real")]
    alone = make_params(
        augment={"arms": [], "rivals": ["classic"]}, stand_in={"arms": ["only"], "rivals": ["pool", "real"]}
    )
    assert list(alone.questions) == ["stand_in"]
    assert (alone.reference, alone.pairs) == ("pool", [("only", "pool"), ("only", "real")])


def test_a_measure_has_one_key(make_params):
    assert make_params().measure_key == "accuracy"
    sensitivity = {"sensitivity_at_specificity": 0.95, "of": "dog"}
    assert make_params(measure=sensitivity).measure_key == "sensitivity_at_specificity"
