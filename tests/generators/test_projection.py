"""The logit is the one of Miyato and Koyama (2018), its class part weighted by trust."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.network_config import NetworkConfig
from stages.generators.projection import ProjectionDiscriminator

COUNT = 9
LABELS = torch.arange(COUNT) % 3


@pytest.fixture
def judge(make: Callable[..., AdversarialGenerator]) -> ProjectionDiscriminator:
    return make("projection").discriminator.eval()


@pytest.fixture
def features(judge: ProjectionDiscriminator, config: NetworkConfig) -> Tensor:
    random = torch.Generator().manual_seed(2)
    return judge.trunk(torch.rand(COUNT, *config.image_shape, generator=random) * 2 - 1).detach()


def test_full_trust_gives_the_logit_of_the_paper(judge: ProjectionDiscriminator, features: Tensor) -> None:
    logits = judge.logits(features, LABELS, torch.ones(COUNT))
    for row in range(COUNT):
        # eq. 5: y^T V phi(x) + psi(phi(x)), with y a one-hot vector
        one_hot = torch.eye(3)[LABELS[row]]
        projection = one_hot @ judge.embed.weight @ features[row]
        expected = projection + judge.psi.weight[0] @ features[row] + judge.psi.bias[0]
        torch.testing.assert_close(logits[row], expected)


def test_without_trust_the_label_does_not_matter(judge: ProjectionDiscriminator, features: Tensor) -> None:
    trust = torch.zeros(COUNT)
    assert torch.equal(judge.logits(features, LABELS, trust), judge.logits(features, LABELS.roll(1), trust))
    assert not torch.equal(judge.logits(features, LABELS, 1 - trust), judge.logits(features, LABELS.roll(1), 1 - trust))


def test_the_logit_is_linear_in_trust(judge: ProjectionDiscriminator, features: Tensor) -> None:
    none, whole = (judge.logits(features, LABELS, torch.full((COUNT,), trust)) for trust in (0.0, 1.0))
    trust = torch.linspace(0, 1, COUNT)
    torch.testing.assert_close(judge.logits(features, LABELS, trust), none + trust * (whole - none))


def test_the_projection_alone_tells_classes_apart(judge: ProjectionDiscriminator, features: Tensor) -> None:
    assert judge.class_losses(features, LABELS, torch.ones(COUNT)).tolist() == [0.0] * COUNT


def test_spectral_norm_bounds_both_parts_of_the_logit(config: NetworkConfig) -> None:
    judge = ProjectionDiscriminator(replace(config, spectral=True))
    layers = [judge.psi, judge.embed]
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(25)
        for _ in range(200):  # a power iteration at each call in training mode
            judge.logits(torch.zeros(1, config.width), torch.zeros(1, dtype=torch.int64), torch.ones(1))
    judge.eval()
    gains = [torch.linalg.matrix_norm(layer.weight.detach(), 2).item() for layer in layers]
    assert gains == pytest.approx([1.0, 1.0], rel=2e-2)
