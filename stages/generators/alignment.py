"""Classes brought into line: small turns, shifts and zooms, learned jointly, after which a class's images look alike.

Congealing (Learned-Miller, "Data Driven Image Models through Continuous Joint Alignment", IEEE PAMI 2006): every image
moves so that it agrees better with the others of its class, and the transforms' mean stays at the identity, since only
differences of pose can be told from images. Here the agreement is the correlation with the mean of the others, and the
moves are gradient steps through a differentiable warp, from blurred images to sharp ones. A generator that learns the
aligned images need not spend itself on poses; what it draws is turned back by poses of seen images of the class.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.data import ReplicateData, TrustedImages

BLURS = (1 / 9, 1 / 18, 1 / 36)  # standard deviations, as shares of an image's side, from coarse to fine
STEPS = 80  # for each of them
RATE = 0.04  # of Adam, in radians, halves of a side and logarithms of the zoom; falls to 0 over each blur's steps
RESERVE = 0.3  # weight of a pose's squared size beside 1 - correlation: what hardly gains stays where it is
LEAST_DEVIATION = 1e-3  # of an image's values: below it an image is one tone, which no pose can be read from
NUMBERS = 4  # of a pose


@dataclass(frozen=True)
class Poses:
    """How N images lie beside the mean of their class.

    numbers: float32 (N, 4): angle in radians, logarithm of the zoom, and shift right and down in halves of a side.
    labels: int64 (N,), and trust in them, float32 (N,), 0..1.
    """

    numbers: Tensor
    labels: Tensor
    trust: Tensor

    def align(self, images: Tensor, rows: Tensor) -> Tensor:
        """Images uint8 (M, C, H, W) that have the poses of these rows (M,), brought into line."""
        return to_bytes(resample(to_network_range(images), matrices(self.numbers[rows])))

    def turn_back(self, images: Tensor, labels: NDArray[np.int64], seed: int) -> Tensor:
        """Aligned images (M, C, H, W) in [-1, 1] of these classes, each given a seen pose of its class at random.

        What an image gets depends on `seed` and its place alone.
        """
        rows, draw = torch.empty(len(labels), dtype=torch.int64), np.random.default_rng((seed, NUMBERS))
        wanted, places = torch.from_numpy(labels), torch.from_numpy(draw.random(len(labels)))
        for label in wanted.unique():
            chances = (self.trust * (self.labels == label)).double().cpu().cumsum(0)
            rows[wanted == label] = torch.searchsorted(chances, places[wanted == label] * chances[-1], right=True)
        return resample(images, matrices(self.numbers[rows.to(images.device)]).inverse())


def aligned(data: ReplicateData, real: TrustedImages) -> tuple[Poses, ReplicateData, TrustedImages]:
    """The poses of the real images, which begin with the labelled ones, and the same images brought into line.

    Those of other classes, which are no part of `real`, are brought into line too.
    """
    everything = real.beside(data.other_images, data.other_labels)
    found = Poses(congeal(everything), everything.labels, everything.trust)
    rows = torch.arange(len(everything.labels), device=everything.labels.device)
    images = found.align(everything.images, rows)
    sizes = [len(data.labels), len(real.labels) - len(data.labels), len(data.other_labels)]
    labelled, unlabelled, others = images.split(sizes)
    own = len(real.labels)
    poses = Poses(found.numbers[:own], real.labels, real.trust)
    data = replace(data, images=labelled, unlabelled=unlabelled, other_images=others)
    return poses, data, replace(real, images=images[:own])


def congeal(real: TrustedImages) -> Tensor:
    """Poses float32 (N, 4) of images, whose mean over each class is 0, so that no class moves; see `Poses`.

    An image counts as far as its label is trusted. A class of one image stays as it is.
    """
    images = to_network_range(real.images).mean(dim=1, keepdim=True)
    numbers = torch.zeros(len(images), NUMBERS, device=images.device, requires_grad=True)
    for blur in BLURS:
        seen = _blurred(images, blur * images.shape[-1])
        adam = torch.optim.Adam([numbers], lr=RATE)
        for step in range(STEPS):
            adam.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            adam.zero_grad()
            moved = resample(seen, matrices(numbers)).flatten(1)
            agreement = (_standardised(moved) * _others(moved.detach(), real)).sum(dim=1)
            (RESERVE * numbers.square().sum() - agreement.sum()).backward()
            adam.step()
            with torch.no_grad():
                numbers -= _class_means(numbers, real)[real.labels]
    return numbers.detach()


def matrices(numbers: Tensor) -> Tensor:
    """Where in an image the places of the aligned one come from, (N, 3, 3), in coordinates of -1..1, right and down."""
    angle, zoom, right, down = numbers.unbind(dim=1)
    cos, sin, zero = zoom.exp() * angle.cos(), zoom.exp() * angle.sin(), torch.zeros_like(angle)
    rows = [cos, -sin, right, sin, cos, down, zero, zero, torch.ones_like(angle)]
    return torch.stack(rows, dim=1).view(-1, 3, 3)


def resample(images: Tensor, places: Tensor) -> Tensor:
    """Square images (N, C, H, W) with each pixel taken from where `places` (N, 3, 3) says; the border goes on."""
    grid = functional.affine_grid(places[:, :2], list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _blurred(images: Tensor, deviation: float) -> Tensor:
    reach = max(1, round(2 * deviation))
    places = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.softmax(-(places**2) / (2 * deviation**2), dim=0)
    padded = functional.pad(images, [reach] * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _standardised(rows: Tensor) -> Tensor:
    """Rows (N, P) with mean 0 and length 1, or about 0 where they are of one tone."""
    centred = rows - rows.mean(dim=1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True).clamp_min(LEAST_DEVIATION * rows.shape[1] ** 0.5)


def _others(moved: Tensor, real: TrustedImages) -> Tensor:
    """For each image the mean of the others of its class, standardised, (N, P); 0 where it is alone."""
    rows, trust = _standardised(moved), real.trust[:, None]
    sums = torch.zeros(int(real.labels.max()) + 1, rows.shape[1], device=rows.device)
    sums = sums.index_add(0, real.labels, rows * trust)
    return _standardised(sums[real.labels] - rows * trust)


def _class_means(numbers: Tensor, real: TrustedImages) -> Tensor:
    """Means (K, 4) over the classes' images, each of which has one that is trusted."""
    sums = torch.zeros(int(real.labels.max()) + 1, NUMBERS + 1, device=numbers.device)
    weighted = torch.cat([numbers, torch.ones_like(numbers[:, :1])], dim=1) * real.trust[:, None]
    sums = sums.index_add(0, real.labels, weighted)
    return sums[:, :-1] / sums[:, -1:].clamp_min(torch.finfo(sums.dtype).tiny)
