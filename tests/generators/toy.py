"""The smallest generators of every kind, what they learn from, and a checkpoint in memory."""

import io
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.optim import SGD

from stages.generators.batches import DomainFeed, RandomFeed, RegionFeed
from stages.generators.interface import Batch, Draws, Feed, Learner, LearningGenerator
from stages.generators.moments import Components, Moments
from stages.generators.network_config import NetworkConfig
from stages.generators.params import (
    KINDS,
    NO_FOLDER,
    AnyGenerator,
    ConditionalParams,
    GeneratorParams,
    LearningParams,
    SteppedParams,
)
from stages.imaging.backbones import Backbone, build_backbone
from stages.labelling.data import Form
from stages.sources.params import ImageParams
from tests.labelling.toy import CLASSES, toy_images, toy_masks

CONFIG = NetworkConfig(
    layers="dense", classes=CLASSES, channels=1, size=8, latent_dim=8, width=32, components=20, spectral=True
)
HINGE = {"kind": "hinge", "margin": 1.0}
RELATIVISTIC = {"kind": "relativistic", "gradient_penalty": 1.0}
LEARNING = [name for name, (schema, _) in KINDS.items() if issubclass(schema, SteppedParams)]
JUDGING = [name for name in LEARNING if name != "private_features"]
AUGMENTED = [name for name, (schema, _) in KINDS.items() if issubclass(schema, LearningParams)]
ADVERSARIAL = [name for name, (schema, _) in KINDS.items() if issubclass(schema, ConditionalParams)]
FORM = Form(["top", "middle", "end"], ImageParams(size=8, channels="grey", fit="pad", flip_ok=False))
_SECTION: TypeAdapter[GeneratorParams] = TypeAdapter(AnyGenerator)
# A short training without a checkpoint; and what kinds that don't learn want.
_FIELDS: dict[str, Any] = {
    "labels": "class",
    "align": False,
    "drawn_size": 32,
    "rank": 8,
    "objective": HINGE,
    "layers": "dense",
    "scales": 2,
    "images_per_class": 2,
    "reconstruction": 10.0,
    "rearrangement": 0.5,
    "range": "local",
    "cycle": 0.0,
    "identity": 0.0,
    "self_regularisation": 0.1,
    "history": 40,
    "conditional": True,
    "steps": 30,
    "batch_size": 32,
    "batches": {"labelled_share": None, "balanced": False},
    "latent_dim": 8,
    "width": 32,
    "generator_learning_rate": 1e-3,
    "discriminator_learning_rate": 1e-3,
    "ema_decay": 0.99,
    "augment": {"policies": ["translation", "cutout", "colour", "flip"], "limit": 0.8},
    "rollbacks": 2,
    "precision": "float32",
    "compile": False,
    "log_every": 20,
    "samples_every": 20,
    "checkpoint_every": 1000,
    "epsilon": 3.0,
    "delta": 1e-3,
    "protects": "image",
    "noise": "reproducible",
    "frequencies": 4,
    "clip": 0.5,
    "covariance": "pooled",
    "features": 40,
    "bandwidth": 0.5,
    "discriminator_steps": 2,
    "lot": 3,
    "gradient_clip": 1.0,
    "start_share": 0.5,
    "backbone": {"name": "test_efficientnet", "size": 32, "weights": "some"},
}


def toy_params(kind: str = "projection", **changes: Any) -> GeneratorParams:
    """The section of a small generator of this kind."""
    schema, _ = KINDS[kind]
    fields = {name: value for name, value in _FIELDS.items() if name in schema.model_fields}
    if kind == "infilling":
        fields["augment"] = {"policies": ["translation", "cutout", "flip"], "limit": 0.8}
    path = "made elsewhere" if kind == "external" else NO_FOLDER
    return _SECTION.validate_python({"kind": kind, "path": path} | fields | changes)


@cache
def small_backbone(*_: Any, **__: Any) -> Backbone:
    """A network with random weights, always the same: what it sees are functions of the image, which is enough here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone("test_efficientnet", 32)


def images_elsewhere(*_: Any) -> tuple[Any, Any, Any]:
    """What `labelled_images` reads: names, pixels and labels of 3, 2 and 1 images of the classes, mixed."""
    images, labels = toy_images(3, seed=77)
    chosen = [6, 0, 3, 1, 4, 2]
    names = np.array([f"{FORM.class_names[labels[row]]}/{row}.png" for row in chosen])
    return names, images[chosen].numpy(), labels[chosen].numpy()


def random_moments(config: NetworkConfig, seed: int = 0) -> Moments:
    """Moments of no images: orthonormal components that reach every pixel, and Gaussians that differ by class."""
    random = torch.Generator().manual_seed(seed)
    pixels, count = config.channels * config.size**2, config.components
    basis = torch.linalg.qr(torch.randn(pixels, count, generator=random)).Q.T
    components = Components(torch.zeros(pixels), basis, torch.linspace(2, 1, count))
    means = torch.randn(config.classes, count, generator=random)
    rank = min(count, config.latent_dim)
    return Moments(components, means, torch.randn(config.classes, count, rank, generator=random) / 4)


def some_draws(labels: Tensor, latents: Tensor, sources: Tensor | None = None, masks: Tensor | None = None) -> Draws:
    """Draws of these classes, each of its class's first image."""
    return Draws(labels, latents, torch.zeros_like(labels), sources, masks)


def feed_for(generator: LearningGenerator, feed: RandomFeed) -> Feed:
    """This feed, or one that draws its labelled images as those of a source domain and the others as the target's."""
    if generator.starts_from == "region":
        masks = toy_masks(feed.real.labels[: feed.labelled], feed.real.images.shape[-1])
        return RegionFeed(**{**vars(feed), "latent_dim": generator.latent_dim}, masks=masks)
    if generator.starts_from != "domain":
        return replace(feed, latent_dim=generator.latent_dim)
    source, target = feed.real[: feed.labelled], feed.real[feed.labelled :]
    return DomainFeed(
        real=target,
        source=source,
        batch_size=feed.batch_size,
        latent_dim=generator.latent_dim,
        random=feed.random,
    )


class OneBatch(Feed):
    """The same batch each time, whatever it is to be drawn among."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.labels = batch, batch.labels

    def draw(self, among: Tensor | None = None) -> Batch:  # noqa: ARG002
        return self.batch


def learner_of(generator: LearningGenerator, generator_rate: float = 0.1, discriminator_rate: float = 0.1) -> Learner:
    """Plain gradient descent, so that every step can be told by hand; nothing is augmented."""
    rates = {"generator": generator_rate, "discriminator": discriminator_rate}
    optimisers = {name: SGD(player.parameters(), lr=rates[name]) for name, player in generator.players().items()}
    return Learner(optimisers, lambda images: images, nullcontext)


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Names of the parameters and buffers that are others than in such a copy."""
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


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
