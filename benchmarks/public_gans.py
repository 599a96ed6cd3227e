"""GANs for small images that others publish, as they come from PyPI, to be held against ours at equal time.

They are peers, no dependencies: `pip install lightweight-gan` and `pip install --no-deps torch-mimicry` put them beside
this project. Their networks, losses, augmentation and published settings are taken as they are. Their trainers are not,
as these want folders of files and a GPU. As in `reference_generators`, each returns a sampler and its steps.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from time import process_time
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.reference_generators import Sampler
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError

# Learns from the labelled images for so many CPU seconds, with a seed: what it draws with, and the steps it took.
GanTrainer = Callable[[ReplicateData, float, int], tuple[Sampler, int]]

SAMPLE_BATCH = 128
# mimicry's cGAN with projection (Miyato and Koyama 2018), at a quarter of its width, so that a CPU takes some steps
MIMICRY_SIDE, MIMICRY_BATCH, MIMICRY_WIDTHS, MIMICRY_CRITIC_STEPS = 32, 64, (64, 32), 5
# lightweight-gan (FastGAN, Liu et al. 2021), which knows no classes, likewise
LIGHTWEIGHT_SIDE, LIGHTWEIGHT_BATCH, LIGHTWEIGHT_LATENTS, LIGHTWEIGHT_MAPS = 32, 32, 64, 128
LIGHTWEIGHT_PENALTY, LIGHTWEIGHT_PENALTY_EVERY, LIGHTWEIGHT_AUGMENTED = 10, 4, 0.3
LEARNING_RATE = 2e-4  # of both


def installed() -> Mapping[str, GanTrainer]:
    """Those that are there, by name."""
    known: dict[str, tuple[str, GanTrainer]] = {
        "mimicry": ("torch_mimicry", train_mimicry),
        "lightweight": ("lightweight_gan", train_lightweight),
    }
    return {name: train for name, (package, train) in known.items() if find_spec(package) is not None}


def train_mimicry(data: ReplicateData, seconds: float, seed: int) -> tuple[Sampler, int]:
    """Trains one network for all classes. Raises UserError for images of more than 32 pixels, which it has none for."""
    side = data.images.shape[-1]
    if side > MIMICRY_SIDE:
        raise UserError(f"mimicry's conditional GAN draws {MIMICRY_SIDE} x {MIMICRY_SIDE} pixels; these have {side}")
    deadline, nets = process_time() + seconds, _mimicry("cgan_pd.cgan_pd_32")
    images = _framed(to_network_range(data.images), MIMICRY_SIDE).expand(-1, 3, -1, -1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # networks and fakes are drawn from the global generator
        generator = nets.CGANPDGenerator32(data.classes, ngf=MIMICRY_WIDTHS[0])
        critic = nets.CGANPDDiscriminator32(data.classes, ndf=MIMICRY_WIDTHS[1])
        of_generator, of_critic = (
            torch.optim.Adam(each.parameters(), lr=LEARNING_RATE, betas=(0.0, 0.9)) for each in (generator, critic)
        )
        steps = 0
        while steps == 0 or process_time() < deadline:
            for _ in range(MIMICRY_CRITIC_STEPS):
                rows = torch.randint(len(images), (MIMICRY_BATCH,))
                fake, labels = generator.generate_images_with_labels(MIMICRY_BATCH)
                judged = critic(images[rows], data.labels[rows]), critic(fake.detach(), labels)
                _descend(of_critic, critic.compute_gan_loss(*judged))
            fake, labels = generator.generate_images_with_labels(MIMICRY_BATCH)
            _descend(of_generator, generator.compute_gan_loss(critic(fake, labels)))
            steps += 1
    generator.eval()

    def draw(label: int, count: int) -> Tensor:
        return generator(torch.randn(count, generator.nz), torch.full((count,), label))

    return _sampler(data, draw), steps


def train_lightweight(data: ReplicateData, seconds: float, seed: int) -> tuple[Sampler, int]:
    """Trains a pair of networks for each class, all for equally long; the steps are those of all of them together."""
    library = _lightweight()
    side = max(LIGHTWEIGHT_SIDE, 1 << (data.images.shape[-1] - 1).bit_length())
    networks, steps = list[Any](), 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for label in range(data.classes):
            images = _framed(data.images[data.labels == label].float() / 255, side)
            network, taken = _learn_lightweight(library, images, seconds / data.classes)
            networks.append(network.eval())
            steps += taken

    def draw(label: int, count: int) -> Tensor:
        return 2 * networks[label](torch.randn(count, LIGHTWEIGHT_LATENTS)).clamp(0, 1) - 1

    return _sampler(data, draw), steps


def _learn_lightweight(library: Any, images: Tensor, seconds: float) -> tuple[Any, int]:
    """Its generator, after so many CPU seconds on these images (N, C, S, S) in 0..1."""
    deadline = process_time() + seconds
    form = {"image_size": images.shape[-1], "greyscale": images.shape[1] == 1, "fmap_max": LIGHTWEIGHT_MAPS}
    generator = library.Generator(latent_dim=LIGHTWEIGHT_LATENTS, **form)
    critic = library.Discriminator(**form)
    for network in (generator, critic):
        network.apply(lambda module: library.LightweightGAN._init_weights(None, module))
    judge = library.AugWrapper(critic, images.shape[-1])
    augmented = {"prob": LIGHTWEIGHT_AUGMENTED, "types": ["translation", "cutout"]}
    of_generator, of_critic = (
        torch.optim.Adam(each.parameters(), lr=LEARNING_RATE, betas=(0.5, 0.9)) for each in (generator, critic)
    )
    steps = 0
    while steps == 0 or process_time() < deadline:
        real = images[torch.randint(len(images), (LIGHTWEIGHT_BATCH,))]
        penalised = steps % LIGHTWEIGHT_PENALTY_EVERY == 0
        fake = generator(torch.randn(LIGHTWEIGHT_BATCH, LIGHTWEIGHT_LATENTS)).detach()
        for each in (real, fake):
            each.requires_grad_(penalised)
        of_real = judge(real, calc_aux_loss=True, **augmented)
        of_fake = judge(fake, **augmented)
        loss = sum(library.hinge_loss(*pair) for pair in zip(of_real[:2], of_fake[:2], strict=True)) + of_real[2]
        if penalised:
            logits = [each.sum() for each in (*of_real[:2], *of_fake[:2])]
            gradients = torch.cat(torch.autograd.grad(logits, (real, fake), create_graph=True))
            loss = loss + LIGHTWEIGHT_PENALTY * gradients.flatten(1).square().sum(dim=1).mean()
        _descend(of_critic, loss)
        fakes = generator(torch.randn(LIGHTWEIGHT_BATCH, LIGHTWEIGHT_LATENTS))
        _descend(of_generator, sum(library.gen_hinge_loss(each, None) for each in judge(fakes, **augmented)[:2]))
        steps += 1
    return generator, steps


def _descend(optimiser: torch.optim.Optimizer, loss: Any) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _framed(images: Tensor, side: int) -> Tensor:
    """Square images with their edges repeated up to so many pixels a side."""
    missing = side - images.shape[-1]
    before = missing // 2
    return functional.pad(images, [before, missing - before] * 2, mode="replicate") if missing else images


def _sampler(data: ReplicateData, draw: Callable[[int, int], Tensor]) -> Sampler:
    """draw: so many images of a class, in [-1, 1]. What `_framed` added is cut off again."""
    channels, side = data.images.shape[1], data.images.shape[-1]

    @torch.no_grad()
    def sample(count: int, seed: int) -> tuple[Tensor, Tensor]:
        images = list[Tensor]()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for label in range(data.classes):
                for batch in torch.arange(count).split(SAMPLE_BATCH):
                    drawn = draw(label, len(batch))
                    first = (drawn.shape[-1] - side) // 2
                    cut = drawn[..., first : first + side, first : first + side]
                    images.append(to_bytes(cut if cut.shape[1] == channels else cut.mean(dim=1, keepdim=True)))
        return torch.cat(images), torch.arange(data.classes).repeat_interleave(count)

    return sample


def _mimicry(name: str) -> Any:
    """A module of its networks, without the package's own start, which imports TensorFlow for its measures."""
    if "torch_mimicry" not in sys.modules:
        spec = find_spec("torch_mimicry")
        assert spec is not None  # `installed` looked
        root = ModuleType("torch_mimicry")
        root.__spec__ = spec
        root.__path__ = list(spec.submodule_search_locations or ())
        sys.modules["torch_mimicry"] = root
    return import_module(f"torch_mimicry.nets.{name}")


def _lightweight() -> Any:
    """Its one module, which refuses to be imported without a GPU and then runs without."""
    with patch("torch.cuda.is_available", return_value=True):
        return import_module("lightweight_gan.lightweight_gan")
