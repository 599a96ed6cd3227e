"""A JSON artifact with one damaged key or value is refused in words wherever its form tells."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from stages.plumbing import workdir
from stages.plumbing.artifacts import ArmFacts, FilterMetrics, GanMetrics, PrepareMetrics
from stages.plumbing.errors import UserError
from tests.comparison.conftest import make_privacy

__all__ = ["make_privacy"]  # a fixture
ARM = {
    "settings": [{"synthetic_share": 0.5}, {"synthetic_share": 0.9}],
    "chosen": 1,
    "validation": [0.7, 0.8],
    "validation_scores": [0.9, None],
    "labels": "all",
    "labels_used": 100,
    "trained_on_labels": 100,
    "synthetic_images": 998,
    "pseudo_labels": 0,
    "steps": 300,
    "history": {"0": [{"loss": 2.5, "step": 15}]},
}
PREPARE = {
    "read": 5,
    "images": 4,
    "ignored": {"not an image": 1},
    "notes": ["1 file passed over: not an image"],
    "replicates": 2,
    "checks": {"leak": {"images": 1, "dropped": 1}},
    "roles": {"test": {"cat": 2, "all": 2}},
}
GAN = {"steps": 20, "replicates": {"0": {"recall": 0.8}}}
NAMED_FREELY = {"ignored", "checks", "roles", "test", "replicates", "0", "classes", "copied", "planted"}
FREE_INSIDE = {"settings", "history"}


@pytest.fixture
def artifacts(make_privacy: Any) -> dict[type[BaseModel], dict[str, Any]]:
    own = {"images": 100, "resembling": 4, "share": 0.04, "low": 0.01, "high": 0.1, "publishable": 1}
    filtered = make_privacy(["cat", "dog"]) | {"labels_used": 0, "own_source": own}
    return {PrepareMetrics: PREPARE, GanMetrics: GAN, FilterMetrics: filtered, ArmFacts: ARM}


def read(folder: Path, form: type[BaseModel], value: Any) -> Any:
    path = folder / "artifact.json"
    path.write_text(json.dumps(value))
    return workdir.read_json(path, form)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every key of nested dictionaries and lists lies."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*above, key)
            yield from places(inner, (*above, key))


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def test_whole_artifacts_come_back_as_plain_values(artifacts: Any, tmp_path: Path) -> None:
    for form, value in artifacts.items():
        assert read(tmp_path, form, value) == value


def test_a_key_with_a_flipped_letter_is_refused(artifacts: Any, tmp_path: Path) -> None:
    refused = 0
    for form, value in artifacts.items():
        for *above, key in places(value):
            named_freely = set(above[-1:]) & NAMED_FREELY or set(above) & FREE_INSIDE
            if isinstance(key, str) and not named_freely:
                damaged = copy.deepcopy(value)
                parent = at(damaged, tuple(above))
                parent[chr(ord(key[0]) ^ 1) + key[1:]] = parent.pop(key)
                with pytest.raises(UserError, match=r"artifact\.json is damaged"):
                    read(tmp_path, form, damaged)
                refused += 1
    assert refused > 60


@pytest.mark.parametrize(
    ("form", "place", "value"),
    [
        (PrepareMetrics, ("checks", "leak", "images"), -1),
        (GanMetrics, ("replicates", "0"), [0.5]),
        (FilterMetrics, ("dropped_share",), 1.5),
        (FilterMetrics, ("planted", "exact", "auc"), "1,0"),
        (FilterMetrics, ("own_source", "publishable"), 2),
        (ArmFacts, ("chosen",), 2),
        (ArmFacts, ("validation",), [0.7]),
        (ArmFacts, ("labels",), "train"),
    ],
)
def test_an_impossible_value_is_refused(
    artifacts: Any, tmp_path: Path, form: type[BaseModel], place: tuple[str, ...], value: Any
) -> None:
    damaged = copy.deepcopy(artifacts[form])
    at(damaged, place[:-1])[place[-1]] = value
    with pytest.raises(UserError, match=r"artifact\.json is damaged"):
        read(tmp_path, form, damaged)
