"""Which source files a stage runs: the import closure of its script, read from the text without importing anything."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "stages"
FORESIGHT = Path(PACKAGE, "foresight.py")


def closure(*scripts: Path, whole: bool = False) -> list[Path]:
    """The project files that scripts can import, themselves included, directly or through others, sorted.

    Imports inside functions count. Paths are relative to the folder that holds the package `stages`, as are the
    scripts. Unless the `whole` closure is asked for, what cannot change a result is neither listed nor followed:
    tracking shows results, foresight refuses to begin, and the schemas (`params.py`) have no default values. Empty
    files (`__init__.py`) are not listed. Templates (`*.j2`) that lie beside a listed module and are named in it count
    too.
    """
    found: set[Path] = set()
    waiting = list(scripts)
    while waiting:
        path = waiting.pop()
        if path in found or (not whole and _is_exempt(path)):
            continue
        found.add(path)
        modules, templates = _named(path.read_text(encoding="utf-8"))
        found.update(template for name in templates if (template := path.parent / name).is_file())
        waiting.extend(candidate for name in modules for candidate in _files(name))
    return sorted(path for path in found if path.stat().st_size)


def _is_exempt(path: Path) -> bool:
    return path.name == "params.py" or path.is_relative_to(f"{PACKAGE}/tracking") or path == FORESIGHT


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of the files, as hexadecimal."""
    total = hashlib.sha256()
    for path in paths:
        total.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


@cache
def _named(text: str) -> tuple[list[str], list[str]]:
    """The modules that a source text imports, and the strings in it that may be a template's name."""
    modules, templates = list[str](), list[str]()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import():
                modules += [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                modules += [module, *(f"{module}.{alias.name}" for alias in node.names)]
            case ast.Constant(value=str(value)) if value.endswith(".j2"):
                templates.append(value)
    return modules, templates


def _files(module: str) -> Iterator[Path]:
    """The file of a module of this project and the `__init__.py` of every package above it."""
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return
    for end in range(1, len(parts) + 1):
        base = Path(*parts[:end])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield path
