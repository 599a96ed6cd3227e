"""params.yaml is checked as a whole before any work starts, and says what is wrong where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.plumbing import params
from stages.plumbing.errors import UserError
from tests.conftest import DEFAULT_PARAMS, edit_params
from tests.generators.toy import toy_params

GAN = "train_gan.generators.gan."


@pytest.fixture
def refuse(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    def message(changes: dict[str, Any]) -> str:
        (tmp_path / "params.yaml").write_text(DEFAULT_PARAMS.read_text())
        edit_params(tmp_path, changes)
        with pytest.raises(UserError) as error:
            params.load(tmp_path / "params.yaml")
        return str(error.value)

    return message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_gan.stepz": 5}, ["train_gan.stepz", "unknown parameter"]),
        ({GAN + "stepz": 5}, [GAN + "stepz", "unknown parameter"]),
        ({GAN + "steps": "many"}, [GAN + "steps", "integer", "'many'"]),
        ({GAN + "steps": 0}, [GAN + "steps", "greater than or equal to 1", "0"]),
        ({GAN + "kind": "projektion"}, [GAN + "kind", "'projection'", "'projektion'"]),
        ({"train_gan.device": "gpu"}, ["train_gan.device", "'cuda'", "'gpu'"]),
        ({"train_gan.generators": {}}, ["train_gan.generators", "at least 1"]),
        (
            {"train_downstream.arms.gan.images": "data/filter_memorized/gann"},
            ["train_downstream.arms.gan.images", "'gann'", "gan, gaussian"],
        ),
        ({"prepare.replicates": 0}, ["prepare.replicates", "greater than or equal to 1"]),
        ({"prepare.labels_per_class": -1}, ["prepare.labels_per_class", "greater than or equal to 1"]),
        ({"prepare.test_share": 1.0}, ["prepare.test_share", "less than 1"]),
        ({"prepare.source.kind": "digitz"}, ["prepare.source.kind", "'digits'", "'digitz'"]),
        ({"filter_memorized.alpha": 0}, ["filter_memorized.alpha", "greater than 0"]),
        ({"filter_memorized.alpha": 1}, ["filter_memorized.alpha", "less than 1"]),
        ({"generate.truncation": 0}, ["generate.truncation", "greater than 0"]),
        ({"generate.candidates": 3}, ["generate.candidates", "1, 2, 4, 8 or 16", "3"]),
        ({"train_downstream.arms": {}}, ["train_downstream.arms", "at least 1"]),
        ({"train_downstream.classifier.steps": None}, ["train_downstream.classifier.steps", "integer"]),
        ({"evaluate.augment.rivals": ["clasic"]}, ["evaluate.augment.rivals", "'clasic'", "classic"]),
        ({"evaluate.stand_in.arms": ["gan_classic"]}, ["evaluate.stand_in.arms: gan_classic has real: true"]),
        ({"evaluate.augment.arms": ["synthetic_only"]}, ["evaluate.augment.arms: synthetic_only has real: false"]),
        ({"evaluate.augment.arms": ["classic"]}, ["evaluate.augment", "classic is repeated"]),
        ({"evaluate.augment.arms": [], "evaluate.stand_in.arms": []}, ["evaluate", "name an arm in one of them"]),
        ({"evaluate.measure": "acuracy"}, ["evaluate.measure", "'auroc'", "'acuracy'"]),
        (
            {"evaluate.measure": {"sensitivity_at_specificity": 1.5, "of": "3"}},
            ["evaluate.measure.sensitivity_at_specificity", "less than 1", "1.5"],
        ),
        ({"evaluate.measure": {"sensitivity_at_specificity": 0.9}}, ["evaluate.measure.of: Field required"]),
        ({"evaluate.learning_curve": ["real", "clasic"]}, ["evaluate.learning_curve", "'clasic'", "classic"]),
        (
            {"train_downstream.arms.classic.labels": {"per_class": 3}},
            ["train_downstream.arms.classic.labels: an arm that is compared needs labels: all", "per_class: 3"],
        ),
        ({"train_downstream.arms.classic.settings": [[]]}, ["train_downstream.arms.classic.settings.0", "[]"]),
        ({"parallel.jobs": 0}, ["parallel.jobs", "greater than or equal to 1"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    refuse: Callable[[dict[str, Any]], str], changes: dict[str, Any], words: list[str]
) -> None:
    message = refuse(changes)
    assert "params.yaml is not valid" in message
    assert all(word in message for word in words), message
    assert "pydantic" not in message


def test_every_wrong_value_is_told_at_once(refuse: Callable[[dict[str, Any]], str]) -> None:
    message = refuse({GAN + "steps": 0, "filter_memorized.alpha": 2, "evaluate.margin": -1})
    assert len(message.splitlines()) == 4


def test_missing_and_broken_files_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("prepare: {seed: 0\n")
    with pytest.raises(UserError, match="not valid YAML"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [ls]",
        "a: 2001-99-99",
        "a: !!bool x",
        "a: " + "9" * 5000,
        "[" * 500,
        "{{a: 1}: 2}",
        "a: \x00",
    ],
    ids=lambda text: text[:12],
)
def test_what_yaml_stumbles_on_is_told_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="not valid YAML: ") as error:
        params.load(tmp_path / "params.yaml")
    assert str(error.value).isprintable()


def test_bytes_that_are_no_text_and_folders_are_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        params.load(tmp_path)
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"not valid YAML: .*can't decode byte 0xff"):
        params.load(tmp_path / "params.yaml")


def test_values_are_shown_short_and_without_control_characters(
    tmp_path: Path, refuse: Callable[[dict[str, Any]], str]
) -> None:
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))  # 9 ** 9 values
    (tmp_path / "params.yaml").write_text(f"a0: &a0 [{', '.join('x' * 9)}]\n{laughs}prepare: *a8\n")
    with pytest.raises(UserError) as error:
        params.load(tmp_path / "params.yaml")
    assert len(str(error.value)) < 5000
    message = refuse({"train_gan": {"\x1b[2J": 5, "steps": "\x1b[2J" * 1000}})
    assert "\x1b" not in message
    assert len(message) < 5000


@pytest.mark.parametrize("pattern", ["(a{99999999999})", "(" * 3000 + ")" * 3000])
def test_a_pattern_that_re_cannot_hold_is_told_in_words(refuse: Callable[[dict[str, Any]], str], pattern: str) -> None:
    assert "too large" in (message := refuse({"prepare.groups": {"kind": "pattern", "pattern": pattern}})) or (
        "recursion" in message
    )


@pytest.mark.parametrize("old", ["train_gan: {family: projection}", "generate: {external: data/raw/none}"])
def test_a_file_of_the_former_layout_gets_one_message_that_says_what_to_do(tmp_path: Path, old: str) -> None:
    (tmp_path / "params.yaml").write_text(f"{old}\nprepare: {{seed: 0}}\n")
    with pytest.raises(UserError, match=r"former layout.*`make preset .*train_gan.generators.gan.kind") as error:
        params.load(tmp_path / "params.yaml")
    assert "not valid" not in str(error.value)


def test_numbers_are_read_as_yaml_1_2(tmp_path: Path) -> None:
    text = DEFAULT_PARAMS.read_text()
    (tmp_path / "params.yaml").write_text(text.replace("weight_decay: 0.01", "weight_decay: 3e-05"))
    assert params.load(tmp_path / "params.yaml").train_downstream.classifier.weight_decay == 3e-5


def test_the_file_is_what_the_schema_says() -> None:
    loaded = params.load(DEFAULT_PARAMS)
    raw = YAML(typ="safe", pure=True).load(DEFAULT_PARAMS)
    assert set(loaded.model_dump()) == set(raw)


@pytest.mark.parametrize("kind", ["private_gaussian", "private_features", "private_gan"])
def test_no_teacher_chooses_among_images_with_a_privacy_budget(
    refuse: Callable[[dict[str, Any]], str], kind: str
) -> None:
    generators = {"gan": toy_params(kind).model_dump(), "gaussian": toy_params("gaussian").model_dump()}
    message = refuse({"train_gan.generators": generators, "generate.candidates": 2})
    assert "generate.candidates: 2 does not go with train_gan.generators.gan" in message
    assert "privacy budget" in message
