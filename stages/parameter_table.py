"""Writes docs/parameters.md, a table of every parameter: `python -m stages.parameter_table`.

Names, types, bounds and the fields of every alternative come from the schemas; defaults and explanations from
presets/base.yaml, where a comment explains the key below it. What has no comment, such as the fields of a kind of
source that the base does not use, the schema's docstring explains: in the part that begins with `field:`, or else in
what stands before any such part.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node

from stages.plumbing.params import Params

BASE = Path("presets/base.yaml")
PAGE = Path("docs/parameters.md")
_PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_HEAD = """\
# Parameters

Every field of `params.yaml`: what it may be, its value in `presets/base.yaml`, and what it means. Shares lie between
0 and 1. `<name>` stands for a name of your own, `[]` for each entry of a list. There is no default where the base holds
no such field: an arm states all of its own, and so does an alternative that the base does not take.

`python -m stages.parameter_table` writes this page from the schemas (`stages/*/params.py`) and the comments of
`presets/base.yaml`; a test holds it against them. Change those, not this page.
"""


@dataclass(frozen=True)
class Row:
    """One parameter, or a group of them: dotted name, type and range, value in the base, meaning; all in Markdown."""

    name: str
    kind: str
    default: str
    explanation: str


@dataclass(frozen=True)
class _Entry:
    """What the base says of a key: its value as written there, and the comment above it."""

    value: str
    comment: str


Entries = Mapping[str, _Entry]
Models = Sequence[type[BaseModel]]


def page(base: str) -> str:
    """The text of docs/parameters.md, given that of presets/base.yaml."""
    entries, parts = _entries(base), [_HEAD]
    for section, field in Params.model_fields.items():
        lines = [
            f"| `{row.name}` | {row.kind} | {row.default} | {row.explanation} |"
            for row in _rows(_models(field.annotation), section, entries)
        ]
        comment = [entries[section].comment, ""] if entries[section].comment else []
        head = ["| parameter | type and range | default | meaning |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {section}", "", *comment, *head, *lines, ""]))
    return "\n".join(parts)


def rows(base: str) -> list[Row]:
    """All rows of the page, given the text of presets/base.yaml."""
    entries, sections = _entries(base), Params.model_fields.items()
    return [row for section, field in sections for row in _rows(_models(field.annotation), section, entries)]


def _rows(models: Models, above: str, entries: Entries) -> Iterator[Row]:
    """The rows of one section, or of the alternatives that may take its place, and of all that lies inside."""
    for name in dict.fromkeys(name for model in models for name in model.model_fields):
        owners = [model for model in models if name in model.model_fields]
        # A field that all alternatives have is one parameter; any other belongs to its alternative.
        for group in [owners] if len(owners) == len(models) else [[owner] for owner in owners]:
            path, field = f"{above}.{name}", group[0].model_fields[name]
            inner = _models(field.annotation)
            comment = entries[path].comment if path in entries else ""
            yield Row(
                name=path,
                kind=_either([describe(owner.model_fields[name]) for owner in group]),
                default="" if inner else _default(path, field, entries),
                explanation=(comment or _of_schemas(group, name, len(models), inner)).replace("|", "\\|"),
            )
            yield from _rows(inner, f"{path}{_place(field.annotation)}", entries)


def describe(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    """A type with its bounds in plain words; `annotation` is a type or a field, `bounds` what stands beside it."""
    if isinstance(annotation, FieldInfo):
        return describe(annotation.annotation, annotation.metadata)
    origin, inner = get_origin(annotation), get_args(annotation)
    limits = [part for each in bounds for part in (each.metadata if isinstance(each, FieldInfo) else [each])]
    if origin is Annotated:
        return describe(inner[0], [*annotation.__metadata__, *limits])
    if origin is Literal:
        return _either([f"`{value}`" for value in inner])
    if origin in (Union, UnionType):
        return _either([describe(each, limits) for each in inner])
    if origin in (list, tuple):
        return f"list of {describe(inner[0])}{_limits(limits)}"
    if origin is dict:
        return f"mapping from {describe(inner[0])} to {describe(inner[1])}{_limits(limits)}"
    if annotation is NoneType:
        return "null"
    return ("section" if _is_model(annotation) else _PLAIN[annotation]) + _limits(limits)


def _limits(bounds: Sequence[Any]) -> str:
    """Bounds in words, after a comma; empty without any."""
    words = []
    for bound in bounds:
        match bound:
            case Ge(ge=limit):
                words.append(f"at least {limit:,}")
            case Gt(gt=limit):
                words.append(f"above {limit:,}")
            case Le(le=limit):
                words.append(f"at most {limit:,}")
            case Lt(lt=limit):
                words.append(f"below {limit:,}")
            case MinLen(min_length=1):
                words.append("not empty")
            case MinLen(min_length=least):
                words.append(f"of length {least} or more")
            case MaxLen(max_length=most):
                words.append(f"of length {most} or less")
            case _ if pattern := getattr(bound, "pattern", None):
                words.append(f"matching `{pattern}`")
    return f", {' and '.join(words)}" if words else ""


def _either(words: Sequence[str]) -> str:
    """a; a or b; a, b or c: each once, and parted by more than a comma where they have commas themselves."""
    *most, last = dict.fromkeys(words)
    if any(", " in word for word in (*most, last)):
        return "; or ".join([*most, last])
    return f"{', '.join(most)} or {last}" if most else last


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _models(annotation: Any) -> Models:
    """The schemas of what lies inside a value, of all its alternatives; none for a plain one."""
    if _is_model(annotation):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _place(annotation: Any) -> str:
    """How the name of what lies inside goes on after that of the value itself."""
    return {dict: ".<name>", list: "[]", tuple: "[]"}.get(get_origin(annotation), "")


def _default(path: str, field: FieldInfo, entries: Entries) -> str:
    if path in entries and entries[path].value:
        return f"`{entries[path].value}`"
    return "" if field.is_required() else f"`{json.dumps(field.default)}` if left out"


def _of_schemas(owners: Models, field: str, alternatives: int, inner: Models) -> str:
    """What the schemas say of a field that its owners, some of so many alternatives, have; or of what lies inside."""
    parts = _parts(owners[0])
    if inner and field not in parts:
        return " ".join(f"{_named(model)}{_parts(model)['']}" for model in inner)
    return f"{_named(owners[0]) if len(owners) < alternatives else ''}{parts.get(field, parts[''])}"


def _named(model: type[BaseModel]) -> str:
    """The kind that an alternative is told by, as the beginning of a sentence; empty where there is none."""
    kind = model.model_fields.get("kind")
    options = get_args(kind.annotation) if kind else ()
    return f"`{options[0]}`: " if len(options) == 1 else ""


def _parts(model: type[BaseModel]) -> dict[str, str]:
    """The docstring's parts `field: ...` by field, and what stands before them under an empty name."""
    text = " ".join(inspect.cleandoc(model.__doc__ or "").split())
    general, *parts = re.split(rf"(?:^|(?<=\. ))({'|'.join(model.model_fields)}): ", text)
    names, texts = ["", *parts[::2]], [general, *parts[1::2]]
    return {name: text.strip() for name, text in zip(names, texts, strict=True)}


def _entries(base: str) -> Entries:
    """What the base says, by dotted key."""
    return dict(_walk(YAML(typ="safe", pure=True).compose(base), "", base))


def _walk(node: Node | None, above: str, base: str) -> Iterator[tuple[str, _Entry]]:
    lines = base.split("\n")
    for key, value in node.value if isinstance(node, MappingNode) else []:
        path, comment = f"{above}{key.value}", _comment(lines, key.start_mark.line)
        source = base[value.start_mark.index : value.end_mark.index]
        yield path, _Entry(" ".join(source.split()), " ".join(line for line in comment if line[:1] != " "))
        yield from ((f"{path}.<name>.{name}", _Entry("", text)) for name, text in _indented(comment))
        yield from _walk(value, f"{path}.", base)


def _comment(lines: Sequence[str], number: int) -> list[str]:
    """The comment right above a line, from its first line on, without marks."""
    first = number
    while first > 0 and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return [line.lstrip().removeprefix("#").removeprefix(" ") for line in lines[first:number]]


def _indented(comment: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and texts of the lines `  name: text` of a comment, which explain what entries of the key consist of.

    A text may go on in deeper lines, up to the first example in braces: those the schemas explain.
    """
    text = "\n".join(comment)
    for name, words in re.findall(r"^  (\w+): (.*(?:\n    +[^ {].*)*)", text, re.MULTILINE):
        yield name, " ".join(words.split()).rstrip(":")


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(BASE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
