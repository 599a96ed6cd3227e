"""D2D-CE equals its definition, read off the paper term by term, and does what it is for."""

from collections.abc import Callable
from itertools import pairwise
from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from stages.generators.adversarial import AdversarialGenerator
from stages.generators.kinds.auxiliary import (
    CLASS_WEIGHT,
    NEGATIVE_MARGIN,
    POSITIVE_MARGIN,
    TEMPERATURE,
    AuxiliaryDiscriminator,
    data_to_data_cross_entropy,
)
from stages.generators.network_config import NetworkConfig

AXES = torch.eye(3)
LABELS = torch.arange(12) % 3
SURE = torch.ones(12)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=1)


def by_definition(
    embeddings: list[Tensor], proxies: list[Tensor], labels: list[int], trust: list[float]
) -> list[float]:
    """Kang et al. 2021, the definition of D2D-CE, pair by pair, with trust in the other image's label."""
    losses = []
    for one, label in zip(embeddings, labels, strict=True):
        drawn = exp(min(float(one @ proxies[label]) - POSITIVE_MARGIN, 0) / TEMPERATURE)
        pushed = 0.0
        for other, its_label, trusted in zip(embeddings, labels, trust, strict=True):
            if its_label != label:
                pushed += trusted * exp(max(float(one @ other) - NEGATIVE_MARGIN, 0) / TEMPERATURE)
        losses.append(-log(drawn / (drawn + pushed)))
    return losses


@given(st.integers(0, 1000), st.lists(st.integers(0, 2), min_size=1, max_size=7), st.integers(1, 5))
def test_equals_the_double_loop_of_its_definition(seed: int, labels: list[int], dimensions: int) -> None:
    embeddings, proxies = unit(len(labels), dimensions, seed=seed), unit(3, dimensions, seed=seed + 1)
    trust = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    losses = data_to_data_cross_entropy(embeddings, proxies, torch.tensor(labels), trust)
    expected = by_definition(list(embeddings), list(proxies), labels, trust.tolist())
    assert losses.tolist() == pytest.approx(expected, abs=1e-9)


def test_a_batch_of_one_class_has_nothing_to_tell_apart() -> None:
    embeddings = unit(4, 3).requires_grad_()
    losses = data_to_data_cross_entropy(embeddings, unit(3, 3, seed=1), torch.ones(4, dtype=torch.int64), torch.ones(4))
    assert losses.tolist() == pytest.approx([0.0] * 4, abs=1e-12)
    (gradient,) = torch.autograd.grad(losses.sum(), embeddings)
    assert gradient.abs().max() < 1e-12


def test_the_further_classes_are_apart_the_lower_the_loss() -> None:
    middle = normalize(torch.ones(12, 3), dim=1)
    means = [
        data_to_data_cross_entropy(normalize(middle.lerp(AXES[LABELS], share), dim=1), AXES, LABELS, SURE).mean()
        for share in torch.linspace(0, 1, 6).tolist()
    ]
    assert all(after < before for before, after in pairwise(means))


def test_images_on_their_own_side_of_both_margins_are_left_alone() -> None:
    # Three classes 120 degrees apart, each image on its proxy: products of 1 within a class, -1/2 across.
    angles = torch.arange(3) * 2 * torch.pi / 3
    proxies = torch.stack([angles.cos(), angles.sin()], dim=1)
    embeddings = proxies[LABELS].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(data_to_data_cross_entropy(embeddings, proxies, LABELS, SURE).sum(), embeddings)
    assert not gradient.any()


@pytest.fixture
def judge(make: Callable[..., AdversarialGenerator]) -> AuxiliaryDiscriminator:
    return make("auxiliary").discriminator.eval()


@pytest.fixture
def features(judge: AuxiliaryDiscriminator, config: NetworkConfig) -> Tensor:
    random = torch.Generator().manual_seed(2)
    return judge.trunk(torch.rand(12, *config.image_shape, generator=random) * 2 - 1).detach()


def test_the_logit_judges_the_image_alone(judge: AuxiliaryDiscriminator, features: Tensor) -> None:
    logits = judge.logits(features, LABELS, torch.ones(12))
    assert logits.shape == (12,)
    assert torch.equal(logits, judge.logits(features, LABELS.roll(1), torch.zeros(12)))


def test_class_losses_are_d2d_ce_weighted_by_trust(judge: AuxiliaryDiscriminator, features: Tensor) -> None:
    embeddings = normalize(features @ judge.embed.weight.T + judge.embed.bias, dim=1)
    trust = torch.linspace(0, 1, 12)
    losses = data_to_data_cross_entropy(embeddings, normalize(judge.proxies, dim=1), LABELS, trust)
    expected = torch.stack([CLASS_WEIGHT * losses[row] * trust[row] for row in range(12)])
    torch.testing.assert_close(judge.class_losses(features, LABELS, trust), expected)


def test_without_trust_there_is_no_class_loss(judge: AuxiliaryDiscriminator, features: Tensor) -> None:
    assert judge.class_losses(features, LABELS, torch.zeros(12)).tolist() == [0.0] * 12


def test_the_length_of_a_proxy_does_not_matter(judge: AuxiliaryDiscriminator, features: Tensor) -> None:
    before = judge.class_losses(features, LABELS, torch.ones(12))
    with torch.no_grad():
        judge.proxies.mul_(torch.tensor([[0.1], [1.0], [10.0]]))
    torch.testing.assert_close(judge.class_losses(features, LABELS, torch.ones(12)), before)
