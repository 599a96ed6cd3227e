"""Mixing: every image of a batch is joined with another one of it, and their targets in the same proportion."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from stages.downstream.augment import global_draws_from

# float32 images (N, C, H, W), their float32 targets (N, K), and a generator on the same device -> the same, mixed
Mixing = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]

MIXUP_ALPHA = 0.2  # of the Beta distribution that shares are drawn from; the paper's for ImageNet is 0.1 to 0.4
CUTMIX_ALPHA = 1.0


def build_mixing(name: str) -> Mixing | None:
    """torchvision's `mixup` or `cutmix` for an arm's `augment` of that name; None for any other name.

    `mixup` (Zhang et al. 2018, arXiv:1710.09412): a weighted mean of two images. `cutmix` (Yun et al. 2019,
    arXiv:1905.04899): a rectangle of one image is put into the other. One share is drawn per batch. Targets
    may have any sum: weights that they carry are mixed with them.
    """
    if name not in ("mixup", "cutmix"):
        return None
    from torchvision.transforms import v2  # costs seconds more than torch, so only where it is used

    mix = v2.MixUp(alpha=MIXUP_ALPHA) if name == "mixup" else v2.CutMix(alpha=CUTMIX_ALPHA)

    def mixing(images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        # torchvision joins neighbours in the batch, where images of one source lie side by side
        rows = torch.randperm(len(images), generator=generator, device=images.device)
        with global_draws_from(generator):
            return mix(images[rows], targets[rows])

    return mixing
