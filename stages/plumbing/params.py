"""Reads params.yaml, checks all of it, and hands it out as frozen objects."""

import io
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.comparison.params import EvaluateParams, GateParams
from stages.downstream.params import LabelBudget, TrainDownstreamParams
from stages.generators.params import GenerateParams, PrivateParams, TrainGanParams
from stages.memorization.params import FilterMemorizedParams
from stages.plumbing.errors import UserError
from stages.sources.params import PrepareParams

PARAMS_FILE = Path("params.yaml")
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


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
    def _only_existing_generators_are_named(self) -> Self:
        generators = self.train_gan.generators
        for name, arm in self.train_downstream.arms.items():
            for each in arm.generators:
                if each not in generators:
                    raise ValueError(
                        f"train_downstream.arms.{name}.images: {each!r} is no generator of train_gan.generators "
                        f"({', '.join(generators)})"
                    )
        return self

    @model_validator(mode="after")
    def _no_teacher_chooses_where_a_budget_is_kept(self) -> Self:
        for name, section in self.train_gan.generators.items():
            if isinstance(section, PrivateParams) and self.generate.candidates > 1:
                raise ValueError(
                    f"generate.candidates: {self.generate.candidates} does not go with train_gan.generators.{name}, of "
                    f"kind: {section.kind}: the teacher who chooses learned from the labelled images without any "
                    "privacy budget; set it to 1"
                )
        return self

    @model_validator(mode="after")
    def _only_existing_arms_are_named(self) -> Self:
        arms, evaluate = self.train_downstream.arms, self.evaluate
        named = {
            f"{question}.{field}": getattr(getattr(evaluate, question), field)
            for question in ("augment", "stand_in")
            for field in ("arms", "rivals")
        }
        for field, names in (named | {"learning_curve": evaluate.learning_curve}).items():
            for name in names:
                if name not in arms:
                    raise ValueError(
                        f"evaluate.{field}: {name!r} is no arm of train_downstream.arms ({', '.join(arms)})"
                    )
        return self

    @model_validator(mode="after")
    def _questions_are_fair(self) -> Self:
        """Equal labels in every contrast, and real images in none of the arms that are to do without."""
        arms, evaluate = self.train_downstream.arms, self.evaluate
        for question, section in (("augment", evaluate.augment), ("stand_in", evaluate.stand_in)):
            for name in section.named:
                labels = arms[name].labels
                if isinstance(labels, LabelBudget):
                    raise ValueError(
                        f"train_downstream.arms.{name}.labels: an arm that is compared needs labels: all, so that all "
                        f"have the same labels, not per_class: {labels.per_class}; budgets are for "
                        "evaluate.learning_curve"
                    )
            for name in section.arms:
                if arms[name].real == (question == "stand_in"):
                    raise ValueError(
                        f"evaluate.{question}.arms: {name} has real: {str(arms[name].real).lower()}, but augment asks "
                        "of arms with real: true, and stand_in of arms with real: false"
                    )
        return self


def load(path: Path = PARAMS_FILE) -> Params:
    """Reads and checks the whole file, as YAML 1.2.

    Raises UserError naming every wrong key, its value and what is allowed.
    """
    raw = _parse(path)
    _refuse_former_layout(path, raw)
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        lines = [_printable(_describe(each, raw)) for each in error.errors()]
    except (OverflowError, RecursionError) as error:  # `re` lets these through when it compiles a pattern
        lines = [f"  {error}"]
    raise UserError("\n".join([f"{path} is not valid:", *lines]))


def _parse(path: Path) -> Any:
    """What the file holds. Raises UserError when it cannot be read or is no YAML."""
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stages from the project's root") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except YAMLError as error:
        reason = str(error)
    except Exception as error:  # of any kind: ruamel lets through whatever its constructors stumble on
        reason = f"{type(error).__name__}: {error}"
    raise UserError(f"{path} is not valid YAML: {_printable(' '.join(reason.split()))}")


def _refuse_former_layout(path: Path, raw: Any) -> None:
    """Raises UserError for a file from before generators had names, in which nearly every key would be wrong."""
    train_gan, generate = (raw.get(name) if isinstance(raw, dict) else None for name in ("train_gan", "generate"))
    if any(isinstance(each, dict) and key in each for each, key in ((train_gan, "family"), (generate, "external"))):
        raise UserError(
            f"{path} is of the former layout, in which there was one generator without a name: "
            "`make preset NAME=digits_pool` (or another) writes a new one. Your values: train_gan.family is "
            "train_gan.generators.gan.kind now, and the rest of train_gan, but for seed and device, lies under "
            "train_gan.generators.gan too; generate.external is the path of a generator of kind: external; arms say "
            "images: data/filter_memorized/gan"
        )


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
    given = "" if error["type"] in ("missing", "value_error", "union_tag_not_found") else f" (got {_shown(given)})"
    return f"  {key}: {message}{given}" if key else f"  {message}{given}"


def _key(error: Any, raw: Any) -> Iterator[str]:
    """Where the error lies, as it stands in the file: pydantic puts the names of a union's alternatives in between."""
    here = raw
    for depth, part in enumerate(error["loc"], start=1):
        if (isinstance(here, list) and isinstance(part, int)) or (isinstance(here, dict) and part in here):
            here = here[part]
            yield str(part)
        elif error["type"] == "missing" and depth == len(error["loc"]):
            yield str(part)


def _shown(value: Any) -> str:
    """The value as Python writes it, cut short: a few lines of YAML with aliases may stand for any amount."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number of very many digits"


def _printable(text: str) -> str:
    """The text with escapes in place of what would steer a terminal or cannot be written to one."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
