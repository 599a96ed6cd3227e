"""Style matching: labelled images of the source domain are made to look like the target's, without a network."""

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from stages.downstream.tone_curves import curve
from stages.imaging.pixels import to_bytes, to_network_range

DRAWS = 3  # images of the target that each image of the source is made alike, one after the other
LOW = 0.09  # of an image's side, the band of low frequencies either way: the largest in Yang & Soatto's table 1

CURVE_KNOTS = 9
CURVE_STEPS = 200
CURVE_BATCH = 128
CURVE_LEARNING_RATE = 0.05
DIRECTIONS = 64  # of the sliced distance, drawn anew in each step
PATCH = 5
LARGEST_SIDE = 16  # of the images that are compared as a whole


def restyled(style: Literal["histogram", "fourier", "tone_curve"], images: Tensor, pool: Tensor, seed: int) -> Tensor:
    """Images uint8 (M, C, H, W) in the style of the pool's: M / N versions of each one, all images before any again.

    Args:
        style: histogram: each version has the histogram of a random image of the pool; fourier: its low frequencies;
            tone_curve: one curve for all images, so that there is one version of each.
        images: uint8 (N, C, H, W), of the source.
        pool: uint8 (U, C, H, W), of the target.
        seed: decides all random numbers.
    """
    generator = Generator(images.device).manual_seed(seed)
    if style == "tone_curve":
        return to_bytes(curve(to_network_range(images), fit_curve(images, pool, generator)))
    match_ = match_histograms if style == "histogram" else match_low_frequencies
    shape = (DRAWS, len(images))
    drawn = torch.randint(len(pool), shape, generator=generator, device=images.device)
    return torch.cat([match_(images, pool[rows], generator) for rows in drawn])


def match_histograms(images: Tensor, references: Tensor, generator: Generator) -> Tensor:
    """Each image, uint8 (N, C, H, W), with exactly the levels of its reference in every channel, in its own order.

    Which of equally bright pixels comes first is drawn: the flat ground of one image would else become a gradient.
    """
    levels = images.flatten(2)
    ties = torch.rand(levels.shape, generator=generator, device=images.device)
    ranks = (levels + ties).argsort(dim=2).argsort(dim=2)
    return references.flatten(2).sort(dim=2).values.gather(2, ranks).view_as(images)


def match_low_frequencies(images: Tensor, references: Tensor, _generator: Generator) -> Tensor:
    """Each image, uint8 (N, C, H, W), with the amplitudes of its reference's low frequencies, and with its own phases.

    Fourier domain adaptation (Yang & Soatto 2020, arXiv:2004.05498, equation 3).
    """
    size = images.shape[-2:]
    spectrum, other = (torch.fft.fft2(each.float()) for each in (images, references))
    bands = [torch.fft.fftfreq(side, 1 / side, device=images.device).abs() <= max(1, int(LOW * side)) for side in size]
    low = bands[0].unsqueeze(1) & bands[1]
    amplitude = torch.where(low, other.abs(), spectrum.abs())
    mixed = torch.fft.ifft2(torch.polar(amplitude, spectrum.angle())).real
    return mixed.round().clamp(0, 255).to(torch.uint8)


def fit_curve(images: Tensor, pool: Tensor, generator: Generator) -> Tensor:
    """The tone curve (1, C, CURVE_KNOTS) after which images look the most like the pool's, both uint8 (N, C, H, W).

    A curve may rise and fall, so that histograms alone do not tell it: what is brought closer are whole images and
    patches, in their sliced Wasserstein distance (Rabin et al. 2011). As a descent finds the nearest curve alone, it
    starts from the identity and from inversion, and the better end is taken.
    """
    source, target = to_network_range(images), to_network_range(pool)
    rising = torch.linspace(-1, 1, CURVE_KNOTS, device=images.device).expand(1, images.shape[1], -1)
    fitted = [_descend(start, source, target, generator) for start in (rising, -rising)]
    return min(fitted, key=lambda each: each[1])[0]


def _descend(start: Tensor, source: Tensor, target: Tensor, generator: Generator) -> tuple[Tensor, float]:
    """The curve that a start leads to, and its mean distance over the last quarter of the steps."""
    knots = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([knots], lr=CURVE_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, CURVE_STEPS)
    distances = torch.empty(CURVE_STEPS)
    for step in range(CURVE_STEPS):
        drawn, other = (
            each[torch.randint(len(each), (CURVE_BATCH,), generator=generator, device=each.device)]
            for each in (source, target)
        )
        distance = _distance(curve(drawn, knots), other, generator)
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            knots.clamp_(-1, 1)
        distances[step] = distance.detach()
    return knots.detach(), float(distances[-CURVE_STEPS // 4 :].mean())


def _distance(first: Tensor, second: Tensor, generator: Generator) -> Tensor:
    """How far two sets of images (N, C, H, W) are apart, by the whole of each and by a patch, at one random place."""
    size = first.shape[-2:]
    top, left = (int(torch.randint(s - PATCH + 1, (), generator=generator, device=first.device)) for s in size)
    of_patches, of_whole = (
        sliced_wasserstein(view(first), view(second), generator)
        for view in (lambda images: images[..., top : top + PATCH, left : left + PATCH], _shrunk)
    )
    return of_patches + of_whole


def _shrunk(images: Tensor) -> Tensor:
    return functional.adaptive_avg_pool2d(images, LARGEST_SIDE) if images.shape[-1] > LARGEST_SIDE else images


def sliced_wasserstein(first: Tensor, second: Tensor, generator: Generator) -> Tensor:
    """Mean squared 2-Wasserstein distance () of two sets, both (N, ...), along random directions."""
    first, second = first.flatten(1), second.flatten(1)
    shape = (first.shape[1], DIRECTIONS)
    directions = functional.normalize(torch.randn(shape, generator=generator, device=first.device), dim=0)
    return ((first @ directions).sort(dim=0).values - (second @ directions).sort(dim=0).values).square().mean()
