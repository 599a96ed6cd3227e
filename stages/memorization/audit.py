"""What the filter did to all replicates, as numbers: drops, its self-test, attacks before and after, and lineage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from stages.memorization.attacks import LEAST_NON_MEMBERS, Attack, PlainDistances, evenly_spaced, membership_inference
from stages.memorization.conformal import rate_interval
from stages.memorization.filtering import MemorizationFilter
from stages.memorization.intervals import Estimate, over_replicates
from stages.memorization.params import FilterMemorizedParams
from stages.memorization.self_test import SelfTest, run_self_test
from stages.memorization.set_level import SetLevel, set_level

# Attacks compare everything with everything; of more images, as many are taken at equal distances.
MOST_MEMBERS = 4000
MOST_NON_MEMBERS = 2000
MOST_GENERATED = 10_000
NORMAL_REACH = 1.96  # of a standard normal's 95 % interval


@dataclass(frozen=True)
class Exposure:
    """What a set of synthetic images tells of what the generator saw."""

    attacks: Mapping[str, Attack]
    set_level: SetLevel


@dataclass(frozen=True)
class Audit:
    """What one replicate's filter is worth.

    calibrated_by: ids of the images that set the threshold. exposure: of `before` all generated images, and `after` of
    those kept; empty where nothing can be attacked.
    """

    calibrated_by: frozenset[str]
    self_test: SelfTest
    exposure: Mapping[str, Exposure]


def audit(
    memorization_filter: MemorizationFilter,
    calibration_ids: NDArray[np.str_],
    generated: torch.Tensor,
    decisions: pd.DataFrame,
    replicate: int,
) -> Audit:
    """Tests the filter, and what it left of some generated images uint8 (N, C, H, W); decisions: as for `summarise`."""
    calibrating = memorization_filter.calibrating[: 0 if memorization_filter.full_conformal else None]
    dropped, labels = (decisions["reason"] != "").to_numpy(), decisions["label"].to_numpy(copy=True)
    return Audit(
        calibrated_by=frozenset(calibration_ids[calibrating].tolist()),
        self_test=run_self_test(memorization_filter, replicate),
        exposure=expose(memorization_filter, generated, labels, dropped, replicate),
    )


def expose(
    memorization_filter: MemorizationFilter,
    generated: torch.Tensor,
    labels: NDArray[np.int64],
    dropped: NDArray[np.bool_],
    replicate: int,
) -> dict[str, Exposure]:
    """Attacks on generated images uint8 (N, C, H, W) of these classes, before and after those `dropped` (N,) are.

    With two domains, those of the calibration images' domain are attacked.
    Empty where the calibration images, which are the non-members, are too few to tell anything.
    """
    non_members = memorization_filter.calibration
    if len(non_members) < LEAST_NON_MEMBERS or dropped.all():
        return {}
    members, of_source = memorization_filter.likeness.references, memorization_filter.originals.of_source
    if of_source is not None:  # an attack would tell the domains apart, not who was seen
        members = members[torch.from_numpy(~of_source[memorization_filter.likeness.kept.numpy()])]
    distances = PlainDistances.between(
        members[evenly_spaced(len(members), MOST_MEMBERS)],
        non_members[evenly_spaced(len(non_members), MOST_NON_MEMBERS)],
        generated,
    )
    seed = np.random.SeedSequence((memorization_filter.params.seed, replicate, 1))
    return {
        "before": Exposure(membership_inference(distances, seed), set_level(distances, labels)),
        "after": _exposure_after(distances, labels, ~dropped, seed),
    }


def _exposure_after(
    distances: PlainDistances, labels: NDArray[np.int64], kept: NDArray[np.bool_], seed: np.random.SeedSequence
) -> Exposure:
    of_kept = distances.of_kept(kept)
    return Exposure(membership_inference(of_kept, seed), set_level(of_kept, labels[kept]))


def summarise(
    decisions: pd.DataFrame,
    audits: Sequence[Audit],
    class_names: Sequence[str],
    params: FilterMemorizedParams,
) -> dict[str, Any]:
    """The numbers of metrics/filter_memorized/<name>.json: counts and shares over all replicates, and attacks
    with intervals over them.

    Args:
        decisions: a row for each generated image: label; reason, '' for what was kept; own_source, see `Decisions`; and
            source_id, of what it was drawn from, '' for nothing.
        audits: one for each replicate.
        class_names: of all classes, by index.
        params: section `filter_memorized`.
    """
    dropped, label = (decisions["reason"] != "").to_numpy(), decisions["label"].to_numpy()
    tests = [each.self_test for each in audits]
    calibration = min(test.calibration for test in tests)
    return {
        "alpha": params.alpha,
        "with_confidence": int(params.confidence is not None and calibration > 0),
        "per_class": int(params.thresholds == "per_class"),
        "calibration": calibration,
        "near_twins": _mean([test.twin_share for test in tests]),
        "labels_used": len(audits[0].calibrated_by) if params.thresholds == "per_class" else 0,
        **_drops(dropped),
        "classes": {name: _drops(dropped[label == index]) for index, name in enumerate(class_names)},
        **_own_source(decisions[decisions["source_id"] != ""], params.alpha),
        **_false_positive_rates(tests, len(frozenset().union(*(each.calibrated_by for each in audits)))),
        "planted": {kind: _detection_share(tests, kind) for kind in tests[0].planted},
        **_exposures([each.exposure for each in audits], class_names),
    }


def _drops(dropped: NDArray[np.bool_]) -> dict[str, float]:
    count = int(np.count_nonzero(dropped))
    return {"generated": len(dropped), "dropped": count, "dropped_share": count / max(len(dropped), 1)}


def _own_source(drawn: pd.DataFrame, alpha: float) -> dict[str, dict[str, float]]:
    """How often images resemble their own source as much as a share alpha of fresh ones resembles anything seen.

    Images from one source are alike: the interval is that of as many images as there are different sources. Clearly
    above alpha, the set gives its sources away and should not be published. Nothing where no image has a source.
    """
    if drawn.empty:
        return {}
    share = float(drawn["own_source"].mean())
    low, high = rate_interval(share, drawn["source_id"].nunique())
    counts = {"images": len(drawn), "resembling": int(drawn["own_source"].sum())}
    return {"own_source": counts | {"share": share, "low": low, "high": high, "publishable": int(low <= alpha)}}


def _false_positive_rates(tests: Sequence[SelfTest], calibration_images: int) -> dict[str, dict[str, float]]:
    """With their intervals; none where any replicate held no image out. Images that several share count once."""
    if not all(test.calibration for test in tests):
        return {}
    names = {"fresh": "false_positive_rate", "fresh_blurred": "false_positive_rate_blurred"}
    rates = {}
    for kind, name in names.items():
        rate = sum(test.false_positives[kind] for test in tests) / sum(test.calibration for test in tests)
        low, high = rate_interval(rate, calibration_images)
        rates[name] = {"rate": rate, "low": low, "high": high}
    return rates


def _detection_share(tests: Sequence[SelfTest], kind: str) -> dict[str, float]:
    found = [test.planted[kind] for test in tests]
    copies = sum(each.copies for each in found)
    areas = [each.auc for each in found if each.auc is not None]
    return {
        "detected": sum(each.detected for each in found) / copies,
        "copies": copies,
        **({"auc": float(np.mean(areas))} if areas else {}),
    }


def _exposures(exposures: Sequence[Mapping[str, Exposure]], class_names: Sequence[str]) -> dict[str, Any]:
    """Means over the replicates with intervals over them; nothing where a replicate has none."""
    if not all(exposures):
        return {}
    return {
        "attacks": {
            when: {
                name: _attack([each[when].attacks[name] for each in exposures]) for name in exposures[0][when].attacks
            }
            for when in ("before", "after")
        },
        "set_level": {
            when: _set_level([each[when].set_level for each in exposures], class_names) for when in ("before", "after")
        },
    }


def _attack(attacks: Sequence[Attack]) -> dict[str, float]:
    """The interval over replicates; of a single one its own, DeLong's and Clopper and Pearson's."""
    area = _together([each.auc for each in attacks])
    numbers = {"auc": area.value, "low": area.low, "high": area.high}
    detected = [each.detected for each in attacks if each.detected is not None]
    if len(detected) == len(attacks):
        rate = _together(detected)
        numbers |= {"detected": rate.value, "detected_low": rate.low, "detected_high": rate.high}
    return numbers


def _together(estimates: Sequence[Estimate]) -> Estimate:
    if len(estimates) == 1:
        return estimates[0]
    return over_replicates([each.value for each in estimates]).clipped(0.0, 1.0)


def _set_level(levels: Sequence[SetLevel], class_names: Sequence[str]) -> dict[str, Any]:
    by_class = {
        class_name: [level.copied[label] for level in levels if label in level.copied]
        for label, class_name in enumerate(class_names)
    }
    copying = _data_copying([level.data_copying_z for level in levels])
    return {
        "data_copying_z": copying.value,
        "data_copying_low": copying.low,
        "data_copying_high": copying.high,
        "authentic": _mean([level.authentic for level in levels]),
        "authentic_fresh": _mean([level.authentic_fresh for level in levels]),
        "copied": {class_name: _mean(shares) for class_name, shares in by_class.items() if shares},
    }


def _data_copying(values: Sequence[float]) -> Estimate:
    """C_T's mean; of a single replicate with the limits of a standard normal's deviation, which it has by chance."""
    if len(values) == 1:
        return Estimate(values[0], values[0] - NORMAL_REACH, values[0] + NORMAL_REACH)
    return over_replicates(values)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
