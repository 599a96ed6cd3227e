"""How accuracy falls under common corruptions of the test images and under attacks on the classifier.

Pure, on the images' device, and a function of the images, the model and the seed. Random numbers are drawn for the
whole set at once, and an attack climbs every image's own loss: results do not depend on the batches (rounding aside).
"""

from collections.abc import Callable, Sequence
from math import ceil

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.imaging import disturbances
from stages.imaging.pixels import to_network_range
from stages.plumbing.errors import UserError

# Input: float32 (N, C, H, W) in [-1, 1]; output: logits (N, K). A network is in evaluation mode.
Model = Callable[[Tensor], Tensor]
# Images float32 (N, C, H, W) in [0, 1], a severity and a generator -> the same shape; clipped to [0, 1] afterwards.
Corruption = Callable[[Tensor, float, Generator], Tensor]

BATCH = 128
PIXEL = 1 / 127.5  # one grey level of 0..255, in the units of the model's input
ATTACK_PIXELS = (2, 8)  # radius of the attacks, in grey levels of 0..255
PGD_STEPS = 10


def gaussian_noise(images: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Adds noise of this standard deviation, a share of the range from black to white."""
    return images + deviation * torch.randn(images.shape, generator=generator, device=images.device)


def gaussian_blur(images: Tensor, share: float, _: Generator) -> Tensor:
    """Blurs with a Gaussian whose standard deviation is this share of the image's width."""
    from torchvision.transforms.v2 import functional as transforms

    sigma = share * images.shape[-1]
    return transforms.gaussian_blur(images, [2 * ceil(3 * sigma) + 1] * 2, [sigma] * 2)


def contrast(images: Tensor, factor: float, _: Generator) -> Tensor:
    """Scales each image's distance from its mean grey value."""
    from torchvision.transforms.v2 import functional as transforms

    return transforms.adjust_contrast(images, factor)


def brightness(images: Tensor, shift: float, _: Generator) -> Tensor:
    """Adds a share of the range from black to white. A factor, as torchvision has it, would leave black as it is."""
    return images + shift


def jpeg(images: Tensor, quality: float, _: Generator) -> Tensor:
    """Compresses as JPEG of this quality, 1..95."""
    return disturbances.jpeg(images.mul(255).round().to(torch.uint8), int(quality)) / 255


# Kinds from Hendrycks & Dietterich (2019), "Benchmarking neural network robustness to common corruptions and
# perturbations", arXiv:1903.12261; severities 1 to 3 are ours, to suit images of 8 to 128 pixels.
CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, float, float]]] = {
    "gaussian_noise": (gaussian_noise, (0.05, 0.1, 0.2)),
    "gaussian_blur": (gaussian_blur, (0.03, 0.05, 0.08)),
    "contrast": (contrast, (0.6, 0.4, 0.2)),
    "brightness": (brightness, (0.1, 0.2, 0.3)),
    "jpeg": (jpeg, (50, 25, 10)),
}
ATTACKS = ("fgsm", "pgd")
NAMES = (*CORRUPTIONS, *ATTACKS)


def accuracy_under(model: Model, images: Tensor, labels: Tensor, names: Sequence[str], seed: int) -> dict[str, float]:
    """Accuracy, 0..1, under everything named: `<corruption>_<severity>`, `<attack>_<radius in grey levels>`.

    Args:
        model: logits of inputs; a network is put into evaluation mode and not changed otherwise.
        images: uint8 (N, C, H, W), one or three channels, N >= 1.
        labels: int64 (N,), the true classes, on the images' device.
        names: out of NAMES, each with all its severities or radii.
        seed: of the noise and of the random starts, the same for each of them, so that arms meet the same ones.

    Raises:
        UserError: an unknown name.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise UserError(f"evaluate.robustness names {unknown[0]}; there are {', '.join(NAMES)}")
    if isinstance(model, nn.Module):
        model.eval()
    accuracy = {}
    for name in names:
        levels = range(1, 1 + len(CORRUPTIONS[name][1])) if name in CORRUPTIONS else ATTACK_PIXELS
        for level in levels:
            generator = Generator(images.device).manual_seed(seed)
            if name in CORRUPTIONS:
                inputs = corrupt(images, name, level, generator)
            else:
                inputs = _attack(model, to_network_range(images), labels, name, level, generator)
            accuracy[f"{name}_{level}"] = float((predict_classes(model, inputs) == labels).double().mean())
    return accuracy


def _attack(model: Model, inputs: Tensor, labels: Tensor, name: str, pixels: int, generator: Generator) -> Tensor:
    return fgsm(model, inputs, labels, pixels) if name == "fgsm" else pgd(model, inputs, labels, pixels, generator)


def corrupt(images: Tensor, name: str, severity: int, generator: Generator) -> Tensor:
    """Inputs float32 (N, C, H, W) in [-1, 1] of uint8 images (N, C, H, W), corrupted; severity: 1..3."""
    corruption, levels = CORRUPTIONS[name]
    return corruption(images.float() / 255, levels[severity - 1], generator).clamp(0, 1).mul(2).sub(1)


@torch.no_grad()
def predict_classes(model: Model, inputs: Tensor) -> Tensor:
    """Predicted classes int64 (N,) of inputs float32 (N, C, H, W) in [-1, 1]."""
    return torch.cat([model(batch).argmax(dim=1) for batch in inputs.split(BATCH)])


def fgsm(model: Model, inputs: Tensor, labels: Tensor, pixels: float) -> Tensor:
    """Inputs moved by `pixels` grey levels in the direction in which the loss rises, within [-1, 1].

    Fast gradient sign method, Goodfellow et al. (2015), arXiv:1412.6572, section 4. inputs: float32 (N, C, H, W) in
    [-1, 1]; labels: int64 (N,), the true classes.
    """
    return (inputs + pixels * PIXEL * _loss_gradient(model, inputs, labels).sign()).clamp(-1, 1)


def pgd(model: Model, inputs: Tensor, labels: Tensor, pixels: float, generator: Generator) -> Tensor:
    """Inputs at most `pixels` grey levels away in every value, within [-1, 1], where the loss is high.

    Projected gradient descent from a random start, Madry et al. (2018), arXiv:1706.06083, section 2.1: PGD_STEPS steps
    of 2.5 radii over the number of steps, as theirs: enough to cross the ball from any start, and to turn back.
    inputs: float32 (N, C, H, W) in [-1, 1]; labels: int64 (N,), the true classes.
    """
    radius = pixels * PIXEL
    low, high = (inputs - radius).clamp(min=-1), (inputs + radius).clamp(max=1)
    start = 2 * torch.rand(inputs.shape, generator=generator, device=inputs.device) - 1
    moved = (inputs + radius * start).clamp(low, high)
    for _ in range(PGD_STEPS):
        step = 2.5 * radius / PGD_STEPS * _loss_gradient(model, moved, labels).sign()
        moved = (moved + step).clamp(low, high)
    return moved


def _loss_gradient(model: Model, inputs: Tensor, labels: Tensor) -> Tensor:
    """Gradient of every image's own cross-entropy at `inputs` (N, C, H, W); the model's parameters get none."""

    def gradient(batch: Tensor, own: Tensor) -> Tensor:
        batch = batch.detach().requires_grad_()
        loss = functional.cross_entropy(model(batch), own, reduction="sum")  # a mean would depend on the batch
        return torch.autograd.grad(loss, batch)[0]

    with torch.enable_grad():
        return torch.cat([gradient(*part) for part in zip(inputs.split(BATCH), labels.split(BATCH), strict=True)])
