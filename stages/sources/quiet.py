"""Libraries that would tell in warnings and logs what stands in headers, and whom it names."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(log: str) -> Iterator[None]:
    """Without warnings, and without what is written to this log."""
    logger = logging.getLogger(log)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(before)
