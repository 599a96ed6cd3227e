"""Writes docs/parameters.md, a table of every parameter: `python -m stages.parameter_table`.

Names, types, bounds and the fields of every alternative come from the schemas; defaults and explanations from
presets/base.yaml, where a comment explains the key below it. What has no comment, such as the fields of a kind that
the base does not use, the schema's docstring explains: in the part that begins with `field:`, or else in what stands
before any such part; so does it where the alternatives of a section say different things of a field that they share.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node

from stages.plumbing.params import Params

BASE = Path("presets/base.yaml")
PAGE = Path("docs/parameters.md")
_HEAD = """\
# Parameters

Every field of `params.yaml`: what it may be, its value in `presets/base.yaml`, and what it means. Shares lie between
0 and 1. `<name>` stands for a name of your own, `[]` for each entry of a list; the value is that of the base's first
entry that has the field. There is no default where the base holds no such field: an arm states all of its own, and so
does an alternative that the base does not take.

`python -m stages.parameter_table` writes this page from the schemas (`stages/*/params.py`) and the comments of
`presets/base.yaml`; a test holds it against them. Change those, not this page.
"""
_COLUMNS = ("| parameter | type and range | default | meaning |", "|---|---|---|---|")
_PLAIN = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text", "null": "null"}
_LIMITS = {
    "minimum": "at least {:,}",
    "exclusiveMinimum": "above {:,}",
    "maximum": "at most {:,}",
    "exclusiveMaximum": "below {:,}",
    **dict.fromkeys(("minLength", "minItems", "minProperties"), "of length {} or more"),
    "maxItems": "of length {} or less",
    "pattern": "matching `{}`",
}

Schema = Mapping[str, Any]  # a JSON schema, as pydantic makes them, without references


class Row(NamedTuple):
    """One parameter, or a group of them: dotted name, type and range, value in the base, meaning."""

    name: str
    kind: str
    default: str
    explanation: str


class _Entry(NamedTuple):
    """What the base says of a key: its value as written there, and the comment above it."""

    value: str
    comment: str
    is_section: bool = False


Entries = Mapping[str, _Entry]


def page(base: str) -> str:
    """The text of docs/parameters.md, given that of presets/base.yaml."""
    entries, parts = _entries(base), [_HEAD]
    for section, listed in groupby(rows(base), lambda row: row.name.split(".")[0]):
        table = [" | ".join((f"`{name}`", *map(_escaped, cells))) for name, *cells in listed]
        comment = [entries[section].comment, ""] if entries[section].comment else []
        parts.append("\n".join([f"## {section}", "", *comment, *_COLUMNS, *(f"| {line} |" for line in table), ""]))
    return "\n".join(parts)


def _escaped(cell: str) -> str:
    """What Markdown would take for the end of a cell, or for a tag."""
    return cell.replace("|", "\\|").replace("<", "\\<")


def rows(base: str) -> list[Row]:
    """All rows of the page, given the text of presets/base.yaml."""
    entries, sections = _entries(base), schema_of(Params)["properties"].items()
    return [row for name, section in sections for row in _rows([section], name, entries)]


def schema_of(model: type[BaseModel]) -> Schema:
    """The model's JSON schema, with what it refers to in place of each reference."""
    whole = model.model_json_schema()

    def inline(node: Any) -> Any:
        if isinstance(node, dict):
            rest = {key: inline(value) for key, value in node.items() if key not in ("$ref", "$defs", "title")}
            return (inline(whole["$defs"][node["$ref"].rsplit("/", 1)[1]]) if "$ref" in node else {}) | rest
        return [inline(each) for each in node] if isinstance(node, list) else node

    return inline(whole)


def _rows(models: Sequence[Schema], above: str, entries: Entries) -> Iterator[Row]:
    """The rows of one section, or of the alternatives that may take its place, and of all that lies inside."""
    for name in dict.fromkeys(name for model in models for name in model["properties"]):
        path, groups = f"{above}.{name}", _sharing(models, name)
        owners = [owner for group in groups for owner in group]
        field, said = owners[0]["properties"][name], _said(path, entries)
        place, inner = _inside(field)
        told = list[str]()
        for group in groups:
            # what the base says goes for the alternatives whose own schemas say nothing else
            comment = said.comment if len(groups) == 1 or name not in _parts(group[0]) else ""
            told.append(_whose(group, models) + (comment or _of_schemas(group, name, inner)))
        yield Row(
            name=path,
            kind=_either([describe(owner["properties"][name]) for owner in owners]),
            default=_default("" if inner and said.is_section else said.value, field),
            explanation="; ".join(each.rstrip(".") for each in told) if len(told) > 1 else told[0],
        )
        yield from _rows(inner, f"{path}{place}", entries)


def _sharing(models: Sequence[Schema], name: str) -> Collection[Sequence[Schema]]:
    """The alternatives that have a field: in one group where all have it, else in groups that say the same of it."""
    owners = [model for model in models if name in model["properties"]]
    groups: dict[object, list[Schema]] = {}
    for owner in owners:
        same = len(owners) == len(models) or json.dumps([owner["properties"][name], _parts(owner).get(name)])
        groups.setdefault(same, []).append(owner)
    return groups.values()


def _options(field: Schema) -> Sequence[Schema]:
    """The alternatives that a value may be."""
    alternatives = field.get("anyOf", field.get("oneOf"))
    return [field] if alternatives is None else [option for each in alternatives for option in _options(each)]


def _entry_of(field: Schema) -> Schema | None:
    """What each value of a mapping with free names is; None for a section and for all else."""
    return next(iter(field.get("patternProperties", {}).values()), field.get("additionalProperties") or None)


def _inside(field: Schema) -> tuple[str, Sequence[Schema]]:
    """How the name of what lies inside goes on after that of the field itself, and the sections that may lie there."""
    place, entry = ("[]", field["items"]) if "items" in field else (".<name>", _entry_of(field))
    options = _options(field) if entry is None else _options(entry)
    return "" if entry is None else place, [option for option in options if "properties" in option]


def describe(field: Schema) -> str:
    """A type with its bounds in plain words."""
    options, entry = _options(field), _entry_of(field)
    if len(options) > 1:
        return _either([describe(option) for option in options])
    if values := field.get("enum", [field["const"]] if "const" in field else None):
        return _either([f"`{value}`" for value in values])
    if "items" in field:
        words = f"list of {describe(field['items'])}"
    elif entry is not None:
        key = "".join(f", matching `{pattern}`" for pattern in field.get("patternProperties", {}))
        words = f"mapping from text{key} to {describe(entry)}"
    else:
        words = "section" if "properties" in field else _PLAIN[field["type"]]
    limits = [text.format(field[key]) for key, text in _LIMITS.items() if key in field]
    return words + (f", {' and '.join(limits)}" if limits else "").replace("of length 1 or more", "not empty")


def _either(words: Sequence[str]) -> str:
    """a; a or b; a, b or c: each once, and parted by more than a comma where they have commas themselves."""
    *most, last = dict.fromkeys(words)
    if any(", " in word for word in (*most, last)):
        return "; or ".join([*most, last])
    return f"{', '.join(most)} or {last}" if most else last


def _default(value: str, field: Schema) -> str:
    if value or "default" not in field:
        return f"`{value}`" if value else ""
    return f"`{json.dumps(field['default'])}` if left out"


def _of_schemas(owners: Sequence[Schema], field: str, inner: Sequence[Schema]) -> str:
    """What the schemas say of a field that its owners share, or of what lies inside, or of the kinds it tells apart."""
    parts, told = _parts(owners[0]), inner or owners
    if field in parts or len(told) == 1:
        return parts.get(field) or _parts(told[0])[""]
    return " ".join(f"{_whose([model], told)}{_parts(model)['']}" for model in told)


def _whose(owners: Sequence[Schema], models: Sequence[Schema]) -> str:
    """The kinds of alternatives, as the beginning of a sentence; empty for all, or where no kind tells them apart."""
    others = [model for model in models if model not in owners]
    named, before = (others, "all but ") if len(others) < len(owners) else (owners, "")
    kinds = [model["properties"].get("kind", {}).get("const") for model in named]
    return f"{before}{' and '.join(f'`{kind}`' for kind in kinds)}: " if others and all(kinds) else ""


def _parts(model: Schema) -> dict[str, str]:
    """The docstring's parts `field: ...` by field, and what stands before them under an empty name."""
    text = " ".join(model.get("description", "").split())
    general, *parts = re.split(rf"(?:^|(?<=\. ))({'|'.join(model['properties'])}): ", text)
    names, texts = ["", *parts[::2]], [general, *parts[1::2]]
    return {name: text.strip() for name, text in zip(names, texts, strict=True)}


def _said(path: str, entries: Entries) -> _Entry:
    """What the base says of a parameter; where it lies under names, of the first that has it."""
    pattern = re.compile(re.escape(path).replace("<name>", "[^.]+"))
    return next((entries[key] for key in entries if pattern.fullmatch(key)), _Entry("", ""))


def _entries(base: str) -> Entries:
    """What the base says, by dotted key."""
    return dict(_walk(YAML(typ="safe", pure=True).compose(base), "", base))


def _walk(node: Node | None, above: str, base: str) -> Iterator[tuple[str, _Entry]]:
    lines = base.split("\n")
    if not isinstance(node, MappingNode):
        return
    for key, value in node.value:
        # what stands above a map in braces explains the whole of it
        path, comment = f"{above}{key.value}", [] if node.flow_style else _comment(lines, key.start_mark.line)
        source = base[value.start_mark.index : value.end_mark.index]
        told = " ".join(line for line in comment if line[:1] != " ")
        yield path, _Entry(" ".join(source.split()), told, isinstance(value, MappingNode))
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
