import pytest
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"contrast": {"arms": [], "rivals": ["classic"], "measure": "accuracy"}}, "at least 1 item"),
        ({"contrast": {"arms": ["gan"], "rivals": [], "measure": "accuracy"}}, "at least 1 item"),
        ({"contrast": {"arms": ["gan"], "rivals": ["gan"], "measure": "accuracy"}}, "gan is repeated"),
        ({"contrast": {"arms": ["a", "a"], "rivals": ["b"], "measure": "accuracy"}}, "a is repeated"),
        ({"contrast": {"arms": ["gan"], "rivals": ["b"], "measure": "auc"}}, "'accuracy', 'balanced_accuracy'"),
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
