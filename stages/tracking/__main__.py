"""Logs whatever MLflow lacks of the runs whose files lie here; done twice, it changes nothing."""

import sys

from stages.plumbing import params
from stages.plumbing.errors import UserError
from stages.tracking import recording


def main() -> None:
    """Says of each run where it is shown. Exit status 1 when that is impossible."""
    try:
        for name, run_id in recording.log_missing(params.load()):
            print(f"{name}: {run_id or 'nothing to log, its files are not there'}")  # noqa: T201
    except UserError as error:
        sys.exit(f"tracking: {error}")
    except KeyboardInterrupt:
        print("tracking: interrupted; run it again to log what is missing", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    except Exception as error:
        sys.exit(f"tracking: {recording.reason(error)}")


if __name__ == "__main__":
    main()
