"""Augmentation of all the discriminator sees, real and fake alike, so that it cannot learn a small data set by heart.

The policies are DiffAugment's (Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", 2020) and
flips. As in ADA (Karras et al., "Training Generative Adversarial Networks with Limited Data", 2020), each is applied to
an image with a probability, the strength, which follows how far the discriminator overfits. While enough images stay
as they are, the generator cannot gain by drawing augmented ones (ADA, section 2.2 and appendix C).
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Generator, Tensor

Policy = Literal["translation", "cutout", "colour", "flip"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

NUMBERS = 4  # uniform random numbers, 0..1, for each image and policy: one to choose the image, three to change it


def allowed(policies: Sequence[Policy], flip_ok: bool) -> tuple[Policy, ...]:
    """Return these policies in the order of `POLICIES`, without `flip` unless mirror images keep their class."""
    return tuple(policy for policy in POLICIES if policy in policies and (flip_ok or policy != "flip"))


def adapt(strength: float, signal: float, target: float, step: float) -> float:
    """Return the strength, 0..1, one `step` up where the signal of overfitting is above its target, down where below.

    ADA, section 3. Its signals are r_v and r_t (eq. 1): 0 without overfitting, 1 with nothing else. A signal that is no
    number leaves the strength as it is.
    """
    direction = (signal > target) - (signal < target)
    return min(max(strength + direction * step, 0.0), 1.0)


def augment(images: Tensor, policies: Sequence[Policy], strength: Tensor | float, generator: Generator) -> Tensor:
    """Apply each policy to each image with probability `strength`, all independently of one another.

    `images`: float32 (N, C, H, W) in [-1, 1], C 1 or 3; the result has the same shape and type. It can be
    differentiated twice with respect to `images`. `strength`: 0..1, a number or a 0-d tensor on the images' device, as
    is `generator`. Images that no policy falls on stay as they are. The order of `policies` does not matter. As many
    random numbers are drawn at any strength.

    `colour` may leave [-1, 1]: as in DiffAugment nothing is clipped, which would stop the gradient.
    """
    draws = torch.rand(len(_TRANSFORMS), NUMBERS, len(images), 1, 1, 1, generator=generator, device=images.device)
    for (policy, transform), (choice, *numbers) in zip(_TRANSFORMS.items(), draws, strict=True):
        if policy in policies:
            images = transform(images, choice < strength, *numbers)
    return images


# Each of these changes the chosen images, bool (N, 1, 1, 1), by random numbers of that shape. At 8 x 8 pixels the time
# goes by the number of tensor operations, not by their size.


def _colour(images: Tensor, chosen: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add U(-0.5, 0.5), scale about a pixel's mean colour by U(0, 2), then about the image's mean by U(0.5, 1.5)."""
    # All three in one: the image's mean moves with the brightness and is untouched by saturation. What is not chosen is
    # multiplied by 1 and gets 0 added.
    contrast = torch.where(chosen, contrast + 0.5, 1.0)
    offset = chosen * (brightness - 0.5) + (1 - contrast) * images.mean(dim=(1, 2, 3), keepdim=True)
    if images.shape[1] == 1:
        return torch.addcmul(offset, contrast, images)
    saturated = torch.where(chosen, 2 * saturation, 1.0) * contrast
    offset = torch.addcmul(offset, contrast - saturated, images.mean(dim=1, keepdim=True))
    return torch.addcmul(offset, saturated, images)


def _flip(images: Tensor, chosen: Tensor, side: Tensor, *_unused: Tensor) -> Tensor:
    """Mirror left to right with probability 1/2."""
    return torch.where(chosen & (side < 0.5), images.flip(3), images)


def _translation(images: Tensor, chosen: Tensor, down: Tensor, right: Tensor, *_unused: Tensor) -> Tensor:
    """Shift by whole pixels, up to an eighth of each side either way; border pixels are repeated.

    DiffAugment fills with 0, a mid grey. Where images have a black or white border, as scans and digits do, that draws
    a bar that no real image has, and its edge outshines what is to be learnt. Repeating the border gives a picture that
    might have been taken. The price is that the shift leaves no mark to undo it by: where nearly all images are shifted
    (strengths above about 0.75) it can leak into what is generated, which harms far less than a bar would.
    """
    height, width = images.shape[2:]
    # (N, 1, H, 1) and (N, 1, 1, W): the row and the column that each pixel is taken from
    rows = (torch.arange(height, device=images.device).view(-1, 1) - chosen * _shift(down, height)).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - chosen * _shift(right, width)).clamp(0, width - 1)
    source = torch.add(columns, rows, alpha=width).flatten(2).expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, source).view(images.shape)


def _shift(draw: Tensor, side: int) -> Tensor:
    farthest = side // 8
    return (draw * (2 * farthest + 1)).long() - farthest


def _cutout(images: Tensor, chosen: Tensor, row: Tensor, column: Tensor, *_unused: Tensor) -> Tensor:
    """Set a square of half the side to 0; its centre lies anywhere in the image, and the border clips it."""
    height, width = images.shape[2:]
    rows = (chosen.squeeze(3) & _in_square(row, height)).unsqueeze(3)
    # A product of two small masks: to fill by a mask as large as the images takes three times as long.
    return images * (1 - rows.float() * _in_square(column, width).unsqueeze(2).float())


def _in_square(draw: Tensor, side: int) -> Tensor:
    """Return which of the rows (or columns) lie in the square, (N, 1, side)."""
    length = side // 2
    first = (draw.flatten(2) * (side + 1 - length % 2)).long() - length // 2
    from_first = torch.arange(side, device=draw.device) - first
    return (from_first >= 0) & (from_first < length)


# In the order they are applied: DiffAugment cuts out last, so that a hole is 0 and does not change an image's mean.
_TRANSFORMS: dict[Policy, Callable[..., Tensor]] = {
    "colour": _colour,
    "flip": _flip,
    "translation": _translation,
    "cutout": _cutout,
}
