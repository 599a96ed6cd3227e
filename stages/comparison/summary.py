"""The few numbers that a reader compares from run to run: metrics/evaluate_summary.json, all that DVC shows as metrics."""

from collections.abc import Mapping
from typing import Any

from stages.comparison.params import EvaluateParams

Numbers = Mapping[str, Any]


def summarise(numbers: Numbers, filtered: Mapping[str, Numbers], params: EvaluateParams) -> dict[str, float]:
    """About eight numbers under names of few letters, so that `dvc metrics show` fits a screen of 100 columns.

    On the measure of the contrasts, in percent: `usual` is the mean of the first rival, `added` of the first arm of
    `augment`, `alone` of the first arm of `stand_in`. In percentage points: `gain` is `added` minus the first rival,
    `edge` minus the rival that is strongest, `lag` is `alone` minus the rival that is strongest. `leak` is the area
    under the ROC curve of the attack that is farthest from a guess (0.5); `copy` is the percentage of the generated
    images that was dropped as copies. What was not measured is left out.

    numbers: of metrics/evaluate.json; filtered: generator -> its metrics/filter_memorized.
    """
    answers, means = numbers["answers"], numbers["arms"]
    added, alone, usual = params.augment.arms[0], params.stand_in.arms[0], params.augment.rivals[0]
    over, under = (
        answers[question]["arms"][arm]["rivals"] for question, arm in (("augment", added), ("stand_in", alone))
    )
    shares = {
        name: means[arm][params.measure]["mean"] for name, arm in (("usual", usual), ("added", added), ("alone", alone))
    }
    shares |= {"gain": over[usual]["mean"], "edge": _least(over), "lag": _least(under)}
    if generated := sum(each["generated"] for each in filtered.values()):
        shares["copy"] = sum(each["dropped"] for each in filtered.values()) / generated
    aucs = [attack["auc"] for each in answers["leak"]["sets"].values() for attack in each["attacks"].values()]
    worst = {"leak": round(max(aucs, key=lambda auc: abs(auc - 0.5)), 2)} if aucs else {}
    return {name: round(100 * share, 1) for name, share in shares.items()} | worst


def _least(rivals: Mapping[str, Numbers]) -> float:
    """The difference from the rival that does best."""
    return float(min(each["mean"] for each in rivals.values()))
