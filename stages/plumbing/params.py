"""Reads params.yaml, checks all of it, and hands it out as frozen objects."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.comparison.params import EvaluateParams, GateParams
from stages.downstream.params import TrainDownstreamParams
from stages.gan.params import GenerateParams, TrainGanParams
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing.errors import UserError
from stages.sources.params import PrepareParams

PARAMS_FILE = Path("params.yaml")


class ParallelParams(BaseModel):
    """How replicates fan out. Changes no result: every process runs one thread, whatever their number.

    scheduler: address of a dask scheduler, empty where `backend` is loky.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: Literal["loky", "dask"]
    jobs: int = Field(ge=1)
    scheduler: str

    @model_validator(mode="after")
    def _a_cluster_has_an_address(self) -> Self:
        if (self.backend == "dask") != bool(self.scheduler):
            raise ValueError(
                "backend: dask needs the scheduler's address (scheduler: tcp://host:8786), and backend: loky none "
                '(scheduler: "")'
            )
        return self


class TrackingParams(BaseModel):
    """Where MLflow shows the runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: str = Field(min_length=1)
    registered_model: str = Field(min_length=1)


class Params(BaseModel):
    """The whole of params.yaml: one section per stage, and what all stages share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prepare: PrepareParams
    train_gan: TrainGanParams
    generate: GenerateParams
    filter_memorized: FilterMemorizedParams
    train_downstream: TrainDownstreamParams
    evaluate: EvaluateParams
    gate: GateParams
    parallel: ParallelParams
    tracking: TrackingParams

    def decisive(self) -> dict[str, Any]:
        """The sections that decide results, as plain values: not how work is spread, where it is shown or what CI
        demands of it."""
        return self.model_dump(mode="json", exclude={"gate", "parallel", "tracking"})

    @model_validator(mode="after")
    def _only_existing_arms_are_named(self) -> Self:
        arms, contrast = self.train_downstream.arms, self.evaluate.contrast
        named = {"contrast.arms": contrast.arms, "contrast.rivals": contrast.rivals}
        for field, names in (named | {"learning_curve": self.evaluate.learning_curve}).items():
            for name in names:
                if name not in arms:
                    raise ValueError(
                        f"evaluate.{field}: {name!r} is no arm of train_downstream.arms ({', '.join(arms)})"
                    )
        return self


def load(path: Path = PARAMS_FILE) -> Params:
    """Reads and checks the whole file, as YAML 1.2.

    Raises UserError naming every wrong key, its value and what is allowed.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stages from the project's root") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        lines = [_describe(each, raw) for each in error.errors()]
        raise UserError("\n".join([f"{path} is not valid:", *lines])) from None


def as_yaml(values: dict[str, Any]) -> str:
    """The values as they would stand in params.yaml."""
    text = io.StringIO()
    YAML().dump(values, text)
    return text.getvalue()


def _describe(error: Any, raw: Any) -> str:
    """One line for one wrong value: key, what is allowed, what was given."""
    key, message, given = ".".join(_key(error, raw)), error["msg"].removeprefix("Value error, "), error["input"]
    if error["type"] == "extra_forbidden":
        message = "unknown parameter"
    elif error["type"] == "union_tag_invalid":
        key, message, given = f"{key}.kind", f"must be one of {error['ctx']['expected_tags']}", error["ctx"]["tag"]
    elif error["type"] == "union_tag_not_found":
        key, message = f"{key}.kind", "Field required"
    given = "" if error["type"] in ("missing", "value_error", "union_tag_not_found") else f" (got {given!r})"
    return f"  {key}: {message}{given}" if key else f"  {message}{given}"


def _key(error: Any, raw: Any) -> Iterator[str]:
    """Where the error lies, as it stands in the file: pydantic puts the names of a union's alternatives in between."""
    here = raw
    for depth, part in enumerate(error["loc"], start=1):
        if isinstance(here, list) or (isinstance(here, dict) and part in here):
            here = here[part]
            yield str(part)
        elif error["type"] == "missing" and depth == len(error["loc"]):
            yield str(part)
