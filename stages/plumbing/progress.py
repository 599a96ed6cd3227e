"""What worker processes say while they train: each appends lines to a file of its own, the main process follows them."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.plumbing.parallel import progress_bar

Record = dict[str, Any]


def say(path: Path, record: Record) -> None:
    """Appends one line to a worker's file. A record has at least `step`, the number of steps done."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")


@contextmanager
def following(
    paths: list[Path], steps: int, description: str, handle: Callable[[int, Record], None]
) -> Iterator[None]:
    """While the block runs, shows one bar for all workers and hands each new record to `handle(worker, record)`.

    The files are emptied first. `handle` runs in a thread of its own; what is still unread when the block ends is
    handed over before this returns.
    """
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    stop = threading.Event()
    thread = threading.Thread(target=_follow, args=(paths, steps, description, handle, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _follow(
    paths: list[Path], steps: int, description: str, handle: Callable[[int, Record], None], stop: threading.Event
) -> None:
    offsets, done = [0] * len(paths), [0] * len(paths)
    with progress_bar(None, steps * len(paths), description, "step") as bar:
        last_round = False
        while not last_round:
            last_round = stop.wait(0.5)
            for worker, path in enumerate(paths):
                records, offsets[worker] = _new_records(path, offsets[worker])
                for record in records:
                    bar.update(record["step"] - done[worker])
                    done[worker] = record["step"]
                    handle(worker, record)


def _new_records(path: Path, offset: int) -> tuple[list[Record], int]:
    """The whole lines behind `offset`, and the offset behind the last of them: a line may be half-written."""
    with path.open("rb") as lines:
        lines.seek(offset)
        whole, newline, _ = lines.read().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole) + len(newline)
