"""The one exception that means: the user can mend this, so show words and no traceback."""

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
