"""Finished work is kept by what it was made from, and every output appears whole or not at all."""

import fcntl
import glob
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TextIO
from uuid import uuid4

import numpy as np
from pydantic import BaseModel, ValidationError

from stages.plumbing.errors import reading, writing

WORK = Path(".work")
DATA = Path("data")
METRICS = Path("metrics")
FORECAST = WORK / "forecast.json"  # seconds of each step, before it ever ran


def fingerprint(*parts: Any) -> str:
    """SHA-256, as hexadecimal, over values that JSON can hold, pydantic models, bytes, paths' contents and arrays.

    Arrays count by dtype, shape and bytes; a `Path` counts by the bytes of the file it names. Raises UserError when
    that is missing.
    """
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype.str}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).tobytes())
        elif isinstance(part, Path):
            with reading(part):
                total.update(hashlib.sha256(part.read_bytes()).digest())
        elif isinstance(part, bytes):
            total.update(part)
        else:
            value = part.model_dump(mode="json") if isinstance(part, BaseModel) else part
            total.update(json.dumps(value, sort_keys=True).encode())
        total.update(b"\0")
    return total.hexdigest()


@contextmanager
def alone(path: Path, wait: bool = True) -> Iterator[None]:
    """While the block runs, no other process is in such a block for `path`; the lock of a killed one is free at once.

    Waits for the other process, or raises BlockingIOError where `wait` is false.
    """
    lock = WORK / "locks" / "-".join(path.parts)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with _lock(lock, wait, path):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _lock(lock: Path, wait: bool, path: Path) -> TextIO:
    """The lock's file, open and locked. Whoever had it before may have removed it: then there is another one."""
    handle = lock.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            handle.close()
            raise
        print(f"{path}: waiting for another process that makes it", file=sys.stderr)  # noqa: T201
        fcntl.flock(handle, fcntl.LOCK_EX)
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle.fileno()), lock.stat()):
            return handle
    handle.close()
    return _lock(lock, wait, path)


@contextmanager
def replacing(folder: Path, before_swap: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """An empty folder beside `folder` to write into; it takes the place of `folder` when the block ends well.

    `before_swap` may raise to leave `folder` as it was. Another process that replaces `folder` is waited for.
    """
    with alone(folder), _replacing(folder, before_swap) as partial:
        yield partial


@contextmanager
def _replacing(folder: Path, before_swap: Callable[[], None] = lambda: None) -> Iterator[Path]:
    # A name of its own: the workers of a killed process may still be writing into that one's.
    partial, replaced = (folder.with_name(f"{folder.name}.{uuid4().hex[:8]}.{end}") for end in ("partial", "replaced"))
    _remove_leftovers(folder)
    partial.mkdir(parents=True)
    try:
        with writing(folder):
            yield partial
        before_swap()
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
    finally:
        _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    """What replacing `folder` has left beside it, in this process or in killed ones."""
    for end in ("partial", "replaced"):
        for left_over in folder.parent.glob(f"{glob.escape(folder.name)}.????????.{end}"):
            shutil.rmtree(left_over, ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes beside `path` and renames into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with sorted keys; NaN and infinity are refused with ValueError, since JSON has none."""
    write_bytes(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: Path, form: type[BaseModel] | None = None) -> Any:
    """Reads a JSON artifact, as plain values. Raises UserError when it is missing, damaged or not of this form."""
    with reading(path):
        value = json.loads(path.read_text(encoding="utf-8"))
        if form is not None:
            _hold_against(form, value)
        return value


def _hold_against(form: type[BaseModel], value: Any) -> None:
    try:
        form.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def finished(stage: str, key: str, build: Callable[[Path], None]) -> Path:
    """The work folder of the unit `key` of a stage: built now, or found finished from an earlier, perhaps killed, run.

    `build(folder)` writes the unit's files. A folder that exists is whole, because it was renamed into place. A unit
    that another process is building, such as a worker that outlived its stage, is waited for.
    """
    folder = WORK / stage / key
    if not folder.is_dir():
        with alone(folder):
            if not folder.is_dir():
                with _replacing(folder) as partial:
                    build(partial)
    return folder


@dataclass(frozen=True)
class CheckpointFile:
    """The state of one unit of work that is not finished; it goes when the stage's other leftovers go.

    States hold tensors, numbers, lists and dictionaries alone.
    """

    path: Path

    @classmethod
    def of(cls, stage: str, key: str) -> "CheckpointFile":
        """The checkpoint of the unit `key` of a stage."""
        return cls(WORK / stage / f"{key}.checkpoint" / "state.pt")

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was, or where it is damaged: the unit then starts anew."""
        import torch

        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True)
        except (OSError, RuntimeError, UnpicklingError, EOFError):
            return None
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Writes beside the file and renames into place."""
        import torch

        content = io.BytesIO()
        torch.save(state, content)
        write_bytes(self.path, content.getvalue())


def forget_others(stage: str, keys: Iterable[str]) -> None:
    """Removes the stage's units that the run which just succeeded did not use, but none that is being built."""
    root, kept = WORK / stage, set(keys)
    for folder in root.iterdir() if root.is_dir() else ():
        unit = folder.with_name(folder.name.split(".", 1)[0])
        if folder.name not in kept:
            with suppress(BlockingIOError), alone(unit, wait=False):
                shutil.rmtree(folder, ignore_errors=True)
