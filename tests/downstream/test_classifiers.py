"""The classifiers work at all sizes, and their initial weights are a function of the seed."""

import pytest
import torch
from torchvision.models import resnet18

from stages.downstream.classifiers import build_classifier
from stages.plumbing.errors import UserError


@pytest.mark.parametrize("size", [8, 16, 28, 32, 50, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_gives_finite_logits_that_every_weight_shapes(channels, size):
    model = build_classifier("cnn", channels, size, classes=7, width=4, seed=0)
    logits = model(torch.rand(5, channels, size, size) * 2 - 1)
    assert logits.shape == (5, 7)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32), (1, 65)])
def test_resnet18_fits_every_size(channels, size):
    model = build_classifier("resnet18", channels, size, classes=7, width=4, seed=0)
    logits = model(torch.rand(2, channels, size, size) * 2 - 1)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_resnet18_is_torchvisions():
    """Above 64 pixels, with three channels, nothing is adapted: the same tensors in the same order give the same."""
    model = build_classifier("resnet18", 3, 72, classes=5, width=4, seed=0).eval()
    reference = resnet18(num_classes=5).eval()
    reference.load_state_dict(dict(zip(reference.state_dict(), model.state_dict().values(), strict=True)))
    images = torch.rand(2, 3, 72, 72)
    torch.testing.assert_close(model(images), reference(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "side"), [(8, 1), (64, 8), (65, 3)])
def test_resnet18_keeps_small_images_at_full_size_at_first(size, side):
    model = build_classifier("resnet18", 1, size, classes=5, width=4, seed=0)
    before_pooling = model[:-3](torch.zeros(2, 1, size, size))
    assert before_pooling.shape == (2, 512, side, side)


@pytest.mark.parametrize("kind", ["cnn", "resnet18"])
def test_initial_weights_depend_on_the_seed_alone(kind):
    def weights(seed):
        return torch.cat([weight.flatten() for weight in build_classifier(kind, 1, 8, 10, 8, seed).parameters()])

    state = torch.get_rng_state()
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_too_small_images_are_refused():
    with pytest.raises(UserError, match="7 pixels are too small"):
        build_classifier("cnn", 1, 7, 10, 8, 0)
