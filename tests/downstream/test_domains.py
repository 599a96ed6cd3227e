"""Each domain passes batch norm by itself, and in the end the target's statistics count."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.downstream.augment import build_policy
from stages.downstream.classifiers import build_classifier
from stages.downstream.domains import Domains, in_passes
from stages.downstream.params import TrainDownstreamParams
from stages.downstream.training import derive_seeds, train_classifier
from stages.imaging.networks import STATISTICS
from stages.imaging.pixels import to_network_range
from tests.downstream.toy import examples


def noise(count: int, seed: int, low: int = 0, high: int = 256) -> Tensor:
    return torch.randint(low, high, (count, 1, 8, 8), generator=Generator().manual_seed(seed)).to(torch.uint8)


def network(kind: Literal["cnn", "resnet18"] = "cnn") -> nn.Sequential:
    return build_classifier(kind, 1, 8, 3, 4, seed=0)


@pytest.mark.parametrize("kind", ["cnn", "resnet18"])
def test_a_domains_logits_do_not_depend_on_the_other_one(kind: Literal["cnn", "resnet18"]) -> None:
    model = network(kind)
    images = to_network_range(noise(12, 0))
    darker = torch.cat([images[:8] - 1, images[8:]])
    apart, apart_too = (in_passes(model, each, Domains(8, noise(1, 1))) for each in (images, darker))
    assert torch.equal(apart[8:], apart_too[8:])
    assert not torch.equal(in_passes(model, images, None)[8:], in_passes(model, darker, None)[8:])


@pytest.mark.parametrize("source", [0, 1, 11, 12])
def test_a_domain_with_no_spread_of_its_own_goes_along_with_the_other(source: int) -> None:
    model, images = network(), to_network_range(noise(12, 0))
    assert torch.equal(in_passes(model, images, Domains(source, noise(1, 1))), in_passes(model, images, None))


def test_the_statistics_are_the_pools_whatever_they_were() -> None:
    first, second = network(), network()
    pool, dark = noise(40, 1), noise(40, 2, high=60)
    Domains(0, dark).adapt(second)
    for model in (first, second):
        Domains(0, pool).adapt(model)
    assert all(torch.equal(each, second.state_dict()[name]) for name, each in first.state_dict().items())
    state = first.state_dict()
    seen = functional.conv2d(to_network_range(pool), state["0.0.weight"], padding=1)
    torch.testing.assert_close(state["0.1.running_mean"], seen.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(state["0.1.running_var"], seen.transpose(0, 1).flatten(1).var(dim=1))


def test_a_sorted_pool_gives_what_a_shuffled_one_gives() -> None:
    """Parts of a large pool are each like the whole, else they would hide what parts them."""
    pool = torch.cat([noise(STATISTICS, 1, high=40), noise(STATISTICS, 2, low=200)])
    shuffled = pool[torch.randperm(len(pool), generator=Generator().manual_seed(0))]
    first, second = network(), network()
    for model, each in ((first, pool), (second, shuffled)):
        Domains(0, each).adapt(model)
    torch.testing.assert_close(*(each.state_dict()["1.1.1.running_var"] for each in (first, second)), rtol=0.02, atol=0)


@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_what_is_validated_and_returned_has_the_pools_statistics(
    params: TrainDownstreamParams, toy: Callable[[int, int], tuple[Tensor, Tensor]], averaging: float
) -> None:
    settings = params.classifier.model_copy(update={"checkpoints": 3, "weight_averaging": averaging})
    domains, looks = Domains(8, noise(40, 1)), []

    def adapted(model: nn.Module) -> bool:
        before = {name: each.clone() for name, each in model.state_dict().items()}
        domains.adapt(model)
        return all(torch.equal(each, before[name]) for name, each in model.state_dict().items())

    def validate(model: nn.Module) -> float:
        looks.append(adapted(model))
        return float(len(looks) == 2)

    given, order = examples(*toy(30, 0)), torch.arange(30 * 16).view(30, 16) % 30
    plain = build_policy("none", params, flip_ok=False)
    trained = train_classifier(given, order, plain, None, settings, derive_seeds(0, 0), validate, None, domains)
    assert looks == [True] * 3
    assert trained.step == 20
    assert adapted(trained.model)
