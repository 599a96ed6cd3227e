import pytest
from pydantic import ValidationError

from stages.memorization.params import FilterMemorizedParams

VALID = {
    "alpha": 0.05,
    "guarantee": "on_average",
    "thresholds": "pooled",
    "too_few": "stop",
    "by_group": True,
    "neighbours": 5,
    "shift_pixels": 1,
    "blurred_view": False,
    "backbone": None,
    "planted_copies": 50,
    "seed": 0,
    "device": "auto",
}


def test_valid_parameters_are_taken_as_they_are() -> None:
    assert FilterMemorizedParams(**VALID).model_dump() == VALID


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", 0),
        ("alpha", 1),
        ("alpha", float("nan")),
        ("guarantee", "certain"),
        ("thresholds", "none"),
        ("too_few", "ignore"),
        ("neighbours", 1),
        ("shift_pixels", -1),
        ("planted_copies", 1),
        ("seed", -1),
        ("device", "gpu"),
        ("threshold", 0.1),
    ],
)
def test_impossible_and_unknown_parameters_are_named(field: str, value: float) -> None:
    with pytest.raises(ValidationError) as error:
        FilterMemorizedParams(**(VALID | {field: value}))
    assert error.value.errors()[0]["loc"] == (field,)


@pytest.mark.parametrize("field", VALID)
def test_there_are_no_default_values(field: str) -> None:
    with pytest.raises(ValidationError, match="Field required"):
        FilterMemorizedParams(**{key: value for key, value in VALID.items() if key != field})
