"""The classifier works at all sizes, and its initial weights are a function of the seed."""

import pytest
import torch

from stages.downstream.classifiers import build_classifier, to_input
from stages.plumbing.errors import UserError


@pytest.mark.parametrize("size", [8, 16, 28, 32, 50, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_gives_finite_logits_that_every_weight_shapes(channels, size):
    model = build_classifier(channels, size, classes=7, width=4, seed=0)
    logits = model(torch.rand(5, channels, size, size) * 2 - 1)
    assert logits.shape == (5, 7)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_initial_weights_depend_on_the_seed_alone():
    def weights(seed):
        return torch.cat([weight.flatten() for weight in build_classifier(1, 8, 10, 8, seed).parameters()])

    state = torch.get_rng_state()
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_too_small_images_are_refused():
    with pytest.raises(UserError, match="7 pixels are too small"):
        build_classifier(1, 7, 10, 8, 0)


def test_input_covers_minus_one_to_one():
    levels = to_input(torch.arange(256, dtype=torch.uint8))
    assert levels[0] == -1
    assert levels[255] == 1
    assert (levels.diff() > 0).all()
