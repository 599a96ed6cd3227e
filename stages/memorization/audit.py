"""Which generated images of a replicate are copies, how well the filter that says so works, and the totals.

Measured on the digits, over 100 splits of the images outside the test set (648 seen, 200 for calibration) at alpha .05.
Found of the planted copies, in brackets by plain distance to the closest record with the same conformal threshold:
exact 1.00 (1.00), shift 1.00 (.00), flip where that counts 1.00 (.01), brightness 1.00 (.35), contrast 1.00 (.50),
JPEG 1.00 (1.00), blur .99 (.89), noise .96 (.89), rotation .96 (.96), mix .96 (.95). Dropped of fresh real images:
.049 (.049).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.memorization.conformal import check_calibration, false_positives, p_values, rate_interval
from stages.memorization.distance import Alignment, alignments
from stages.memorization.neighbours import distinct, nearest
from stages.memorization.params import FilterMemorizedParams
from stages.memorization.planted import planted
from stages.plumbing.errors import UserError


@dataclass(frozen=True)
class Detection:
    """Of one kind of planted copy: how many there were, and how many the filter would drop."""

    copies: int
    detected: int


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the filter says of the generated images of one replicate, and of itself."""

    p: NDArray[np.float64]  # (N,) in 0..1: share of fresh real images at least as suspicious
    score: NDArray[np.float64]  # (N,) in 0..1: nearest distance over the mean of the next ones
    distance: NDArray[np.float64]  # (N,) in 0..2: to the nearest real image that the GAN saw
    nearest: NDArray[np.int64]  # (N,) index of that image in `seen`
    dropped: NDArray[np.bool_]  # (N,)
    calibration: int  # calibration images
    false_positives: int  # of these, dropped by a threshold they did not set
    planted: Mapping[str, Detection]  # by kind


def judge(
    generated: torch.Tensor,
    seen: torch.Tensor,
    calibration: torch.Tensor,
    flip_ok: bool,
    params: FilterMemorizedParams,
    replicate: int,
) -> Judgement:
    """Mark the generated images that lie nearer to one real image than all but a share alpha of fresh real ones do.

    Args:
        generated: uint8 (N, C, H, W).
        seen: uint8 (M, C, H, W), all real images that the GAN saw, labelled and not; repeated ones count once.
        calibration: uint8 (m, C, H, W), real images that nothing saw.
        flip_ok: `prepare.image.flip_ok`: mirrored copies count as copies.
        params: section `filter_memorized`.
        replicate: its number, which with `params.seed` seeds the self-test.

    Raises:
        UserError: images of the wrong type or of different sizes; too few calibration images for alpha; fewer than
            neighbours + 1 different seen images; a shift of half an image; every generated image was dropped.
    """
    _check_images(generated=generated, seen=seen, calibration=calibration)
    check_calibration(len(calibration), params.alpha)
    kept = _distinct_enough(seen, params.neighbours)
    ways = alignments(params.shift_pixels, flip_ok, *seen.shape[-2:])
    calibration_scores = nearest(calibration, seen[kept], params.neighbours, ways).scores().numpy()
    found = nearest(generated, seen[kept], params.neighbours, ways)
    score = found.scores().numpy()
    p = p_values(score, calibration_scores)
    dropped = p <= params.alpha
    _check_some_kept(dropped, replicate)
    fold_seed, copy_seed = np.random.SeedSequence((params.seed, replicate)).spawn(2)
    copies = _planted_copies(seen[kept], flip_ok, params.planted_copies, copy_seed)
    return Judgement(
        p=p,
        score=score,
        distance=found.distances[:, 0].numpy(),
        nearest=kept[found.indices[:, 0]].numpy(),
        dropped=dropped,
        calibration=len(calibration),
        false_positives=false_positives(calibration_scores, params.alpha, np.random.default_rng(fold_seed)),
        planted=_detections(copies, seen[kept], ways, calibration_scores, params),
    )


def summarise(
    judgements: Sequence[Judgement],
    labels: Sequence[NDArray[np.int64]],
    class_names: Sequence[str],
    calibration_images: int,
    alpha: float,
) -> dict[str, Any]:
    """The numbers of metrics/filter_memorized.json, counts and shares over all replicates together.

    Args:
        judgements: one for each replicate.
        labels: for each replicate the class index (N,) of its generated images.
        class_names: of all classes, by index.
        calibration_images: how many different ones all replicates have together; those that several share count once.
        alpha: the one that the judgements were made with.

    Raises:
        UserError: the labels are not as many as the judged images.
    """
    dropped = np.concatenate([judgement.dropped for judgement in judgements])
    label = np.concatenate(labels)
    if len(dropped) != len(label):
        raise UserError(f"{len(label)} labels for {len(dropped)} judged images: there must be one for each")
    mistakes = sum(judgement.false_positives for judgement in judgements)
    rate = mistakes / sum(judgement.calibration for judgement in judgements)
    low, high = rate_interval(rate, calibration_images)
    return {
        "alpha": alpha,
        **_drops(dropped),
        "classes": {name: _drops(dropped[label == index]) for index, name in enumerate(class_names)},
        "false_positive_rate": {"rate": rate, "low": low, "high": high},
        "planted": {kind: _detection_share(judgements, kind) for kind in judgements[0].planted},
    }


def _check_images(**sets: torch.Tensor) -> None:
    for name, images in sets.items():
        if images.is_floating_point() and images.isnan().any():
            raise UserError(f"{name} images hold NaN; allowed are bytes 0..255")
        if images.dtype != torch.uint8:
            raise UserError(f"{name} images are of type {images.dtype}; allowed are bytes (uint8) 0..255")
        if images.ndim != 4 or 0 in images.shape:
            raise UserError(f"{name} images have shape {tuple(images.shape)}; expected (N, C, H, W), none of them 0")
    sizes = {name: tuple(images.shape[1:]) for name, images in sets.items()}
    if len(set(sizes.values())) > 1:
        described = ", ".join(f"{name} {' x '.join(map(str, size))}" for name, size in sizes.items())
        raise UserError(f"images differ in size (channels x height x width): {described}")


def _distinct_enough(seen: torch.Tensor, neighbours: int) -> torch.Tensor:
    kept = distinct(seen)
    if len(kept) <= neighbours:
        raise UserError(
            f"the GAN saw {len(kept)} different images, but filter_memorized.neighbours = {neighbours} "
            f"needs at least {neighbours + 1}"
        )
    return kept


def _check_some_kept(dropped: NDArray[np.bool_], replicate: int) -> None:
    if dropped.all():
        raise UserError(
            f"all {len(dropped)} generated images of replicate {replicate} were dropped as copies of real images: the "
            "GAN has memorised what it saw. Train it for fewer steps (train_gan.steps) or on more images"
        )


def _planted_copies(
    references: torch.Tensor, flip_ok: bool, count: int, seed: np.random.SeedSequence
) -> dict[str, torch.Tensor]:
    choice, disguises = seed.spawn(2)
    rng = np.random.default_rng(choice)
    picked = rng.choice(len(references), size=min(count, len(references)), replace=False)
    return planted(references[torch.from_numpy(picked)], flip_ok, disguises)


def _detections(
    copies: Mapping[str, torch.Tensor],
    references: torch.Tensor,
    ways: Sequence[Alignment],
    calibration_scores: NDArray[np.float64],
    params: FilterMemorizedParams,
) -> dict[str, Detection]:
    together = torch.cat(list(copies.values()))  # one search costs less than one for each kind
    scores = nearest(together, references, params.neighbours, ways).scores().numpy()
    detected = (p_values(scores, calibration_scores) <= params.alpha).reshape(len(copies), -1)
    return {kind: Detection(len(found), int(found.sum())) for kind, found in zip(copies, detected, strict=True)}


def _drops(dropped: NDArray[np.bool_]) -> dict[str, float]:
    count = int(np.count_nonzero(dropped))
    return {"generated": len(dropped), "dropped": count, "dropped_share": count / max(len(dropped), 1)}


def _detection_share(judgements: Sequence[Judgement], kind: str) -> dict[str, float]:
    copies = sum(judgement.planted[kind].copies for judgement in judgements)
    return {"detected": sum(judgement.planted[kind].detected for judgement in judgements) / copies, "copies": copies}
