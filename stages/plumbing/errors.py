"""The one exception that means: the user can mend this, so show words and no traceback."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


class UserError(Exception):
    """A wrong parameter, a missing artifact, a bad image: one clear message, exit status 1.

    Raised by nouns and plumbing alike; `stages.plumbing.stage` turns it into words on standard error.
    """


@contextmanager
def reading(artifact: Path) -> Iterator[None]:
    """Around the reading of an earlier stage's artifact: what goes wrong there becomes a UserError with a remedy."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{artifact} is missing: `dvc repro` makes it") from None
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise UserError(f"{artifact} is damaged ({reason}): `dvc checkout` restores it, or rerun its stage") from None


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Around the writing of files for `output`: what safetensors and numpy tell of the disk in words alone becomes an
    OSError with its number."""
    try:
        yield
    except SafetensorError as error:
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            raise _trouble(int(number[1]), output) from None
        raise
    except OSError as error:
        if error.errno is None and re.fullmatch(r"\d+ requested and \d+ written", str(error)):
            raise _trouble(errno.ENOSPC, output) from None
        raise


def _trouble(number: int, output: Path) -> OSError:
    return OSError(number, os.strerror(number), str(output))
