"""Conditional batch norm equals torch's batch norm followed by the gain and bias of the class."""

import pytest
import torch
from torch import Tensor, nn

from stages.generators.layers import ConditionalBatchNorm

FEATURES, CLASSES = 5, 3
LABELS = torch.arange(12) % CLASSES
FORMS = pytest.mark.parametrize(
    ("places", "plain"), [((), nn.BatchNorm1d), ((4, 3), nn.BatchNorm2d)], ids=["features", "maps"]
)


def hidden(places: tuple[int, ...] = (), seed: int = 0) -> Tensor:
    return torch.randn(12, FEATURES, *places, generator=torch.Generator().manual_seed(seed)) * 3 + 1


def random_layer() -> ConditionalBatchNorm:
    layer, random = ConditionalBatchNorm(FEATURES, CLASSES), torch.Generator().manual_seed(1)
    for table in (layer.gain, layer.bias):
        nn.init.normal_(table.weight, generator=random)
    return layer


@FORMS
def test_equals_batch_norm_then_gain_and_bias_of_the_class(places: tuple[int, ...], plain: type[nn.Module]) -> None:
    layer, reference = random_layer(), plain(FEATURES, affine=False)
    gain, bias = (
        table.weight[LABELS].reshape(12, FEATURES, *(1 for _ in places)) for table in (layer.gain, layer.bias)
    )
    for seed in range(3):
        expected = reference(hidden(places, seed)) * gain + bias
        torch.testing.assert_close(layer(hidden(places, seed), LABELS), expected)
    torch.testing.assert_close(layer.running_mean, reference.running_mean)
    torch.testing.assert_close(layer.running_var, reference.running_var)
    layer.eval(), reference.eval()
    torch.testing.assert_close(layer(hidden(places, 9), LABELS), reference(hidden(places, 9)) * gain + bias)


@FORMS
def test_starts_as_plain_batch_norm(places: tuple[int, ...], plain: type[nn.Module]) -> None:
    normal = ConditionalBatchNorm(FEATURES, CLASSES)(hidden(places), LABELS)
    torch.testing.assert_close(normal, plain(FEATURES, affine=False)(hidden(places)))


@pytest.mark.parametrize("table", ["gain", "bias"])
def test_what_a_class_has_of_its_own_changes_its_rows_only(table: str) -> None:
    layer = random_layer()
    before = layer(hidden(), LABELS)
    with torch.no_grad():
        getattr(layer, table).weight[1] += 1
    changed = (layer(hidden(), LABELS) != before).any(dim=1)
    assert torch.equal(changed, LABELS == 1)


def test_statistics_are_learnt_in_training_only() -> None:
    layer = random_layer()
    layer(hidden(), LABELS)
    mean, var = layer.running_mean.clone(), layer.running_var.clone()
    layer.eval()(hidden(seed=5), LABELS)
    assert torch.equal(layer.running_mean, mean)
    assert torch.equal(layer.running_var, var)
    layer.train()(hidden(seed=5), LABELS)
    assert not torch.equal(layer.running_mean, mean)
    assert not torch.equal(layer.running_var, var)
