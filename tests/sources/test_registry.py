"""Kinds of sources, looked up by name."""

from pathlib import Path
from typing import get_args

import pytest

from stages.plumbing import code
from stages.sources import registry
from stages.sources.params import AnySource, NoSource


def test_a_stage_depends_on_no_kind_but_the_one_that_dvc_yaml_names() -> None:
    assert not [path for path in code.closure(Path("stages/prepare.py")) if "kinds" in path.parts]


@pytest.mark.parametrize("section", get_args(AnySource))
def test_every_kind_of_the_schema_has_its_module(section: type) -> None:
    kind = get_args(section.model_fields["kind"].annotation)[0]  # type: ignore[attr-defined]
    module = registry._kind(section.model_construct(kind=kind))  # type: ignore[attr-defined]
    assert module.__name__.endswith(f".{kind}")
    assert callable(module.find)
    assert callable(module.read)


def test_no_source_has_no_images() -> None:
    nothing = NoSource(kind="none", path="data/raw/none")
    assert len(registry.find(nothing)) == 0
    assert list(registry.read(nothing, [])) == []
