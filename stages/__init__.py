"""The six stages, each a script that `python -m stages.NAME` runs, and the nouns and the plumbing that they share."""

import sys
from types import TracebackType


def _speak_plainly(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted before the stage began; run it again", file=sys.stderr)  # noqa: T201
    else:
        sys.__excepthook__(kind, error, traceback)


# Python is called "-m" until it has found the script, whose imports take seconds: there `execute` sees no Ctrl-C yet.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = _speak_plainly
