"""How good the kinds of generators are at equal time, beside the textbook's DCGAN and generators without a network.

Every GAN learns from the same images for the same CPU seconds (of one thread, so that it does not matter what else
runs); a classifier with classic augmentation then learns from its images alone and is tested on real ones: with the
classes that they were drawn for (`accuracy`), and with a teacher's probabilities (`soft`). All images go through the
memorization filter first. The pool's labels are guessed beforehand, once for all. `python -m benchmarks.gan_quality`
runs the digits, and those of the real sets that lie unpacked in `--data`. `--development` leaves the test sets unread,
for trying settings. Ratios are of the first generator's accuracy.
"""

import json
from typing import Any

from benchmarks.gan_contest import REAL, Fit, contest, ours, parser, real, references, sets_of
from benchmarks.gan_sets import NAMES

OURS = ("gaussian", "refined_gaussian", "projection", "auxiliary", "per_class", "image_conditioned")


def main() -> None:
    arguments = parser(__doc__, seeds=2)
    arguments.add_argument("--seconds", type=float, default=60, help="CPU seconds that each GAN learns for")
    arguments.add_argument("--generators", nargs="+", help="default: all")
    arguments.add_argument("--development", action="store_true", help="leave the test sets unread")
    options = arguments.parse_args()
    fits: dict[str, Fit] = {REAL: real, **{kind: ours(kind, options.seconds) for kind in OURS}}
    fits |= references(options.seconds)
    chosen = {name: fits[name] for name in options.generators or fits}
    ratios: dict[str, Any] = {}
    for name, sets in sets_of(options, NAMES, "development" if options.development else "test").items():
        accuracy = contest(name, sets, chosen, options.jobs)["accuracy"]
        ratios[name] = (accuracy / accuracy.iloc[0]).round(3).to_dict()
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
