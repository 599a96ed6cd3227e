"""docs/parameters.md is what the schemas and the comments of presets/base.yaml say, and leaves nothing out."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from ruamel.yaml import YAML

from stages import parameter_table, presets
from stages.parameter_table import Row, describe, schema_of
from tests.conftest import ROOT

BASE = (ROOT / "presets/base.yaml").read_text()
BY_NAME = ("gate.least_detection", "prepare.labels_per_class", "prepare.validation_per_class")


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    listed = parameter_table.rows(BASE)
    table = {row.name: row for row in listed}
    assert len(table) == len(listed), "a parameter is listed twice"
    return table


def _leaves(value: Any, name: str) -> Iterator[str]:
    """Names of all values inside, as the table writes them."""
    named = name in ("train_downstream.arms", "train_gan.generators")
    if isinstance(value, dict) and name not in BY_NAME:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{'<name>' if named else key}".lstrip("."))
    elif name.endswith(".settings"):
        for setting in value:
            yield from _leaves(setting, f"{name}[]")
    else:
        yield name


def test_the_committed_page_is_what_the_generator_writes() -> None:
    committed = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert committed == parameter_table.page(BASE), "run `python -m stages.parameter_table`"


def test_no_parameter_lacks_a_type_or_an_explanation(rows: dict[str, Row]) -> None:
    assert [row.name for row in rows.values() if not row.kind or not row.explanation.strip()] == []


@pytest.mark.parametrize("preset", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_of_every_preset_has_its_row(preset: Path, rows: dict[str, Row]) -> None:
    text = presets.read(preset.stem)
    assert set(_leaves(YAML(typ="safe", pure=True).load(text), "")) - set(rows) == set()


def test_every_value_of_the_base_stands_there_as_written_and_under_its_own_comment(rows: dict[str, Row]) -> None:
    for name in set(_leaves(YAML(typ="safe", pure=True).load(BASE), "")):
        if "<name>" not in name:
            assert rows[name].default, name
            assert rows[name].default.strip("`") in re.sub(r"\s+", " ", BASE)
    assert rows["evaluate.bootstrap"].explanation.startswith("bootstrap resamples, crossed over replicates")
    assert rows["evaluate.bootstrap"].default == "`2000`"
    assert rows["parallel.scheduler"].default == '`""`'


def test_a_field_of_an_alternative_is_explained_by_its_schema_and_named_with_its_kind(rows: dict[str, Row]) -> None:
    assert rows["prepare.groups.pattern"].explanation.startswith("`pattern`: A regular expression")
    assert "`audio`" in rows["prepare.source.kind"].kind
    assert rows["prepare.source.mel_bands"].kind == "whole number, at least 8 and at most 256"
    loss_weight = rows["train_downstream.arms.<name>.settings[].loss_weight"]
    assert loss_weight.explanation.startswith("what a synthetic image counts")
    assert loss_weight.default == "`1.0` if left out"


def test_a_field_that_some_kinds_share_has_one_row_which_names_those_that_lack_it(rows: dict[str, Row]) -> None:
    steps = rows["train_gan.generators.<name>.steps"]
    assert steps.explanation == (
        "all but `gaussian` and `external` and `single_image` and `private_gaussian`: discriminator steps, each with "
        "one generator step; `single_image`: of all pyramids together, which take turns"
    )
    assert steps.default == "`1000`"
    rank = rows["train_gan.generators.<name>.rank"]
    assert (rank.explanation[:10], rank.default) == ("`gaussian`", "`64`"), "of the second generator of the base"
    assert "`image_conditioned`" in rows["train_gan.generators.<name>.kind"].kind
    reconstruction = rows["train_gan.generators.<name>.reconstruction"].explanation
    assert reconstruction.count("weight of") == 2, "one word for two things: each kind says its own"


def test_a_map_in_braces_has_the_comment_above_it_and_its_fields_have_their_own(rows: dict[str, Row]) -> None:
    assert rows["train_gan.generators.<name>.batches.balanced"].explanation.startswith("whether all classes are drawn")
    assert rows["train_gan.generators.<name>.batches.labelled_share"].default == "`null`"
    assert rows["train_gan.generators.<name>.objective.kind"].default == "`hinge`"


def test_indented_lines_of_a_comment_explain_the_fields_of_each_entry(rows: dict[str, Row]) -> None:
    assert rows["train_downstream.arms.<name>.real"].explanation == "whether real labelled images are trained on"
    assert rows["train_downstream.arms.<name>.balancing"].explanation.endswith("fill up the rare classes)")
    assert "{" not in rows["train_downstream.arms.<name>.settings"].explanation


class _Part(BaseModel):
    """A part."""


class _Schema(BaseModel):
    """Fields of every form."""

    words: Literal["a", "b", "c"]
    share: float = Field(gt=0, lt=1)
    many: int = Field(ge=1_000)
    maybe: float | None = Field(ge=0.5, le=1)
    texts: tuple[Annotated[str, Field(min_length=1)], ...]
    some: list[Literal["x", "y"]] = Field(min_length=2, max_length=4)
    shares: dict[str, Annotated[float, Field(le=1)]]
    either: bool | str
    part: _Part | None


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("words", "`a`, `b` or `c`"),
        ("share", "number, above 0 and below 1"),
        ("many", "whole number, at least 1,000"),
        ("maybe", "number, at least 0.5 and at most 1; or null"),
        ("texts", "list of text, not empty"),
        ("some", "list of `x` or `y`, of length 2 or more and of length 4 or less"),
        ("shares", "mapping from text to number, at most 1"),
        ("either", "true or false or text"),
        ("part", "section or null"),
    ],
)
def test_types_and_bounds_are_told_in_plain_words(field: str, words: str) -> None:
    assert describe(schema_of(_Schema)["properties"][field]) == words


def test_a_bar_in_a_pattern_parts_no_columns() -> None:
    lines = [line for line in parameter_table.page(BASE).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter_table, "BASE", ROOT / "presets/base.yaml")
    monkeypatch.setattr(parameter_table, "PAGE", tmp_path / "parameters.md")
    parameter_table.main()
    assert (tmp_path / "parameters.md").read_text(encoding="utf-8") == parameter_table.page(BASE)
