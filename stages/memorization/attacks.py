"""Membership inference: can an attacker who holds the synthetic set tell what the generator saw from what it did not?

Members are the images that the generator saw, non-members the calibration images, which nothing saw. An attack gives
each of them, the candidates, a score that is higher the more likely it is a member. Attacks see plain
pixels: images as unit vectors (see `distance`) without alignments, so that they don't share what the filter looks for.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from stages.imaging.distance import distances, unit_vectors
from stages.memorization.conformal import calibration_needed, p_values, rate_interval
from stages.memorization.intervals import Estimate
from stages.plumbing.errors import UserError

FALSE_POSITIVE_RATE = 0.01
LEAST_NON_MEMBERS = 20  # with fewer an AUC's interval is wider than +-.13, and a half of them is no reference
BANDWIDTH = 0.2  # of the median distance to the nearest reference image
LEAST_BANDWIDTH = 3e-7  # below it distances are 0


@dataclass(frozen=True, eq=False)
class PlainDistances:
    """Distances 0..2 of the real images, members first, then non-members; made once, before and after filtering."""

    to_generated: torch.Tensor  # float32 (M + m, N)
    among_real: torch.Tensor  # float32 (M + m, M + m)
    members: int  # M

    def __post_init__(self) -> None:
        """Raises UserError when there are too few images of a kind to attack."""
        non_members = len(self.among_real) - self.members
        if non_members < LEAST_NON_MEMBERS:
            raise UserError(
                f"the membership attack needs at least {LEAST_NON_MEMBERS} calibration images as non-members, but "
                f"there are {non_members}: set aside more of them in `prepare`"
            )
        if self.members < 2 or not self.to_generated.shape[1]:
            raise UserError(
                "the membership attack needs at least 2 images that the generator saw and 1 generated one, but there "
                f"are {self.members} and {self.to_generated.shape[1]}"
            )

    @classmethod
    def between(cls, members: torch.Tensor, non_members: torch.Tensor, generated: torch.Tensor) -> Self:
        """All distances that the attacks and set-level tests need; equal images are at exactly 0.

        Args:
            members: uint8 (M, C, H, W), M >= 2, real images that the generator saw, each once.
            non_members: uint8 (m, C, H, W), m >= 20, real images that nothing saw.
            generated: uint8 (N, C, H, W), N >= 1.

        Raises:
            UserError: fewer images than that.
        """
        real, synthetic = unit_vectors(torch.cat([members, non_members])), unit_vectors(generated)
        return cls(distances(real, synthetic), distances(real, real), len(members))

    def of_kept(self, kept: NDArray[np.bool_]) -> Self:
        """The same for the generated images that a filter kept, (N,). Raises UserError when there are none."""
        return replace(self, to_generated=self.to_generated[:, torch.from_numpy(kept).to(self.to_generated.device)])


@dataclass(frozen=True)
class Attack:
    """How well one attack tells members from non-members.

    Attributes:
        auc: chance that a member scores above a non-member; .5 tells nothing. Below .5 the attack works reversed: what
            no synthetic image resembles was seen, as where a filter has cut a hole around the images seen.
        detected: share of the members that it names while it wrongly names 1 % of non-members, .01 if it tells
            nothing; None where there are fewer than 99 non-members, with which 1 % cannot be set.
    """

    auc: Estimate
    detected: Estimate | None


def membership_inference(distances: PlainDistances, seed: np.random.SeedSequence) -> dict[str, Attack]:
    """Three attacks, by name: `distance`, `monte_carlo`, `domias`.

    Args:
        distances: to all generated images, or to those kept.
        seed: halves the candidates for `domias`; the same seed gives the same halves before and after filtering.
    """
    scores = {
        "distance": distance_scores(distances),
        "monte_carlo": monte_carlo_scores(distances),
        "domias": domias_scores(distances, seed),
    }
    parts = {name: np.split(score.double().cpu().numpy(), [distances.members]) for name, score in scores.items()}
    return {name: Attack(auc(*both), detected_at_fixed_rate(*both)) for name, both in parts.items()}


def distance_scores(distances: PlainDistances) -> torch.Tensor:
    """Minus the distance to the nearest synthetic image, (M + m,).

    Chen, Yu, Zhang and Fritz, "GAN-Leaks" (CCS 2020), the full black-box attack.
    """
    return -distances.to_generated.amin(dim=1)


def monte_carlo_scores(distances: PlainDistances) -> torch.Tensor:
    """Share of the synthetic images within epsilon, (M + m,) in 0..1.

    Hilprecht, Haerterich and Bernau, "Monte Carlo and Reconstruction Membership Inference Attacks against Generative
    Models" (PoPETs 2019), with their median heuristic: epsilon is the candidates' median distance to the nearest
    synthetic image.
    """
    epsilon = distances.to_generated.amin(dim=1).quantile(0.5)
    return (distances.to_generated <= epsilon).count_nonzero(dim=1) / distances.to_generated.shape[1]


def domias_scores(distances: PlainDistances, seed: np.random.SeedSequence) -> torch.Tensor:
    """Logarithm of the synthetic over the real images' density, (M + m,): high where the generator overfits.

    Van Breugel, Sun, Qian and van der Schaar, "Membership Inference Attacks against Synthetic Data through Overfitting
    Detection" (AISTATS 2023). The real density comes from half of the non-members and judges the other half
    with one half of the members; then the halves swap, so that each candidate is judged once, members and non-members
    alike. Both densities are kernel estimates with the same Gaussian kernel on distances, its bandwidth a
    fifth of the candidates' median distance to the nearest reference image. On the digits, every member copied with
    noise, this has an AUC of .80, where the usual kernel estimate on 10 principal components has .68.
    """
    rng = np.random.default_rng(seed)
    counts = distances.members, len(distances.among_real) - distances.members
    sides = torch.from_numpy(np.concatenate([rng.permutation(count) % 2 for count in counts]))
    sides = sides.to(distances.among_real.device)
    scores = torch.empty_like(distances.among_real[0])
    for side in (0, 1):
        judged, reference = sides == side, sides != side
        reference[: distances.members] = False
        to_reference = distances.among_real[judged][:, reference]
        bandwidth = BANDWIDTH * float(to_reference.amin(dim=1).quantile(0.5).clamp_min(LEAST_BANDWIDTH))
        synthetic = _log_density(distances.to_generated[judged], bandwidth)
        scores[judged] = synthetic - _log_density(to_reference, bandwidth)
    return scores


def auc(members: NDArray[np.float64], non_members: NDArray[np.float64]) -> Estimate:
    """Area under the ROC curve of scores (M,) against (m,), a tie counting half, with DeLong's interval.

    DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988); Brunner and Munzel's variance is the same, and statsmodels
    has it. Where the scores don't overlap at all, or are all the same, it is 0: the interval then reaches as far as
    Clopper and Pearson's for min(M, m) independent pairs that all came out alike.
    """
    from statsmodels.stats.nonparametric import rank_compare_2indep

    with np.errstate(divide="ignore", invalid="ignore"):  # of a test statistic that nobody asks for
        found = rank_compare_2indep(members, non_members, use_t=False)
    value = float(found.prob1)
    if found.var_prob:
        low, high = map(float, found.conf_int(alpha=0.05))
    else:
        reach = 1 - rate_interval(1.0, min(len(members), len(non_members)))[0]
        low, high = value - reach, value + reach
    return Estimate(value, low, high).clipped(0.0, 1.0)


def detected_at_fixed_rate(members: NDArray[np.float64], non_members: NDArray[np.float64]) -> Estimate | None:
    """Share of members named at a false-positive rate of 1 %, with Clopper and Pearson's interval; see `Attack`.

    Named is who has a conformal p-value of at most .01 against the non-members: the rate then holds on average for
    fresh ones, and not just for those at hand. The interval is about the members: it takes the threshold as given.
    """
    if len(non_members) < calibration_needed(FALSE_POSITIVE_RATE):
        return None
    detected = float((p_values(-members, -non_members) <= FALSE_POSITIVE_RATE).mean())
    return Estimate(detected, *rate_interval(detected, len(members)))


def evenly_spaced(count: int, most: int) -> NDArray[np.int64]:
    """Indices of at most `most` of `count` things, at equal distances, ascending."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _log_density(distances: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """Logarithm (A,) of the mean Gaussian kernel over distances (A, B), without the constant that ratios cancel."""
    kernels = -0.5 * (distances / bandwidth).square()
    return kernels.logsumexp(dim=1) - float(np.log(distances.shape[1]))
