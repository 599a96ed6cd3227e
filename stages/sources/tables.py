"""What tables of files have in common: how they are opened, and how a message names some of their files."""

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from stages.plumbing.errors import UserError

_NAMED = 3  # files that a message gives as examples


@contextmanager
def opened(path: Path, what: str, remedy: str) -> Iterator[TextIO]:
    """A CSV file to read, in UTF-8. what: it holds. remedy: where the file is missing, which key names it.

    Raises UserError where it cannot be opened, or is read in here and is no such text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield lines
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {remedy}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no UTF-8 text: save the {what} as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise UserError(f"{path}, the {what}, cannot be read: {error}") from None


def examples(names: Collection[str]) -> str:
    """The number of files and the first three."""
    shown = ", ".join(repr(each) for each in sorted(names)[:_NAMED])
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{files} ({shown}{', ...' if len(names) > _NAMED else ''})"
