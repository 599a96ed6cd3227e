"""Every arm of a question against every rival, in numbers that its answer rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stages.comparison.params import EvaluateParams, QuestionParams
from stages.comparison.power import Criterion, replicates_needed
from stages.comparison.scores import Predictions, Scorer, Scores, score
from stages.comparison.statistics import (
    Groups,
    Resampled,
    VarianceParts,
    bootstrap,
    holm,
    paired_differences,
    percentile_interval,
    sign_flip_p,
    variance_parts,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """One arm against one rival on the measure named; shares. One replicate has a mean and nothing else.

    low, high: interval at the confidence level. inner_low, inner_high: the interval of the one-sided tests against the
    margin. p, p_holm: sign-flip test that there is no difference; p_margin, p_margin_holm: that the difference is the
    margin. Holm runs over all contrasts of the question. needed: replicates that would show a gain of the margin, or an
    equal arm to lie within it, four times out of five; None: more than 1000.
    """

    mean: float
    low: float = np.nan
    high: float = np.nan
    inner_low: float = np.nan
    inner_high: float = np.nan
    p: float = np.nan
    p_holm: float = np.nan
    p_margin: float = np.nan
    p_margin_holm: float = np.nan
    needed: int | None = None

    def numbers(self) -> dict[str, float]:
        """Those that there are."""
        return {name: value for name, value in asdict(self).items() if value is not None and not np.isnan(value)}


Contrasts = dict[str, dict[str, Contrast]]  # arm -> rival


class Measured:
    """Scores of all arms on the test set, and their bootstrap draws.

    classes: names; groups: (n,) the patient, speaker, ... of every test image, where it is these that were sampled.
    Raises UserError where the measure needs what the test set lacks.
    """

    def __init__(
        self, predictions: Predictions, classes: Sequence[str], params: EvaluateParams, groups: Groups | None = None
    ) -> None:
        self.predictions, self.params, self.groups = predictions, params, groups
        self.scorer = Scorer(predictions, params.measure, classes)
        self.scores: Scores = score(self.scorer)

    @property
    def replicates(self) -> int:
        """How many."""
        return len(self.predictions.replicates)

    @cached_property
    def draws(self) -> Resampled | None:
        """Nothing of one replicate, which allows no interval."""
        if self.replicates == 1:
            return None
        images = len(self.predictions.truth)
        resamples, seed = self.params.bootstrap, self.params.seed
        return bootstrap(self.scorer, self.predictions.arms, self.replicates, images, resamples, seed, self.groups)

    def differences(self, arm: str, rival: str) -> dict[str, dict[str, float]]:
        """Measure -> `mean` paired difference, with its interval's bounds, `low` and `high`, where there are draws."""
        table = {}
        for measure in self.scores[arm]:
            table[measure] = {"mean": float(self._seen(arm, rival, measure).mean())}
            if self.draws:
                spread = self.draws.means[arm][measure] - self.draws.means[rival][measure]
                bounds = percentile_interval(spread, self.params.confidence)
                table[measure] |= dict(zip(("low", "high"), bounds, strict=True))
        return table

    def contrasts(self, question: QuestionParams, margin: float, tests: int) -> Contrasts:
        """Every arm of the question against every rival.

        margin: the difference that `p_margin` is about, with its sign. tests: among how many one-sided tests against
        the margin Bonferroni's correction shares the level, which makes the inner interval.
        """
        pairs = [(arm, rival) for arm in question.arms for rival in question.rivals]
        if self.draws is None:
            alone = {pair: Contrast(float(self._seen(*pair, self.params.measure_key).mean())) for pair in pairs}
        else:
            alone = self._inferred(pairs, margin, tests, self.draws)
        return {arm: {rival: alone[arm, rival] for rival in question.rivals} for arm in question.arms}

    def _inferred(
        self, pairs: Sequence[tuple[str, str]], margin: float, tests: int, draws: Resampled
    ) -> dict[tuple[str, str], Contrast]:
        params, key = self.params, self.params.measure_key
        level = round(1 - params.confidence, 12)
        seen = {pair: self._seen(*pair, key) for pair in pairs}
        p = [sign_flip_p(each, params.seed) for each in seen.values()]
        p_margin = [sign_flip_p(each - margin, params.seed) for each in seen.values()]
        # a positive margin is a gain to be found by Holm's first level, a negative one is to be ruled out on one side
        rule = Criterion(level, len(pairs)) if margin > 0 else Criterion(2 * level / tests, 1)
        found = {}
        for (arm, rival), *of in zip(pairs, p, holm(p), p_margin, holm(p_margin), strict=True):
            tested = dict(zip(("p", "p_holm", "p_margin", "p_margin_holm"), of, strict=True))
            spread = draws.means[arm][key] - draws.means[rival][key]
            found[arm, rival] = Contrast(
                float(seen[arm, rival].mean()),
                *percentile_interval(spread, params.confidence),
                *percentile_interval(spread, 1 - 2 * level / tests),
                **tested,
                needed=replicates_needed(params.margin, self.variance(arm, rival, draws), rule),
            )
        return found

    def variance(self, arm: str, rival: str, draws: Resampled) -> VarianceParts:
        """Where that of the paired difference comes from."""
        key = self.params.measure_key
        return variance_parts(self._seen(arm, rival, key), draws.by_image[arm][key] - draws.by_image[rival][key])

    def _seen(self, arm: str, rival: str, measure: str) -> Floats:
        """(R,) paired differences."""
        return paired_differences(self.scores[arm][measure], self.scores[rival][measure])


def worst(rivals: Mapping[str, Contrast]) -> str:
    """The strongest rival: that above which the arm lies least."""
    return min(rivals, key=lambda rival: rivals[rival].mean)
