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
    arguments = parser(__doc__, seeds=2)
    arguments.add_argument("--steps", type=int, help="default: the preset's")
    options = arguments.parse_args()
    steps = {"steps": options.steps} if options.steps else {}
    fits: dict[str, Fit] = {}
    for balanced, share in product((False, True), SHARES):
        batches = {"labelled_share": share, "balanced": balanced}
        name = f"labelled_share {share or 'null'}" + (", balanced" if balanced else "")
        fits[name] = ours("projection", batches=batches, **steps)
    gains = {}
    for name, sets in sets_of(options, SETS, "development").items():
        accuracy = contest(name, sets, fits, options.jobs)["accuracy"]
        gains[name] = (accuracy - accuracy[DEFAULT]).round(3).to_dict()
    print(json.dumps(gains))


if __name__ == "__main__":
    main()
