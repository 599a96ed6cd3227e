"""Puts a complete parameter set, with its comments, in params.yaml: `python -m stages.presets NAME`.

presets/base.yaml is a whole params.yaml. Any other preset is an overlay: a leading block of comment lines that says
when to use it, then a flat mapping from dotted keys to the values that take the place of the base's.
"""

import subprocess
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node

from stages.plumbing import params
from stages.plumbing.errors import UserError
from stages.plumbing.params import PARAMS_FILE, Params
from stages.sources.params import TorchvisionParams

PRESETS = Path("presets")
_BASE = "base"
_NEED_NO_FOLDER = ("digits", "none")


@dataclass(frozen=True)
class _Entry:
    """Where a key lies in a text: comment lines from `above`, key and value from `start` up to, not with, `end`.

    column: where the key begins in line `start`. after_key: where it ends there, so where the colon stands.
    """

    above: int
    start: int
    end: int
    column: int
    after_key: int


def compose(base: str, overlay: str) -> str:
    """The base's text with each value that the overlay names replaced, and the overlay's leading comment on top.

    Values come with the comments inside them. Comment lines directly above a dotted key take the place of those above
    that key in the base, which otherwise stay. Every other line of the base stays as it is. Raises UserError for a key
    that the base does not have or that is given twice, and for an overlay of another form.
    """
    lines, root = overlay.split("\n"), _node(overlay)
    header = next((number for number, line in enumerate(lines) if not _is_comment(line)), len(lines))
    if root is not None and (not isinstance(root, MappingNode) or root.flow_style):
        raise UserError("must hold lines of the form `section.key: value` and comments")
    keys = [key.value for key, _ in root.value] if root else []
    for dotted in keys:
        if keys.count(dotted) > 1:
            raise UserError(f"{dotted} is given twice")
        new = _find(root, lines, [dotted])
        comments = lines[max(new.above, header) : new.start]
        base = _replace(base, dotted, comments, lines[new.start : new.end], new.after_key)
    return "\n".join([*lines[:header], "", base]) if header else base


def _replace(base: str, dotted: str, comments: list[str], value: list[str], after_key: int) -> str:
    """The base with one entry replaced; `value` begins with the line of its dotted key, which ends at `after_key`."""
    *_, name = path = dotted.split(".")
    lines = base.split("\n")
    old = _find(_node(base), lines, path)
    new = [*comments, name + value[0][after_key:], *value[1:]]
    indented = [f"{' ' * old.column}{line}" if line else line for line in new]
    return "\n".join([*lines[: old.above if comments else old.start], *indented, *lines[old.end :]])


def _find(node: Node | None, lines: list[str], path: list[str]) -> _Entry:
    """The entry that `path` leads to from the root. Raises UserError when there is none with lines of its own."""
    end = len(lines)
    for depth, name in enumerate(path):
        names = [each.value for each, _ in node.value] if isinstance(node, MappingNode) else []
        if not isinstance(node, MappingNode) or name not in names:
            near = [".".join([*path[:depth], each]) for each in get_close_matches(name, names)]
            raise UserError(f"{'.'.join(path)} is no key of the base{_did_you_mean(near)}")
        if node.flow_style:
            raise UserError(f"{'.'.join(path)} lies inside {{...}}: give the whole of {'.'.join(path[:depth])}")
        position = names.index(name)
        if position + 1 < len(names):
            end = node.value[position + 1][0].start_mark.line
        key, node = node.value[position]
    above = start = key.start_mark.line
    while above > 0 and _is_comment(lines[above - 1]):
        above -= 1
    while end > start + 1 and (not lines[end - 1].strip() or _is_comment(lines[end - 1])):
        end -= 1  # what stands between this value and the next key is the next key's
    return _Entry(above, start, end, key.start_mark.column, key.end_mark.column)


def _node(text: str) -> Node | None:
    try:
        return YAML(typ="safe", pure=True).compose(text)
    except YAMLError as error:
        raise UserError(f"is not valid YAML: {' '.join(str(error).split())}") from None


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _did_you_mean(names: list[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""


def read(name: str) -> str:
    """The text of params.yaml that the preset stands for. Raises UserError, naming the file that is wrong."""
    path = PRESETS / f"{name}.yaml"
    try:
        return compose(_text(PRESETS / f"{_BASE}.yaml"), _text(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run this from the project's root") from None


def put(name: str) -> Params:
    """Makes the preset the project's params.yaml, and returns what it says.

    Raises UserError, leaving params.yaml as it is, when there is no such preset, when params.yaml holds changes that
    git has no copy of, and when the preset is not valid.
    """
    names = sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem != _BASE)
    if name not in names:
        hint = _did_you_mean(get_close_matches(name, names))
        raise UserError(f"there is no preset {name!r}{hint}\n{_listing(names)}" if name else _listing(names))
    _refuse_to_overwrite(names)
    partial = PARAMS_FILE.with_name(f"{PARAMS_FILE.name}.partial")
    try:
        partial.write_text(read(name), encoding="utf-8")
        loaded = params.load(partial)
        partial.replace(PARAMS_FILE)
    except UserError as error:
        raise UserError(f"the preset {name} cannot be used: {error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return loaded


def _listing(names: list[str]) -> str:
    """All presets, each with the first line of its comment."""
    width = max(map(len, names), default=0)
    first = {name: _text(PRESETS / f"{name}.yaml").split("\n", 1)[0].lstrip("# ") for name in names}
    return "\n".join(["choose one with `make preset NAME=...`:", *(f"  {n:<{width}}  {first[n]}" for n in names)])


def _refuse_to_overwrite(names: list[str]) -> None:
    """Where git cannot answer, a file that is no preset counts as the user's own work."""
    if not PARAMS_FILE.exists():
        return
    changed = _uncommitted()
    remedy = "a preset would overwrite: commit them, or rename the file, and try again"
    if changed:
        raise UserError(f"{PARAMS_FILE} has changes that are not committed, which {remedy}")
    if changed is None and _text(PARAMS_FILE) not in map(read, names):
        raise UserError(f"{PARAMS_FILE} differs from every preset and git keeps no copy of its values, which {remedy}")


def _uncommitted() -> bool | None:
    """Whether git sees changes in params.yaml, or sees it untracked; None when it cannot say."""
    command = ["git", "status", "--porcelain", "--", str(PARAMS_FILE)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    return bool(answer.stdout.strip()) if answer.returncode == 0 else None


def _next_step(loaded: Params) -> str:
    sources = (loaded.prepare.source, loaded.prepare.shift.source)
    downloads = [source.path for source in sources if isinstance(source, TorchvisionParams) and source.download]
    folders = [source.path for source in sources if source.kind not in _NEED_NO_FOLDER and source.path not in downloads]
    for folder in downloads:
        Path(folder).mkdir(parents=True, exist_ok=True)  # a stage of DVC wants what it depends on to be there
    if not folders:
        return f"Now `make repro`{', which downloads its data' if downloads else ''}."
    missing = [folder for folder in folders if not Path(folder).exists()]
    note = f" ({' and '.join(missing)} is not there yet)" if missing else ""
    return f"Its data must lie in {' and '.join(folders)}{note}; then `make repro`."


def main() -> None:
    """Puts the preset named on the command line in params.yaml, or lists them all with exit status 1.

    Where `prepare` will download a set, the folder for it is made.
    """
    name = " ".join(sys.argv[1:])
    try:
        loaded = put(name)
    except UserError as error:
        sys.exit(f"preset: {error}")
    print(f"{PARAMS_FILE} now holds the preset {name}. {_next_step(loaded)}")  # noqa: T201


if __name__ == "__main__":
    main()
