"""Pixel delta: what makes two images of a class differ is added to images of other classes, pixel by pixel."""

import torch
from torch import Generator, Tensor

from stages.downstream.augment import Policy
from stages.downstream.many_shot import ManyShot
from stages.imaging.pixels import to_network_range

STRENGTH = 0.6  # of the difference; a prototype tried it on clothes
CHANGED = 0.5  # share of the images


def with_deltas(policy: Policy, given: ManyShot) -> Policy:
    """The policy, and then on half of the images .6 times the difference of two images of one many-shot class.

    All classes are drawn alike often. What lies beyond black and white is cut off.
    """
    order = given.labels.argsort(stable=True)
    counts = given.labels.bincount()
    starts, device = counts.cumsum(0) - counts, given.images.device

    def changed(images: Tensor, generator: Generator) -> Tensor:
        draw = torch.rand(len(images), 4, generator=generator, device=images.device).cpu()
        own = (draw[:, 0] * len(counts)).long()
        first = (draw[:, 1] * counts[own]).long()
        second = (first + 1 + (draw[:, 2] * (counts[own] - 1)).long()) % counts[own]
        pair = [to_network_range(given.images[order[starts[own] + place].to(device)]) for place in (first, second)]
        strength = STRENGTH * (draw[:, 3] < CHANGED).to(images).view(-1, 1, 1, 1)
        return (policy(images, generator) + strength * (pair[0] - pair[1])).clamp(-1, 1)

    return changed
