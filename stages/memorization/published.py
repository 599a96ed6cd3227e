"""Membership inference on a whole published set: the images of all replicates, each told by its replicate.

Every replicate trains a generator on its own draw of the real images. Who holds the published set has all of them, and
so a reference for each: a real image that lies nearer to one replicate's images than to those of the others was
probably seen there. The other replicates are what shadow models are elsewhere (Carlini et al., "Membership Inference
Attacks From First Principles", IEEE S&P 2022: a score counts only beside the score that the same image has with other
models), except that nobody has to train them, and that nobody has to know which of them saw the image:

    z(x, r) = log D(x, r) - mean over q of log D(x, q),         q: all replicates but r

where D is the distance to the nearest of a replicate's published images, or the mean distance to the five nearest.
Members of r are what its generator saw, non-members what nothing in r saw; a real image is a member of some replicates
and a non-member of others. On the digits, with a pool and without one, z with five neighbours has an AUC of .685 and
.84, where D alone has .57 and .69, and z against only those replicates that held the image out .66 and .84. Whether
an image was seen by *any* replicate is the harder question there (AUC .58 and .63, against the test images).

It is a valid test: where the generators ignore what they saw, z says nothing of the draw of members, for it is made
without it. Given the images, the replicates' areas under the ROC curve are then independent, and .5 on average.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from stages.imaging.distance import distances, unit_vectors
from stages.memorization.attacks import (
    LEAST_BANDWIDTH,
    LEAST_NON_MEMBERS,
    detected_at_fixed_rate,
    evenly_spaced,
)
from stages.memorization.intervals import CONFIDENCE, Estimate, over_replicates
from stages.memorization.likeness import Groups, group_codes

MOST_CANDIDATES = 2000  # real images that are attacked
MOST_PUBLISHED = 10_000  # images of a replicate that are looked at
CHUNK = 512  # candidates whose distances are held at a time: 20 MiB beside so many published images
NEIGHBOURS = {"nearest": 1, "five_nearest": 5}  # attack -> how many of a replicate's images it looks at

Membership = NDArray[np.bool_]  # (R, n): replicates, real images
Scores = NDArray[np.float64]


def candidates(seen: Membership, held_out: Membership, most: int = MOST_CANDIDATES) -> NDArray[np.int64]:
    """Rows, ascending, of at most `most` real images to attack: first of those that some replicate held out.

    seen, held_out: (R, n), as for `attack_published`. Those held out are few where the real images are many, and at
    least half of the room is theirs.
    """
    held, rest = np.flatnonzero(held_out.any(axis=0)), np.flatnonzero(seen.any(axis=0) & ~held_out.any(axis=0))
    first = held[evenly_spaced(len(held), max(most // 2, most - len(rest)))]
    return np.sort(np.concatenate([first, rest[evenly_spaced(len(rest), most - len(first))]]))


def attack_published(
    real: torch.Tensor,
    seen: Membership,
    held_out: Membership,
    parts: Sequence[torch.Tensor],
    groups: Groups | None = None,
) -> dict[str, dict[str, float]]:
    """By attack: `auc` with `low`, `high` and `p` against .5; `detected`, where it is known, with its limits.

    auc: chance that a member scores above a non-member of the same replicate, mean over the replicates. Its limits hold
    for all attacks together with 95 % confidence (Bonferroni). detected: as in `attacks.Attack`. replicates: how many
    could be attacked. A single one has no others beside it: then the distances count as they are, and the interval is
    DeLong's. Empty where no replicate has 20 non-members, 2 members and an image.

    Args:
        real: uint8 (n, C, H, W), the candidates, at best those of `candidates`.
        seen: whether a replicate's generator saw a candidate.
        held_out: whether nothing in that replicate saw it. A candidate that is neither, such as one that choices
            were made on, is not attacked there.
        parts: of each replicate the published images, uint8 (N, C, H, W); an empty one is left out.
        groups: (n,), the patient, speaker, ... of each candidate, None for one of its own; or None where no image has
            a group. A group's images are one piece of evidence.
    """
    units = group_codes(groups or [None] * len(real)).numpy()
    there = [row for row, part in enumerate(parts) if len(part)]
    attacked = [row for row in there if _enough(seen[row], held_out[row], units)]
    if not attacked:
        return {}
    logs = {row: _log_distances(real, parts[row]) for row in there}
    found = {}
    for place, name in enumerate(NEIGHBOURS):
        scores = calibrated(-np.stack([logs[row][place] for row in there]))
        scores = scores[[there.index(row) for row in attacked]]
        members, non_members = seen[attacked], held_out[attacked]
        area, p = mean_auc(scores, members, non_members, units, 1 - (1 - CONFIDENCE) / len(NEIGHBOURS))
        found[name] = {"auc": area.value, "low": area.low, "high": area.high, "p": p, "replicates": len(attacked)}
        found[name] |= _detected(scores, members, non_members)
    return found


def calibrated(scores: Scores) -> Scores:
    """Scores (R, n) less the mean of the other replicates' of the same image; as they are where there are no others."""
    if len(scores) == 1:
        return scores
    return (scores - scores.mean(axis=0)) * len(scores) / (len(scores) - 1)


def mean_auc(
    scores: Scores, members: Membership, non_members: Membership, units: NDArray[np.int64], confidence: float
) -> tuple[Estimate, float]:
    """Mean over replicates of the area under the ROC curve, with its interval, and its two-sided p against .5.

    The squared standard error adds up from the spread of the replicates' areas, and from what images do to all of
    them alike: the variance of the images' mean influences (DeLong's structural components), summed within each unit,
    beyond what images that differ from replicate to replicate would have (Cameron, Gelbach and Miller, "Robust
    inference with multiway clustering", 2011, with replicates and units as the two ways). Student's t has the
    replicates' degrees of freedom. Of a single replicate, the second part alone is DeLong's variance, for clusters.
    """
    from scipy.stats import norm, t

    areas, influences = zip(*map(_auc_and_influence, scores, members, non_members), strict=True)
    replicates, influence = len(areas), np.stack(influences)
    by_unit = np.stack([np.bincount(np.unique(units, return_inverse=True)[1], row) for row in influence])
    of_units, of_pairs = float((by_unit.sum(axis=0) ** 2).sum()), float((by_unit**2).sum())
    if replicates == 1:
        variance, law = of_units, norm()
    else:
        alike = max(0.0, of_units - of_pairs) / replicates**2
        variance, law = float(np.var(areas, ddof=1)) / replicates + alike, t(replicates - 1)
    value, error = float(np.mean(areas)), variance**0.5
    reach = float(law.ppf((1 + confidence) / 2)) * error
    p = 2 * float(law.sf(abs(value - 0.5) / error)) if error else float(value == 0.5)
    return Estimate(value, value - reach, value + reach).clipped(0.0, 1.0), p


def _auc_and_influence(scores: Scores, members: Membership, non_members: Membership) -> tuple[float, Scores]:
    """Area under the ROC curve of one replicate, a tie counting half, and how each image (n,) moves it."""
    inside, outside = scores[members], scores[non_members]
    above, below = _share_below(inside, outside), 1 - _share_below(outside, inside)
    area = float(above.mean())
    influence = np.zeros(len(scores))
    influence[members] = (above - area) / len(inside)
    influence[non_members] = (below - area) / len(outside)
    return area, influence


def _share_below(scores: Scores, others: Scores) -> Scores:
    """Of each score the share 0..1 of others that lie below it, a tie counting half."""
    ordered = np.sort(others)
    ranks = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return ranks / (2 * len(others))


def _detected(scores: Scores, members: Membership, non_members: Membership) -> dict[str, float]:
    rates = [
        detected_at_fixed_rate(own[inside], own[outside])
        for own, inside, outside in zip(scores, members, non_members, strict=True)
    ]
    known = [rate for rate in rates if rate is not None]
    if not known:
        return {}
    rate = known[0] if len(known) == 1 else over_replicates([each.value for each in known]).clipped(0.0, 1.0)
    return {"detected": rate.value, "detected_low": rate.low, "detected_high": rate.high}


def _log_distances(real: torch.Tensor, part: torch.Tensor) -> Scores:
    """For each attack and candidate, (attacks, n), the logarithm of the mean distance to the nearest of a part."""
    published = unit_vectors(part[evenly_spaced(len(part), MOST_PUBLISHED)])
    most = min(max(NEIGHBOURS.values()), len(published))
    nearest = torch.cat(
        [distances(unit_vectors(chunk), published).topk(most, largest=False).values for chunk in real.split(CHUNK)]
    )
    means = torch.stack([nearest[:, : min(k, most)].mean(dim=1) for k in NEIGHBOURS.values()])
    return means.clamp_min(LEAST_BANDWIDTH).log().double().cpu().numpy()


def _enough(seen: NDArray[np.bool_], held_out: NDArray[np.bool_], units: NDArray[np.int64]) -> bool:
    return bool(seen.sum() > 1) and len(np.unique(units[held_out])) >= LEAST_NON_MEMBERS
