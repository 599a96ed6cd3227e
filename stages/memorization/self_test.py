"""How well a replicate's filter works: which planted copies it finds, and how many fresh images it drops.

Measured on the digits, over 100 splits of the images outside the test set (648 seen, 200 for calibration) at alpha .05.
Found of the planted copies, in brackets by plain distance to the closest record with the same conformal threshold:
exact 1.00 (1.00), shift 1.00 (.00), flip where that counts 1.00 (.01), brightness 1.00 (.35), contrast 1.00 (.50),
JPEG 1.00 (1.00), blur .99 (.89), noise .96 (.89), rotation .96 (.96), mix .96 (.95). Dropped of fresh real images:
.049 (.049).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stages.memorization.conformal import detection_auc, false_positives
from stages.memorization.filtering import MemorizationFilter
from stages.memorization.planted import planted, softened


@dataclass(frozen=True)
class Detection:
    """Of one kind of planted copy: how many there were, how many the filter would drop, and the area under the ROC
    curve of their scores against fresh images' (None where no image was held out to be fresh)."""

    copies: int
    detected: int
    auc: float | None


@dataclass(frozen=True)
class SelfTest:
    """What a filter is worth.

    calibration: images that set the threshold, 0 for full conformal prediction. false_positives: how many of these a
    threshold that they did not set would drop, by what was done to them (`fresh`, `fresh_blurred`).
    planted: by kind. twin_share: of the calibration images that have a near-twin among the seen, if these are grouped;
    else 0.
    """

    calibration: int
    false_positives: Mapping[str, int]
    planted: Mapping[str, Detection]
    twin_share: float


def run_self_test(memorization_filter: MemorizationFilter, replicate: int) -> SelfTest:
    """Plants copies of seen images and judges them; judges calibration images by cross-fitting.

    `params.seed` and the replicate's number decide what is planted and how folds are dealt. Copies are judged
    by the threshold of all classes together: a seen image need not have a class.
    """
    params = memorization_filter.params
    fold_seed, copy_seed = np.random.SeedSequence((params.seed, replicate)).spawn(2)
    held_out, twins = not memorization_filter.full_conformal, memorization_filter.twins
    return SelfTest(
        calibration=len(memorization_filter.calibrating) if held_out else 0,
        false_positives=_false_positives(memorization_filter, fold_seed) if held_out else {},
        planted=_detections(memorization_filter, _copies(memorization_filter, copy_seed)),
        twin_share=twins.share if twins is not None and twins.grouped else 0.0,
    )


def _false_positives(memorization_filter: MemorizationFilter, seed: np.random.SeedSequence) -> dict[str, int]:
    params, scores = memorization_filter.params, memorization_filter.calibration_scores

    def dropped(variants: NDArray[np.float64]) -> int:
        """The folds are the same for all variants."""
        labels, rng = memorization_filter.calibration_labels, np.random.default_rng(seed)
        return false_positives(scores, params.alpha, rng, params.confidence, labels, variants)

    soft = memorization_filter.calibration_likeness(softened(memorization_filter.calibration))
    return {"fresh": dropped(scores), "fresh_blurred": dropped(soft)}


def _copies(memorization_filter: MemorizationFilter, seed: np.random.SeedSequence) -> dict[str, torch.Tensor]:
    choice, disguises = seed.spawn(2)
    references = memorization_filter.likeness.references
    count = min(memorization_filter.params.planted_copies, len(references))
    picked = np.random.default_rng(choice).choice(len(references), size=count, replace=False)
    return planted(references[torch.from_numpy(picked)], memorization_filter.originals.flip_ok, disguises)


def _detections(memorization_filter: MemorizationFilter, copies: Mapping[str, torch.Tensor]) -> dict[str, Detection]:
    together = memorization_filter.decide(torch.cat(list(copies.values())))  # one search costs less than many
    kinds = zip(copies, np.split(together.dropped, len(copies)), np.split(together.score, len(copies)), strict=True)

    def auc(scores: NDArray[np.float64]) -> float | None:
        fresh = None if memorization_filter.full_conformal else memorization_filter.calibration_scores
        return None if fresh is None else detection_auc(scores, fresh)

    return {kind: Detection(len(found), int(found.sum()), auc(scores)) for kind, found, scores in kinds}
