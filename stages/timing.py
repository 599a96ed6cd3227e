"""Prints how long each stage took when it last ran, and then the answers: `python -m stages.timing`."""

from stages.comparison.terminal import closing
from stages.plumbing import workdir
from stages.plumbing.stage import timings

NUMBERS = workdir.METRICS / "evaluate.json"


def main() -> None:
    rows = list(timings())
    print(f"{'stage':<40}{'seconds':>9}{'CPU s':>9}")  # noqa: T201
    for name, seconds, cpu_seconds in rows:
        print(f"{name:<40}{seconds:>9.1f}{cpu_seconds:>9.1f}")  # noqa: T201
    print(f"{'total':<40}{sum(row[1] for row in rows):>9.1f}{sum(row[2] for row in rows):>9.1f}")  # noqa: T201
    if NUMBERS.exists():
        print(closing(workdir.read_json(NUMBERS), workdir.METRICS / "report.html"))  # noqa: T201


if __name__ == "__main__":
    main()
