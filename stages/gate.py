"""Holds the metrics against what params.yaml demands of them, for CI: exit 0 where all is met, else 1."""

import sys

from stages.comparison.gate import check
from stages.plumbing import params, workdir
from stages.plumbing.errors import UserError


def main() -> int:
    """Names every demand that failed, or says what was met; returns the exit status."""
    try:
        demands = params.load()
        comparison = workdir.read_json(workdir.METRICS / "evaluate.json")
        folder = workdir.METRICS / "filter_memorized"
        filtered = {name: workdir.read_json(folder / f"{name}.json") for name in demands.train_gan.generators}
    except UserError as error:
        print(f"gate: {error}", file=sys.stderr)  # noqa: T201
        return 1
    checks = check(demands.gate, demands.evaluate, comparison, filtered)
    failed = [each for each in checks if not each.met]
    summary = f"{len(failed)} of {len(checks)} checks failed" if failed else f"{len(checks)} checks, all met"
    print(f"gate: {summary}")  # noqa: T201
    for each in failed or checks:
        print(f"  {each.demand}: {each.words}")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
