"""What a project demands of its metrics, held against them one figure at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stages.comparison.params import ContrastParams, GateParams

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One figure held against one demand: the demand's name in params.yaml, and both numbers in words."""

    demand: str
    met: bool
    words: str


def check(
    demands: GateParams, contrast: ContrastParams, comparison: Metrics, filtered: Mapping[str, Metrics]
) -> list[Check]:
    """Every demand that is made, met or not; a demand on a figure that the metrics lack is not met.

    comparison: metrics/evaluate.json. filtered: generator -> metrics/filter_memorized/<generator>.json; each must meet
    the demands. Figures are shares in 0..1, differences in -1..1; a figure that equals its demand meets it.
    """
    checks = [
        *_gain(demands.least_gain, contrast, comparison),
        *_harm(demands.greatest_harm, contrast, comparison),
    ]
    for generator, metrics in filtered.items():
        checks += _copy_rate(demands.greatest_copy_rate, generator, metrics)
        checks += _detection(demands.least_detection, generator, metrics)
        checks += _attacks(demands.greatest_attack_auc, generator, metrics)
    return checks


def _gain(least: float | None, contrast: ContrastParams, comparison: Metrics) -> Iterator[Check]:
    """Of the best arm over the first rival, in the mean."""
    if least is None:
        return
    rival = contrast.rivals[0]
    gains = {arm: _figure(comparison, "differences", arm, rival, contrast.measure, "mean") for arm in contrast.arms}
    known = {arm: gain for arm, gain in gains.items() if gain is not None}
    if missing := [arm for arm in gains if arm not in known]:
        yield _lacking("least_gain", f"mean {contrast.measure} of {', '.join(missing)} against {rival}", "evaluate")
        return
    best = max(known, key=known.__getitem__)
    words = f"{contrast.measure} of {best}, the best arm, over {rival}"
    yield _at_least("least_gain", words, known[best], least)


def _harm(greatest: float | None, contrast: ContrastParams, comparison: Metrics) -> Iterator[Check]:
    """Beyond chance, an arm lies below a rival by what even the upper end of their difference's interval does."""
    if greatest is None:
        return
    for arm in contrast.arms:
        for rival in contrast.rivals:
            of = f"{contrast.measure} of {arm} against {rival}"
            high = _figure(comparison, "differences", arm, rival, contrast.measure, "high")
            if high is not None:
                yield _at_least("greatest_harm", f"upper end of the interval of {of}", high, -greatest)
            elif _figure(comparison, "replicates") == 1:
                yield Check("greatest_harm", False, f"{of}: one replicate has no interval, so harm cannot be judged")
            else:
                yield _lacking("greatest_harm", f"interval of {of}", "evaluate")


def _copy_rate(greatest: float | None, generator: str, filtered: Metrics) -> Iterator[Check]:
    if greatest is not None:
        words = f"share of the images of {generator} dropped as copies"
        share = _figure(filtered, "dropped_share")
        if share is None:
            yield _lacking("greatest_copy_rate", words, f"filter_memorized/{generator}")
        else:
            yield _at_most("greatest_copy_rate", words, share, greatest)


def _detection(least: Mapping[str, float], generator: str, filtered: Metrics) -> Iterator[Check]:
    """Of planted copies, kind by kind; mirrored kinds are planted only where a mirrored image keeps its class."""
    for kind, share in least.items():
        demand = f"least_detection.{kind}"
        found = _figure(filtered, "planted", kind, "detected")
        if found is None:
            tried = ", ".join(_section(filtered, "planted")) or "none"
            words = f"no copies of this kind were planted among the images of {generator} (kinds tried: {tried})"
            yield Check(demand, False, words)
        else:
            words = f"share found of the copies planted among the images of {generator}"
            yield _at_least(demand, words, found, share)


def _attacks(greatest: float | None, generator: str, filtered: Metrics) -> Iterator[Check]:
    """Every membership attack on the images kept; too few calibration images leave none."""
    if greatest is None:
        return
    stage, attacks = f"filter_memorized/{generator}", _section(filtered, "attacks", "after")
    if not attacks:
        yield _lacking("greatest_attack_auc", "membership attack on the images kept", stage)
    for name in attacks:
        words, auc = f"AUC of the attack {name} on the images kept of {generator}", _figure(attacks, name, "auc")
        if auc is None:
            yield _lacking("greatest_attack_auc", words, stage)
        else:
            yield _at_most("greatest_attack_auc", words, auc, greatest)


def _at_least(demand: str, words: str, figure: float, least: float) -> Check:
    return Check(demand, figure >= least, f"{words}: {figure:.6g}, demanded at least {least:g}")


def _at_most(demand: str, words: str, figure: float, greatest: float) -> Check:
    return Check(demand, figure <= greatest, f"{words}: {figure:.6g}, demanded at most {greatest:g}")


def _lacking(demand: str, figure: str, stage: str) -> Check:
    return Check(demand, False, f"metrics/{stage}.json has no {figure}")


def _section(metrics: Metrics, *keys: str) -> Metrics:
    """What lies below the keys; empty where nothing does."""
    here: Any = metrics
    for key in keys:
        here = here.get(key) if isinstance(here, Mapping) else None
    return here if isinstance(here, Mapping) else {}


def _figure(metrics: Metrics, *keys: str) -> float | None:
    """The number at the end of the keys, or None."""
    *above, last = keys
    number = _section(metrics, *above).get(last)
    return number if isinstance(number, int | float) else None
