"""Which of a run's generators an image is from, if from any: by the fingerprint that each leaves in its images.

A small network learns to tell the sources apart, each a generator in one replicate, or the real images: Yu, Davis and
Fritz, "Attributing Fake Images to GANs" (ICCV 2019, arXiv:1811.08180), section 3.1, where even two GANs that differ in
nothing but their seed could be told apart. It learns from images of which three in four are disturbed: saved as JPEG,
made smaller and larger again, or cropped.

That an image is from none of the sources is a matter of split-conformal p-values, one for each source (Vovk, Gammerman
and Shafer 2005, with thresholds for each class): an image drawn and disturbed like the held-out images of source s has
p_s <= alpha with a probability of at most alpha. Where all p-values are so low, it is from none. How many images of
other generators are told so, nothing promises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.imaging.networks import in_batches
from stages.imaging.pixels import rounded, to_network_range
from stages.memorization import planted
from stages.memorization.conformal import calibration_needed, cutoff_rank, p_values
from stages.plumbing.errors import UserError

STEPS = 1000
BATCH_SIZE = 128
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.2  # share of the steps
LABEL_SMOOTHING = 0.1
HELD_OUT = 4  # one image in so many is not learned from: it calibrates
WIDEST = 128  # channels, at LAST_SIDE pixels; half as many at twice the side
LAST_SIDE = 4
FEATURES = 128
SMALLER = 0.75  # of each side


def rescaled(images: Tensor, _: np.random.Generator) -> Tensor:
    """Brought to three quarters of each side, and back."""
    side = [round(SMALLER * each) for each in images.shape[-2:]]
    small = functional.interpolate(images.float(), side, mode="bilinear", antialias=True)
    return rounded(functional.interpolate(small, images.shape[-2:], mode="bilinear", antialias=True))


# What happens to images on their way: functions of uint8 (N, C, H, W) and random numbers.
DISTURBANCES: dict[str, Callable[[Tensor, np.random.Generator], Tensor]] = {
    "none": planted.exact,
    "JPEG": planted.jpeg,
    "rescaled": rescaled,
    "cropped": planted.crop,
}


def disturbed(images: Tensor, random: np.random.Generator) -> Tensor:
    """Images uint8 (N, C, H, W), each under one of the `DISTURBANCES`, by chance."""
    kinds, result = random.integers(len(DISTURBANCES), size=len(images)), images.clone()
    for kind, disturb in enumerate(DISTURBANCES.values()):
        rows = torch.from_numpy(np.flatnonzero(kinds == kind))
        if len(rows):
            result[rows] = disturb(images[rows], random)
    return result


class FingerprintNetwork(nn.Sequential):
    """3x3 convolutions, the first at full size, where fingerprints are, down to 4 pixels; then two linear layers.

    Logits (N, sources) of images float32 (N, channels, side, side) in [-1, 1].
    """

    def __init__(self, channels: int, side: int, sources: int) -> None:
        sides = [side]
        while sides[-1] > LAST_SIDE:
            sides.append(-(-sides[-1] // 2))
        widths = [channels, *(WIDEST // 2**halvings for halvings in reversed(range(len(sides))))]
        layers = [_convolution(*pair, stride=2 if number else 1) for number, pair in enumerate(pairwise(widths))]
        flat = nn.Linear(WIDEST * sides[-1] ** 2, FEATURES, bias=False)
        super().__init__(*layers, nn.Flatten(), flat, nn.BatchNorm1d(FEATURES), nn.ReLU(), nn.Linear(FEATURES, sources))


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


@dataclass(frozen=True)
class Attributor:
    """Tells the sources apart. calibration: of each, the scores of held-out images, float64 (m,)."""

    network: nn.Module
    calibration: Sequence[NDArray[np.float64]]

    def scores(self, images: Tensor) -> NDArray[np.float64]:
        """How well images uint8 (N, C, H, W) fit each source: the logarithm of its probability, (N, sources)."""
        with torch.no_grad():
            return in_batches(lambda inputs: self.network(inputs).double().log_softmax(dim=1), images).numpy()

    def p_values(self, images: Tensor) -> NDArray[np.float64]:
        """Of images uint8 (N, C, H, W), for each source, (N, sources)."""
        scores = self.scores(images)
        return np.stack([p_values(own, held) for own, held in zip(scores.T, self.calibration, strict=True)], axis=1)


def together(p: NDArray[np.float64], calibration: Sequence[int], alpha: float) -> NDArray[np.float64]:
    """p-values, (sources,), of images that all have one source, by how many of them alone have p <= alpha.

    Of N further images of a source that number is beta-binomial at most, since they share the calibration images; of
    another generator's it is far larger. p: (N, sources). calibration: of each source, how many images calibrate.
    """
    from scipy.stats import betabinom  # a second of start-up

    ranks = [cutoff_rank(alpha, count) for count in calibration]
    few = zip((p <= alpha).sum(axis=0).tolist(), ranks, calibration, strict=True)
    return np.array([betabinom.sf(low - 1, len(p), rank, count + 1 - rank) for low, rank, count in few])


def check_counts(counts: dict[str, int], alpha: float) -> None:
    """Raises UserError where a source has too few images for a p-value of alpha. counts: by the source's name."""
    needed = HELD_OUT * calibration_needed(alpha)
    for name, count in counts.items():
        if count < needed:
            raise UserError(
                f"{name}: {count} images are too few to recognise it by, at an error rate of {alpha:g}: "
                f"{needed} are needed; raise the rate, or generate more"
            )


def split(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows, ascending, of a source's images that are learned from, and of those held out."""
    order = np.random.default_rng(seed).permutation(count)
    held = count // HELD_OUT
    return np.sort(order[held:]), np.sort(order[:held])


def fit(parts: Sequence[Tensor], seed: int, steps: int, tick: Callable[[], object] = lambda: None) -> Attributor:
    """Learns to tell sources apart, and calibrates on images that it did not learn from.

    parts: of each source its images, uint8 (N, C, S, S), all of one shape. tick: called after each step. All sources
    are drawn equally often, whatever their numbers of images.
    """
    first_weights, drawing, disturbing, calibrating = np.random.SeedSequence(seed).generate_state(4).tolist()
    rows = [split(len(part), seed) for part in parts]
    learned = torch.cat([part[torch.from_numpy(own)] for part, (own, _) in zip(parts, rows, strict=True)])
    labels = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(own) for own, _ in rows]))
    network = _trained(learned, labels, len(parts), steps, first_weights, drawing, disturbing, tick)
    attributor, random = Attributor(network, []), np.random.default_rng(calibrating)
    held = [part[torch.from_numpy(own)] for part, (_, own) in zip(parts, rows, strict=True)]
    calibration = [
        np.sort(attributor.scores(disturbed(images, random))[:, source]) for source, images in enumerate(held)
    ]
    return Attributor(network, calibration)


def _trained(
    images: Tensor,
    labels: Tensor,
    sources: int,
    steps: int,
    first_weights: int,
    drawing: int,
    disturbing: int,
    tick: Callable[[], object],
) -> FingerprintNetwork:
    """By AdamW with a one-cycle learning rate and label smoothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(first_weights)
        network = FingerprintNetwork(images.shape[1], images.shape[-1], sources)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps + 1, pct_start=WARM_UP)
    random = np.random.default_rng(disturbing)
    chances = 1 / labels.bincount().double()[labels]
    drawn = torch.multinomial(chances, steps * BATCH_SIZE, replacement=True, generator=Generator().manual_seed(drawing))
    for rows in drawn.split(BATCH_SIZE):
        logits = network(to_network_range(disturbed(images[rows], random)))
        loss = functional.cross_entropy(logits, labels[rows], label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        tick()
    return network.eval()


def accuracies(
    made: Attributor, parts: Sequence[Tensor], groups: NDArray[np.int64], seed: int
) -> dict[str, dict[str, float]]:
    """Disturbance -> shares, 0..1, of the images held out of `fit` that are attributed to their `source`, and to one of
    its `generator`; the mean over the sources. groups: (sources,), the number of each source's generator."""
    random, shares = np.random.default_rng(seed), dict[str, dict[str, float]]()
    for name, disturb in DISTURBANCES.items():
        right = []
        for source, part in enumerate(parts):
            held = part[torch.from_numpy(split(len(part), seed)[1])]
            found = made.scores(disturb(held, random)).argmax(axis=1)
            right.append([np.mean(found == source), np.mean(groups[found] == groups[source])])
        of_source, of_generator = np.mean(right, axis=0).tolist()
        shares[name] = {"source": of_source, "generator": of_generator}
    return shares
