"""Puts a complete parameter set, with its comments, in params.yaml: `python -m stages.presets NAME`.

presets/base.yaml is a whole params.yaml, two spaces to a level. Any other preset is an overlay: a leading block of
comment lines that says when to use it, then a flat mapping from dotted keys to the values that take the place of the
base's. A line `preset: NAME` after the comment lays it over that preset instead.
"""

import re
import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path
from textwrap import indent

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.plumbing import params
from stages.plumbing.errors import UserError
from stages.plumbing.params import PARAMS_FILE, Params
from stages.sources.params import TorchvisionParams

PRESETS = Path("presets")
_BASE = "base"
_NEED_NO_FOLDER = ("digits", "drawn", "none")
_LEVEL = "  "
_OTHER = r"^preset: (?P<name>\w+)\n"  # the preset that an overlay lies over, if not the base
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
            raise UserError(f"{'.'.join(path)} is no key with lines of its own{_did_you_mean(near)}{whole}")
        start, end = found.span("value")
    assert found is not None
    return found


def _did_you_mean(names: list[str]) -> str:
    return f"; did you mean {' or '.join(names)}?" if names else ""


def read(name: str) -> str:
    """The text of params.yaml that the preset stands for. Raises UserError, naming the file that is wrong."""
    path = PRESETS / f"{name}.yaml"
    try:
        overlay = _text(path)
        other = re.search(_OTHER, overlay, re.MULTILINE)
        if other is None:
            return compose(_text(PRESETS / f"{_BASE}.yaml"), overlay)
        return compose(read(other["name"]).split("\n\n", 1)[1], overlay.replace(other[0], "", 1))
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
