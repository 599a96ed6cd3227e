"""What worker processes say while they train: each has a folder to write into, and the main process follows them."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.plumbing import images, workdir
from stages.plumbing.parallel import progress_bar

Record = dict[str, Any]
_LINES = "progress.jsonl"


def say(folder: Path, step: int, measures: dict[str, float], picture: NDArray[np.uint8] | None = None) -> None:
    """Adds one record to a worker's folder: steps done, measures, and perhaps a picture, uint8 (C, H, W)."""
    record: Record = {"step": step, "measures": measures, "picture": None}
    if picture is not None:
        place = folder / picture_name(step)
        workdir.write_bytes(place, images.encode_png(picture))
        record["picture"] = str(place)
    with (folder / _LINES).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")


def picture_name(step: int) -> str:
    """File name of the picture that belongs to a step; sorts by step."""
    return f"step_{step:06d}.png"


@contextmanager
def following(
    folders: list[Path], steps: int, description: str, handle: Callable[[int, Record], None]
) -> Iterator[None]:
    """While the block runs, shows one bar for all workers and hands each new record to `handle(worker, record)`.

    The workers' folders are emptied first. `handle` runs in a thread of its own; what is still unread when the block
    ends is handed over before this returns.
    """
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / _LINES).touch()
    paths = [folder / _LINES for folder in folders]
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
