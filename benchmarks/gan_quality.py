"""How good the kinds of generators are at equal time, beside the textbook's DCGAN and generators without a network.

Every GAN learns from the same images for the same CPU seconds (of one thread, so that it does not matter what else
runs); a classifier with classic augmentation then learns from its images alone and is tested on real ones: with the
classes that they were drawn for (`accuracy`), and with a teacher's probabilities (`soft`). All images go through the
memorization filter first. The pool's labels are guessed beforehand, once for all. `python -m benchmarks.gan_quality`
runs the digits, and those of the real sets that lie unpacked in `--data`. `--development` leaves the test sets unread,
for trying settings. `--surest 0.25` adds rows for the quarter of each class of which the teacher is surest, out of four
times as many images, drawn with a network or without. With several `--seconds`, each GAN learns anew for each: the
curve over time. Ratios are of the first generator's accuracy.
"""

import json
from typing import Any

from benchmarks.gan_contest import R3GAN, REAL, Fit, contest, other_gans, ours, parser, real, references, sets_of
from benchmarks.gan_sets import NAMES

OURS = ("refined_gaussian", "projected", "projection", "auxiliary", "per_class", "image_conditioned")
RELATIVISTIC = "refined_gaussian_relativistic"


def main() -> None:
    still: dict[str, Fit] = {REAL: real, "gaussian": ours("gaussian"), **references()}
    names = [*still, *_gans(0)]
    arguments = parser(__doc__, seeds=2)
    arguments.add_argument("--seconds", type=float, nargs="+", default=[60.0], help="CPU seconds that GANs learn for")
    arguments.add_argument("--generators", nargs="+", choices=names, default=names, metavar="NAME", help="default: all")
    arguments.add_argument("--development", action="store_true", help="leave the test sets unread")
    arguments.add_argument("--surest", type=float, default=1.0, help="below 1, rows for what a teacher leaves")
    options = arguments.parse_args()
    chosen = {name: fit for name, fit in still.items() if name in options.generators}
    for seconds in options.seconds:
        learning = _gans(seconds).items()
        chosen |= {f"{name}, {seconds:g} s": fit for name, fit in learning if name in options.generators}
    shares = sorted({1.0, options.surest}, reverse=True)
    ratios: dict[str, Any] = {}
    for name, sets in sets_of(options, NAMES, "development" if options.development else "test").items():
        accuracy = contest(name, sets, chosen, options.jobs, shares)["accuracy"]
        ratios[name] = (accuracy / accuracy.iloc[0]).round(3).to_dict()
    print(json.dumps(ratios))


def _gans(seconds: float) -> dict[str, Fit]:
    relativistic = {RELATIVISTIC: ours("refined_gaussian", seconds, objective=R3GAN)}
    return {kind: ours(kind, seconds) for kind in OURS} | relativistic | other_gans(seconds)


if __name__ == "__main__":
    main()
