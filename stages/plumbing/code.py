"""Which source files a stage runs: the import closure of its script, read from the text without importing anything."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
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
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found.update(_templates(path, tree))
        waiting.extend(candidate for name in _imports(tree) for candidate in _files(name))
    return sorted(path for path in found if path.stat().st_size)


def _is_exempt(path: Path) -> bool:
    return path.name == "params.py" or path.is_relative_to(f"{PACKAGE}/tracking") or path == FORESIGHT


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of the files, as hexadecimal."""
    total = hashlib.sha256()
    for path in paths:
        total.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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


def _templates(path: Path, tree: ast.Module) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(".j2"):
            template = path.parent / node.value
            if template.is_file():
                yield template
