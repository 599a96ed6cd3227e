"""The smallest data and parameters that a GAN can be trained with, and a checkpoint in memory."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stages.generators.moments import Components, Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.params import TrainGanParams
from stages.labelling.data import GanData
from stages.labelling.quick_classifier import QuickClassifier, fit

CLASSES = 3
CONFIG = NetworkConfig(
    family="projection",
    layers="dense",
    classes=CLASSES,
    channels=1,
    size=8,
    latent_dim=8,
    width=32,
    components=20,
    spectral=True,
)
RELATIVISTIC = {"kind": "relativistic", "gradient_penalty": 1.0}


def toy_images(each: int, seed: int, side: int = 8) -> tuple[Tensor, Tensor]:
    """Three classes of grey images, uint8 (N, 1, side, side): a bright band at the top, in the middle or at the end."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(each)
    images = torch.randint(0, 60, (len(labels), 1, side, side), generator=random)
    for row, label in enumerate(labels.tolist()):
        images[row, 0, 3 * label : 3 * label + 2] += 180
    return images.to(torch.uint8), labels


def toy_data(pool: int, validation: int = 5, side: int = 8) -> GanData:
    """Five labelled images of each class, `pool` unlabelled ones and `validation` others."""
    unlabelled, _ = toy_images(pool, 1, side)
    return GanData(
        *toy_images(5, 0, side), unlabelled, *toy_images(validation, 2, side), classes=CLASSES, flip_ok=False
    )


def of_classes(data: GanData, kept: int) -> GanData:
    """The same data with the first classes alone."""
    labelled, validation = data.labels < kept, data.validation_labels < kept
    return replace(
        data,
        images=data.images[labelled],
        labels=data.labels[labelled],
        validation_images=data.validation_images[validation],
        validation_labels=data.validation_labels[validation],
        classes=kept,
    )


def toy_params(**changes: Any) -> TrainGanParams:
    """Parameters of a short training; one snapshot, and no checkpoint."""
    default = {
        "seed": 0,
        "family": "projection",
        "objective": {"kind": "hinge"},
        "layers": "dense",
        "steps": 30,
        "batch_size": 32,
        "latent_dim": 8,
        "width": 32,
        "generator_learning_rate": 1e-3,
        "discriminator_learning_rate": 1e-3,
        "ema_decay": 0.99,
        "augment": {"policies": ["translation", "cutout", "colour", "flip"], "limit": 0.8},
        "snapshots": 1,
        "rollbacks": 2,
        "device": "cpu",
        "precision": "float32",
        "compile": False,
        "log_every": 20,
        "samples_every": 20,
        "checkpoint_every": 1000,
    }
    return TrainGanParams.model_validate(default | changes)


def random_moments(config: NetworkConfig, seed: int = 0) -> Moments:
    """Moments of no images: orthonormal components that reach every pixel, and Gaussians that differ by class."""
    random = torch.Generator().manual_seed(seed)
    pixels, count = config.channels * config.size**2, config.components
    basis = torch.linalg.qr(torch.randn(pixels, count, generator=random)).Q.T
    components = Components(torch.zeros(pixels), basis, torch.linspace(2, 1, count))
    means = torch.randn(config.classes, count, generator=random)
    rank = min(count, config.latent_dim)
    return Moments(components, means, torch.randn(config.classes, count, rank, generator=random) / 4)


def hasty_fit(steps: int) -> Callable[..., QuickClassifier]:
    """The quick classifier's `fit`, after so few steps that it knows little."""

    def hasty(*arguments: Any, **keywords: Any) -> QuickClassifier:
        return fit(*arguments, **(keywords | {"steps": steps, "batch_size": 8}))

    return hasty


class Memory:
    """A checkpoint as it comes back from a file; `history` has all that was saved."""

    def __init__(self, content: bytes | None = None) -> None:
        self.history = [] if content is None else [content]

    def load(self) -> dict[str, Any] | None:
        return torch.load(io.BytesIO(self.history[-1]), weights_only=True) if self.history else None

    def save(self, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.history.append(buffer.getvalue())
