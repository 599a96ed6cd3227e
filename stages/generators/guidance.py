"""A teacher of the labelled images, whom a generator's images must convince of their class.

A discriminator that compares image and class may know little of what tells classes apart that look alike. A classifier
that learned beforehand, and that stands still, tells the generator from the first step on (Lee and Seok, "Controllable
Generative Adversarial Network", 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.generators.params import GuidanceParams
from stages.imaging.classic import classic
from stages.labelling.data import ReplicateData, TrustedImages
from stages.labelling.soft_labels import fit_members


@dataclass(frozen=True)
class Guide:
    """A teacher's classifiers, which learn no more. flip_ok: whether they know mirrored images."""

    members: Sequence[nn.Module]
    params: GuidanceParams
    flip_ok: bool

    @classmethod
    def of(cls, data: ReplicateData, real: TrustedImages, params: GuidanceParams, seed: int) -> "Guide":
        """One that learned from these images, as far as their labels are trusted."""
        members = fit_members(real, data.classes, data.flip_ok, params, seed)
        return cls([each.requires_grad_(False) for each in members], params, data.flip_ok)

    def losses(self, images: Tensor, labels: Tensor, trust: Tensor, random: Generator) -> Tensor:
        """The teacher's weighted cross-entropy (N,) of images (N, C, H, W) in [-1, 1], augmented for it.

        Each of its classifiers looks at a part of the images: all at all of them would take as many times as long.
        labels, trust: (N,), of the images.
        """
        moved = classic(images.float(), random, self.params, self.flip_ok)
        parts = zip(self.members, moved.chunk(len(self.members)), strict=False)  # a small batch has fewer parts
        logits = torch.cat([member(part) for member, part in parts])
        return self.params.weight * trust * functional.cross_entropy(logits.float(), labels, reduction="none")
