"""How often the answers are wrong, and whether they find gains as often as the power foretells.

Every experiment is a data set drawn afresh: 10 replicates of an arm and its rivals, judged by both questions as a run
of the pipeline is, with 300 bootstrap resamples in place of 2,000, which widens no interval and makes its ends a little
rougher. The margin is MARGIN.

- simulated: a replicate is right on an image where a latent normal variable is below a threshold, set so that the arm's
  accuracy in the population exceeds that of each rival by exactly the gain. What images, replicates and arms share of
  that variable is read off the digits' default run, gan_classic beside classic, as the variance parts of its
  predictions.
- digits: real training. Logistic regression on 50 of scikit-learn's digits drawn per replicate from one half of the
  set; the arms see the two halves of the pixels, parted at random per replicate, so that they are equal in the
  population. Test images are drawn, with replacement, from the other half.
- dead: all arms name one class, or guess.

Wrong, at most 17 times of 200 each (the 99th percentile of what a true 5 % does): "helps" where the gain is not above
0, "worse" where it is not below, "no better" where it is the margin or more, "stands in" where it is minus the margin
or less, "falls short" where it is not below that; and any answer of a dead experiment. Foretold: the mean over the
experiments of the power for this gain that is computed from each one's own predictions. `python -m benchmarks.verdict`
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks import parameters
from stages.comparison.answers import Rule, augment_outcome, stand_in_outcome
from stages.comparison.contrasts import Measured
from stages.comparison.params import EvaluateParams, QuestionParams
from stages.comparison.power import Criterion, power
from stages.comparison.scores import Predictions
from stages.comparison.soundness import dead

Ints = NDArray[np.int64]
Draw = Callable[[np.random.Generator], Predictions]

EXPERIMENTS = 200
ALLOWED = 17
REPLICATES = 10
RESAMPLES = 300
LEVEL, MARGIN = 0.05, 0.02
LARGE, SMALL = 900, 300  # test images
ARM = "arm"
ACCURACY = 0.937  # of the rivals in the population
LABELLED = 50
# Shares of the latent variable's variance 1: of an image for both arms, and for each; of an image in a replicate for
# both arms; of a replicate for each. The rest is noise.
SHARED_IMAGE, OWN_IMAGE, SHARED_CELL, OWN_REPLICATE = 0.62, 0.085, 0.15, 0.0085
OUTCOMES = ("helps", "no_better", "worse", "stands_in", "falls_short", "no_answer")


@dataclass(frozen=True)
class Case:
    """What is drawn: the arm's true gain over each of `rivals`."""

    name: str
    images: int
    gain: float
    rivals: int
    draw: Draw

    def wrong(self, outcome: str) -> bool:
        """Whether the outcome is untrue here."""
        if self.name.startswith("dead"):
            return outcome != "no_answer"
        return {
            "helps": self.gain <= 0,
            "worse": self.gain >= 0,
            "no_better": self.gain >= MARGIN,
            "stands_in": self.gain <= -MARGIN,
            "falls_short": self.gain >= -MARGIN,
            "no_answer": True,
        }.get(outcome, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    parallel = Parallel(n_jobs=options.jobs)
    heads = "".join(f"{outcome:>12}" for outcome in OUTCOMES)
    print(f"{'':<13}{'images':>7}{'gain':>7}{'rivals':>7}{heads}{'foretold':>10}")
    numbers: dict[str, float] = {}
    for case in cases():
        numbers |= report(case, run(case, range(options.experiments), parallel), options.experiments)
    print(f"* untrue there, at most {ALLOWED} times of {EXPERIMENTS}")
    print(json.dumps(numbers))


def cases() -> list[Case]:
    """All that is tried."""
    simulated = [
        Case("simulated", images, gain, rivals, partial(simulate, images, gain, rivals))
        for images, gain, rivals in (
            (LARGE, 0.0, 1),
            (SMALL, 0.0, 1),
            (LARGE, MARGIN, 1),
            (LARGE, MARGIN, 4),
            (SMALL, MARGIN, 4),
            (LARGE, -MARGIN, 1),
            (SMALL, -MARGIN, 4),
            (LARGE, 0.05, 1),
            (LARGE, -0.05, 1),
        )
    ]
    return [
        *simulated,
        Case("digits", SMALL, 0.0, 1, Digits().draw),
        Case("dead: one", SMALL, 0.0, 1, one_class),
        Case("dead: guess", SMALL, 0.0, 1, guesses),
    ]


def report(case: Case, found: tuple[Counter[str], float], experiments: int) -> dict[str, float]:
    """Prints a line; returns how often the commonest untrue outcome came up, and of gains the ratio to foretold."""
    counts, foretold = found
    cells = "".join(f"{counts[each]:>11}{'*' if case.wrong(each) else ' '}" for each in OUTCOMES)
    print(f"{case.name:<13}{case.images:>7}{case.gain:>7g}{case.rivals:>7}{cells}{foretold:>10.3f}", flush=True)
    words = f"{case.name}, {case.images} images, gain {case.gain:g} over {case.rivals}"
    numbers: dict[str, float] = {f"{words}: wrong": max(counts[each] for each in OUTCOMES if case.wrong(each))}
    if case.gain > 0 and case.rivals == 1:  # the power is for one contrast
        numbers[f"{words}: found/foretold"] = round(counts["helps"] / experiments / foretold, 3)
    return numbers


def run(case: Case, seeds: Sequence[int], parallel: Parallel) -> tuple[Counter[str], float]:
    """How often each outcome came up, and the mean power foretold; one experiment per seed."""
    chosen = settings()
    found = parallel(delayed(experiment)(case, seed, chosen) for seed in seeds)
    return Counter(outcome for outcomes, _ in found for outcome in set(outcomes)), float(np.mean([p for _, p in found]))


def experiment(case: Case, seed: int, chosen: EvaluateParams) -> tuple[list[str], float]:
    """The outcomes of augment and stand_in, and the power to find this gain."""
    rivals = tuple(f"rival {number}" for number in range(case.rivals))
    question = QuestionParams(arms=(ARM,), rivals=rivals)
    params = chosen.model_copy(update={"seed": seed, "augment": question})
    predictions = case.draw(np.random.default_rng(seed))
    measured = Measured(predictions, [str(k) for k in range(predictions.classes)], params)
    if dead(measured, rivals[0], {rivals[0]: rivals[0]}):
        return ["no_answer"], 0.0
    rule = Rule(LEVEL, MARGIN, REPLICATES, len(rivals), 1, "accuracy", {})
    gains = measured.contrasts(question, MARGIN, tests=len(rivals))[ARM]
    lags = measured.contrasts(question, -MARGIN, tests=1)[ARM]
    assert measured.draws is not None
    parts = measured.variance(ARM, rivals[0], measured.draws)
    chance = power(case.gain, REPLICATES, parts, Criterion(LEVEL, len(rivals)))
    return [augment_outcome(gains, rivals[0], rule), stand_in_outcome(lags, rule)], chance


def settings() -> EvaluateParams:
    """Those of the default run, with the margin and the resamples of these experiments."""
    changes = {"measure": "accuracy", "bootstrap": RESAMPLES, "margin": MARGIN, "confidence": 1 - LEVEL}
    return parameters.load().evaluate.model_copy(update=changes)


def simulate(images: int, gain: float, rivals: int, rng: np.random.Generator) -> Predictions:
    """Predictions of two classes by arms whose accuracies in the population are ACCURACY + gain and ACCURACY."""
    from scipy.stats import norm

    truth = np.arange(images) % 2
    noise = 1 - SHARED_IMAGE - OWN_IMAGE - SHARED_CELL - OWN_REPLICATE
    shared = math.sqrt(SHARED_IMAGE) * rng.normal(size=images)
    shared = shared + math.sqrt(SHARED_CELL) * rng.normal(size=(REPLICATES, images))
    arms = {}
    for arm in (ARM, *(f"rival {number}" for number in range(rivals))):
        latent = shared + math.sqrt(OWN_IMAGE) * rng.normal(size=images)
        latent += math.sqrt(OWN_REPLICATE) * rng.normal(size=(REPLICATES, 1))
        latent += math.sqrt(noise) * rng.normal(size=(REPLICATES, images))
        right = latent < norm.ppf(ACCURACY + (gain if arm == ARM else 0))
        arms[arm] = np.where(right, truth, 1 - truth)
    return predictions_of(arms, truth, 2)


def one_class(rng: np.random.Generator) -> Predictions:
    """Arms that name the first of ten classes, whatever they see."""
    nothing = np.zeros((REPLICATES, SMALL), dtype=np.int64)
    return predictions_of({ARM: nothing, "rival 0": nothing}, rng.integers(10, size=SMALL), 10)


def guesses(rng: np.random.Generator) -> Predictions:
    """Arms that name any of ten classes at random."""
    arms = {arm: rng.integers(10, size=(REPLICATES, SMALL)) for arm in (ARM, "rival 0")}
    return predictions_of(arms, rng.integers(10, size=SMALL), 10)


def predictions_of(arms: dict[str, Ints], truth: Ints, classes: int) -> Predictions:
    """Without probabilities, which accuracy does not read."""
    return Predictions(arms, tuple(range(REPLICATES)), truth, classes, {})


class Digits:
    """Experiments with real training on scikit-learn's digits, whose two halves are the populations."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))
        self.train, self.test = ((pixels[rows] / 16, labels[rows]) for rows in np.array_split(order, 2))

    def draw(self, rng: np.random.Generator) -> Predictions:
        chosen = rng.integers(len(self.test[1]), size=SMALL)
        images, truth = self.test[0][chosen], self.test[1][chosen]
        replicates = [self._replicate(images, rng) for _ in range(REPLICATES)]
        arms = {arm: np.stack([pair[i] for pair in replicates]) for i, arm in enumerate((ARM, "rival 0"))}
        return predictions_of(arms, truth, 10)

    def _replicate(self, images: NDArray[np.float64], rng: np.random.Generator) -> list[Ints]:
        """Classes that the arms, trained on the same digits with a half of the pixels each, give the images."""
        from sklearn.linear_model import LogisticRegression

        labelled = rng.choice(len(self.train[1]), LABELLED, replace=False)
        examples, labels = self.train[0][labelled], self.train[1][labelled]
        halves = np.array_split(rng.permutation(images.shape[1]), 2)
        models = [LogisticRegression(tol=1e-2).fit(examples[:, half], labels) for half in halves]
        return [model.predict(images[:, half]) for model, half in zip(models, halves, strict=True)]


if __name__ == "__main__":
    main()
