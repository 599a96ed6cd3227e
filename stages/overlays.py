"""Texts of params.yaml laid over one another, with their comments. Pure."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import indent, wrap

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.plumbing.errors import UserError

_LEVEL = "  "
_WIDTH = 118
# A key and its value, which goes on in lines that are indented deeper, and the comment lines directly above
_ENTRY = r"^(?P<comment>(?:{0}#.*\n)*)(?P<entry>{0}{1}:(?P<value>(?: .*)?(?:\n+{0}[ -].*)*))$"


def compose(base: str, overlay: str) -> str:
    """The base's text with each value that the overlay names replaced, and the overlay's leading comment on top.

    Values come with the comments inside them. Comment lines directly above a dotted key take the place of those above
    that key in the base, which otherwise stay. Every other line of the base stays as it is: ruamel's round trip would
    lose the comment behind a replaced map, and break the lines of arms anew. Raises UserError for a key that the base
    does not have or that is given twice, and for an overlay of another form.
    """
    header = re.match(r"(?:#.*\n?)*", overlay)[0]  # type: ignore[index]  # matches the empty text too
    for dotted in _keys(overlay):
        *above, name = dotted.split(".")
        new, old = _find(overlay, [dotted], len(header)), _find(base, [*above, name])
        entry = indent(f"{new['comment']}{name}:{new['value']}", _LEVEL * len(above))
        base = base[: old.start("comment" if new["comment"] else "entry")] + entry + base[old.end() :]
    return f"{header.rstrip()}\n\n{base}" if header else base


def _keys(overlay: str) -> list[str]:
    try:
        values = YAML(typ="safe", pure=True).load(overlay) or {}
    except YAMLError as error:
        raise UserError(f"is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError("must hold lines of the form `section.key: value` and comments")
    return list(map(str, values))


def _find(text: str, path: list[str], start: int = 0) -> re.Match[str]:
    """The entry that `path` leads to from the root, behind `start`. Raises UserError when it has no line of its own."""
    found, end = None, len(text)
    for depth, name in enumerate(path):
        found = re.compile(_ENTRY.format(_LEVEL * depth, re.escape(name)), re.MULTILINE).search(text, start, end)
        if found is None:
            names = re.findall(rf"^{_LEVEL * depth}([\w.]+):", text[start:end], re.MULTILINE)
            near = [".".join([*path[:depth], each]) for each in get_close_matches(name, names)]
            whole = "" if names else f": give the whole of {'.'.join(path[:depth])}"
            raise UserError(f"{'.'.join(path)} is no key with lines of its own{did_you_mean(near)}{whole}")
        start, end = found.span("value")
    assert found is not None
    return found


def did_you_mean(names: list[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""


def noted(base: str, settings: Iterable[tuple[str, str, str]]) -> str:
    """The base's text with other values, each with a line more in the comment above it that says why.

    settings: dotted key, value as text (of further lines where it begins with a new line), and reason, or "". Raises
    UserError as `compose`.
    """
    for dotted, value, why in settings:
        path = dotted.split(".")
        comment = re.sub("^ +", "", _find(base, path)["comment"], flags=re.MULTILINE)
        reason = "".join(f"# {line}\n" for part in why.split("\n") for line in _wrapped(part, len(path)))
        base = compose(base, f"\n{comment}{reason}{dotted}:{'' if value.startswith(chr(10)) else ' '}{value}")
    return base


def without(base: str, dotted: str, instead: str = "") -> str:
    """The base's text without this key and the comment above it, or with other lines instead.

    Raises UserError as `compose`.
    """
    path = dotted.split(".")
    found = _find(base, path)
    return base[: found.start("comment")] + indent(instead, _LEVEL * (len(path) - 1)) + base[found.end() + 1 :]


def _wrapped(text: str, depth: int) -> list[str]:
    """Lines of a comment; what is indented, as an example of lines to copy, stays as it is."""
    return [text] if text.startswith(" ") else wrap(text, _WIDTH - len(_LEVEL) * depth)
