"""How good the GAN families are at equal time, beside the textbook's DCGAN and generators without a network.

Every generator learns from the same images for the same CPU seconds (of one thread, so that it does not matter what
else runs); a classifier with classic augmentation then learns from its images alone and is tested on real ones. All
images go through the memorization filter first. `python -m benchmarks.gan_quality` runs the digits, and those of the
real sets that lie unpacked in `--data`. `--development` leaves the test sets unread, for trying settings.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from benchmarks import gan_sets
from benchmarks.gan_contest import GENERATORS, report, score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw"), help="folder with the unpacked real sets")
    parser.add_argument("--sets", nargs="+", help="default: all that are there")
    parser.add_argument("--seconds", type=float, default=60, help="CPU seconds that each generator learns for")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--development", action="store_true", help="leave the test sets unread")
    options = parser.parse_args()
    part: gan_sets.Part = "development" if options.development else "test"
    ratios: dict[str, Any] = {}
    for name in options.sets or gan_sets.available(options.data):
        sets = [gan_sets.load(name, seed, options.data, part) for seed in range(options.seeds)]
        jobs = (
            delayed(score)(generator, GENERATORS[generator], gan_set, seed, options.seconds)
            for seed, gan_set in enumerate(sets)
            for generator in GENERATORS
        )
        accuracy = report(name, Parallel(n_jobs=options.jobs)(jobs))["accuracy"]
        ratios[name] = (accuracy / accuracy["dcgan"]).round(3).to_dict()
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
