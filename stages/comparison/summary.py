"""metrics/evaluate_summary.json: the few numbers that a reader compares from run to run, all that DVC calls metrics."""

from collections.abc import Mapping
from typing import Any

from stages.comparison.params import EvaluateParams

Numbers = Mapping[str, Any]


def summarise(numbers: Numbers, filtered: Mapping[str, Numbers], params: EvaluateParams) -> dict[str, float]:
    """Eight numbers under names of few letters, so that `dvc metrics show` fits a screen of 100 columns.

    Of the measure, in percent: `usual` is the mean of the first rival, `added` of the first arm of `augment`, `alone`
    of the first arm of `stand_in`. In percentage points: `gain` is by how much `added` lies above the first rival,
    `edge` above the strongest one, and `lag` how far `alone` lies above (negative: below) its strongest rival. `leak`
    is the area under the ROC curve of the attack that is farthest from a guess (0.5). `copy` is the percentage of the
    generated images that was dropped as copies. What was not asked or not measured is left out.

    numbers: of metrics/evaluate.json; filtered: generator -> its metrics/filter_memorized.
    """
    augment, stand_in = params.augment, params.stand_in
    shares = {"usual": _mean(numbers, params.reference, params)}
    if augment.arms:
        above = _differences(numbers, "augment", augment.arms[0])
        shares["added"] = _mean(numbers, augment.arms[0], params)
        shares |= {"gain": above[augment.rivals[0]], "edge": min(above.values())}
    if stand_in.arms:
        shares["alone"] = _mean(numbers, stand_in.arms[0], params)
        shares["lag"] = min(_differences(numbers, "stand_in", stand_in.arms[0]).values())
    if generated := sum(each["generated"] for each in filtered.values()):
        shares["copy"] = sum(each["dropped"] for each in filtered.values()) / generated
    return {name: round(100 * share, 1) for name, share in shares.items()} | _leak(numbers["answers"]["leak"]["sets"])


def _mean(numbers: Numbers, arm: str, params: EvaluateParams) -> float:
    return float(numbers["arms"][arm][params.measure_key]["mean"])


def _differences(numbers: Numbers, question: str, arm: str) -> dict[str, float]:
    """Rival -> how far the arm lies above it, in the mean."""
    return {rival: each["mean"] for rival, each in numbers["answers"][question]["arms"][arm]["rivals"].items()}


def _leak(sets: Mapping[str, Numbers]) -> dict[str, float]:
    aucs: list[float] = [attack["auc"] for each in sets.values() for attack in each["attacks"].values()]
    worst = [auc for auc in aucs if abs(auc - 0.5) == max(abs(each - 0.5) for each in aucs)]
    return {"leak": round(worst[0], 2)} if worst else {}
