"""What a project demands of its metrics, held against them one figure at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

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
    of_arms = [*_gain(demands.least_gain, contrast, comparison), *_harm(demands.greatest_harm, contrast, comparison)]
    return of_arms + [each for name, metrics in filtered.items() for each in _of_filter(demands, name, metrics)]


def _gain(least: float | None, contrast: ContrastParams, comparison: Metrics) -> Iterator[Check]:
    """Of the best arm over the first rival, in the mean."""
    if least is None:
        return
    rival, measure = contrast.rivals[0], contrast.measure
    gains = {arm: _figure(comparison, "differences", arm, rival, measure, "mean") for arm in contrast.arms}
    known = {arm: gain for arm, gain in gains.items() if gain is not None}
    if missing := [arm for arm in gains if arm not in known]:
        words = f"mean {measure} of {', '.join(missing)} against {rival}"
        yield _held("least_gain", "evaluate", words, None, "least", least)
        return
    best = max(known, key=known.__getitem__)
    words = f"{measure} of {best}, the best arm, over {rival}"
    yield _held("least_gain", "evaluate", words, known[best], "least", least)


def _harm(greatest: float | None, contrast: ContrastParams, comparison: Metrics) -> Iterator[Check]:
    """Beyond chance, an arm lies below a rival by what even the upper end of their difference's interval does."""
    if greatest is None:
        return
    for arm in contrast.arms:
        for rival in contrast.rivals:
            of = f"{contrast.measure} of {arm} against {rival}"
            high = _figure(comparison, "differences", arm, rival, contrast.measure, "high")
            if high is None and _figure(comparison, "replicates") == 1:
                yield Check("greatest_harm", False, f"{of}: one replicate has no interval, so harm cannot be judged")
            else:
                words = f"upper end of the interval of {of}"
                yield _held("greatest_harm", "evaluate", words, high, "least", -greatest)


def _of_filter(demands: GateParams, generator: str, filtered: Metrics) -> Iterator[Check]:
    """Copies dropped, planted copies found, kind by kind, and every membership attack on the images kept.

    Mirrored kinds are planted only where a mirrored image keeps its class; too few calibration images leave no attack.
    """
    file = f"filter_memorized/{generator}"
    if demands.greatest_copy_rate is not None:
        words, share = f"share of the images of {generator} dropped as copies", _figure(filtered, "dropped_share")
        yield _held("greatest_copy_rate", file, words, share, "most", demands.greatest_copy_rate)
    planted = _section(filtered, "planted")
    for kind, least in demands.least_detection.items():
        words, found = f"share found of the copies planted for {generator}", _figure(planted, kind, "detected")
        if found is None:
            words += f" (kinds planted: {', '.join(planted) or 'none'})"
        yield _held(f"least_detection.{kind}", file, words, found, "least", least)
    if demands.greatest_attack_auc is not None:
        attacks = {name: _figure(entry, "auc") for name, entry in _section(filtered, "attacks", "after").items()}
        for name, auc in attacks.items() or [("of any kind", None)]:
            words = f"AUC of the attack {name} on the images kept of {generator}"
            yield _held("greatest_attack_auc", file, words, auc, "most", demands.greatest_attack_auc)


def _held(
    demand: str, file: str, words: str, figure: float | None, bound: Literal["least", "most"], demanded: float
) -> Check:
    """A figure, None where metrics/<file>.json lacks it, against the least or the most that is demanded."""
    if figure is None:
        return Check(demand, False, f"metrics/{file}.json has no {words}")
    met = figure >= demanded if bound == "least" else figure <= demanded
    return Check(demand, met, f"{words}: {figure:.6g}, demanded at {bound} {demanded:g}")


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
