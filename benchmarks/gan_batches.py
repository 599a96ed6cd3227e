"""What batches of real images a GAN should learn from: how many are labelled, and whether classes are drawn alike.

The projection GAN of the set's preset with each setting of `batches`; a classifier then learns from its images alone
and is tested on the development sets, because settings are chosen by it. The sets have few labels and a large pool.
`python -m benchmarks.gan_batches` prints accuracies and their differences to the default.
"""

import json
from itertools import product

from benchmarks.gan_contest import Fit, contest, ours, parser, sets_of

SETS = ("digits_pool", "fashion_500")
SHARES = (None, 0.25, 0.5)
DEFAULT = "labelled_share null"


def main() -> None:
    options = parser(__doc__, seeds=2).parse_args()
    fits = dict(_fit(share, balanced) for balanced, share in product((False, True), SHARES))
    gains = {}
    for name, sets in sets_of(options, SETS, "development").items():
        accuracy = contest(name, sets, fits, options.jobs)["accuracy"]
        gains[name] = (accuracy - accuracy[DEFAULT]).round(3).to_dict()
    print(json.dumps(gains))


def _fit(share: float | None, balanced: bool) -> tuple[str, Fit]:
    name = f"labelled_share {share or 'null'}" + (", balanced" if balanced else "")
    return name, ours("projection", batches={"labelled_share": share, "balanced": balanced})


if __name__ == "__main__":
    main()
