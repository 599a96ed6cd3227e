"""Small generators, and random images for them to learn from."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from stages.generators import accountant
from stages.generators.batches import RandomFeed
from stages.generators.interface import LearningGenerator
from stages.generators.kinds import external, projected
from stages.generators.network_config import NetworkConfig
from stages.generators.params import BatchParams
from stages.generators.registry import kind
from stages.labelling.data import ReplicateData, TrustedImages
from tests.generators.toy import ADVERSARIAL, HINGE, images_elsewhere, random_moments, small_backbone, toy_params
from tests.labelling.toy import of_two_domains, toy_data

Make = Callable[..., LearningGenerator]


@pytest.fixture(autouse=True)
def made_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few images that kind `external` finds whatever its path, and a network that `projected` finds likewise."""
    monkeypatch.setattr(external, "labelled_images", images_elsewhere)
    monkeypatch.setattr(projected, "open_backbone", small_backbone)


@pytest.fixture(scope="module", autouse=True)
def hasty_accountant(request: pytest.FixtureRequest) -> Iterator[None]:
    """Somewhat more noise than is needed, which is found four times as fast, where noise is not what is tested."""
    if request.path.name in ("test_accountant.py", "test_private.py"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accountant, "EXACT", 1.2)
        accountant.least_noise.cache_clear()
        yield
    accountant.least_noise.cache_clear()


@pytest.fixture
def config() -> NetworkConfig:
    return NetworkConfig("dense", classes=3, channels=1, size=8, latent_dim=6, width=12, components=16, spectral=False)


@pytest.fixture
def make(config: NetworkConfig) -> Make:
    """A generator at its start, the same each time; changes: of an adversarial one's config, or another's section."""

    def make(name: str, objective: dict[str, Any] = HINGE, **changes: Any) -> LearningGenerator:
        if name in ADVERSARIAL:
            config_of_it = replace(config, **changes)
            plan = {"networks": asdict(config_of_it), "objective": objective, "reconstruction": 0.0, "backbone": {}}
            plan["size"] = config_of_it.size
            start: Any = random_moments(config_of_it) if config_of_it.layers == "dense" else None
        else:
            data, params = of_two_domains(toy_data(4)), toy_params(name, latent_dim=6, width=12, **changes)
            plan, start = kind(name).study(data, _wholly_trusted(data), params, 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            generator = kind(name)(plan)
        generator.initialise(start)
        assert isinstance(generator, LearningGenerator)
        return generator

    return make


def _wholly_trusted(data: ReplicateData) -> TrustedImages:
    images = torch.cat([data.images, data.unlabelled])
    return TrustedImages(images, torch.arange(len(images)) % data.classes, torch.ones(len(images)))


@pytest.fixture
def real(config: NetworkConfig) -> TrustedImages:
    """30 random images of each class in turn, every other one with a given label, the rest less and less trusted."""
    random = torch.Generator().manual_seed(0)
    trust = torch.linspace(1, 0, 30)
    trust[::2] = 1
    return TrustedImages(
        images=torch.randint(256, (30, *config.image_shape), generator=random, dtype=torch.uint8),
        labels=torch.arange(30) % config.classes,
        trust=trust,
    )


@pytest.fixture
def feed(real: TrustedImages, config: NetworkConfig) -> RandomFeed:
    """Batches of 12 with sources; the first ten images are the labelled ones."""
    plain = BatchParams(labelled_share=None, balanced=False)
    return RandomFeed(
        real=real,
        labelled=10,
        batch_size=12,
        params=plain,
        latent_dim=config.latent_dim,
        with_sources=True,
        random=torch.Generator().manual_seed(1),
    )
