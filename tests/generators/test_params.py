"""What a user may write about generators, and what is refused in words."""

from typing import Any

import pytest
from pydantic import ValidationError

from stages.generators.params import KINDS, GenerateParams, TrainGanParams
from stages.generators.registry import kind
from tests.generators.toy import ADVERSARIAL, RELATIVISTIC, toy_params


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_has_a_module_and_a_section_that_comes_back_from_json(name: str) -> None:
    assert kind(name).__module__ == f"stages.generators.kinds.{name}"
    section = toy_params(name)
    assert section.kind == name
    assert _read({"gan": section.model_dump(mode="json")}).generators["gan"] == section


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_described(name: str) -> None:
    assert (type(toy_params(name)).__doc__ or "").startswith(f"{KINDS[name][1]}.")


@pytest.mark.parametrize("name", KINDS)
def test_no_field_has_a_default_value_and_none_is_passed_over(name: str) -> None:
    whole = toy_params(name).model_dump(mode="json")
    for field in whole.keys() - {"kind"}:
        without = {key: value for key, value in whole.items() if key != field}
        with pytest.raises(ValidationError, match="Field required"):
            _read({"gan": without})
    with pytest.raises(ValidationError, match="Extra inputs"):
        _read({"gan": whole | {"seeds": 1}})


def _read(generators: dict[str, Any]) -> TrainGanParams:
    return TrainGanParams.model_validate({"seed": 0, "device": "cpu", "deterministic": False, "generators": generators})


def test_generators_have_names_and_there_is_one_at_least() -> None:
    section = toy_params("gaussian").model_dump(mode="json")
    assert list(_read({"one": section, "an_other2": section}).generators) == ["one", "an_other2"]
    for names in ([], ["Upper"], ["with space"], ["a/b"], ["2nd"], [""]):
        with pytest.raises(ValidationError):
            _read(dict.fromkeys(names, section))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 1},
        {"ema_decay": 1.0},
        {"width": 4},
        {"generator_learning_rate": 0},
        {"objective": {"kind": "hinge", "margin": 1.0, "gradient_penalty": 1.0}},
        {"objective": {"kind": "hinge", "margin": 0.0}},
        {"augment": {"policies": ["rotation"], "limit": 0.5}},
        {"samples_every": 0},
        {"batches": {"labelled_share": 0, "balanced": False}},
        {"batches": {"labelled_share": 1.5, "balanced": False}},
        {"labels": "soft"},
        {"precision": "float16"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_wrong_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        toy_params(**wrong)


def test_a_kind_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValidationError, match="'gaussian', 'external', 'projection'"):
        _read({"gan": toy_params().model_dump(mode="json") | {"kind": "diffusion"}})


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_compiling_what_is_differentiated_twice_is_refused_in_words(name: str) -> None:
    assert toy_params(name, compile=True).compile
    with pytest.raises(ValidationError, match=r"compile: true goes with objective: {kind: hinge} alone"):
        toy_params(name, compile=True, objective=RELATIVISTIC)


@pytest.mark.parametrize("name", ["translation", "refiner", "single_image"])
def test_kinds_that_the_compiler_stumbles_on_are_not_compiled(name: str) -> None:
    with pytest.raises(ValidationError, match=f"compile: true does not go with kind: {name}"):
        toy_params(name, compile=True)


@pytest.mark.parametrize(("name", "path"), [("external", "data/raw/none"), ("projection", "data/raw/mine")])
def test_only_external_images_have_a_folder_and_they_need_one(name: str, path: str) -> None:
    with pytest.raises(ValidationError, match=f"path: {path} is for kind: external"):
        toy_params(name, path=path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"truncation": 0},
        {"truncation": 1.1},
        {"candidates": 0},
        {"candidates": 3},
        {"device": "tpu"},
        {"plan": {"kind": "balance", "factor": 2}},
        {"plan": {"kind": "double", "factor": 2}},
        {"plan": {"kind": "factor", "factor": []}},
        {"seeds": 1},
    ],
)
def test_wrong_parameters_of_generate_are_refused(wrong: dict[str, object]) -> None:
    good = {"seed": 0, "device": "cpu", "truncation": 1.0, "candidates": 1, "scores": False}
    good |= {"plan": {"kind": "balance", "per_class": 5}}
    GenerateParams.model_validate(good)
    with pytest.raises(ValidationError):
        GenerateParams.model_validate(good | wrong)
