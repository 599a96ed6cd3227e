import pytest
import torch
from torch import nn

from stages.gan.networks import (
    ConditionalBatchNorm,
    Discriminator,
    NetworkConfig,
    build_generator,
    to_bytes,
    to_network_range,
)
from stages.plumbing.errors import UserError

CONFIG = NetworkConfig(classes=4, channels=3, height=6, width_pixels=5, latent_dim=8, width=16)


def test_every_byte_survives_the_way_to_network_range_and_back() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert to_network_range(values).min() == -1
    assert to_network_range(values).max() == 1
    assert torch.equal(to_bytes(to_network_range(values)), values)


def test_generated_images_have_the_shape_and_range_of_the_data() -> None:
    images = build_generator(CONFIG)(torch.randn(7, 8), torch.arange(7) % 4)
    assert images.shape == (7, 3, 6, 5)
    assert images.abs().max() <= 1


def test_conditional_batch_norm_equals_batch_norm_then_gain_and_bias_of_the_class() -> None:
    layer, reference = ConditionalBatchNorm(5, 3), nn.BatchNorm1d(5, affine=False)
    nn.init.normal_(layer.gain.weight)
    nn.init.normal_(layer.bias.weight)
    hidden, labels = torch.randn(12, 5) * 3 + 1, torch.arange(12) % 3
    for _ in range(2):
        expected = reference(hidden) * layer.gain.weight[labels] + layer.bias.weight[labels]
        assert torch.allclose(layer(hidden, labels), expected, atol=1e-5)
        layer.eval()
        reference.eval()


def test_the_logit_is_psi_plus_trust_times_the_projection() -> None:
    discriminator = Discriminator(CONFIG).eval()
    images, labels = torch.rand(9, 3, 6, 5) * 2 - 1, torch.arange(9) % 4
    trust = torch.linspace(0, 1, 9)
    features = discriminator.features(images)
    psi = features @ discriminator.psi.weight[0] + discriminator.psi.bias
    projection = torch.einsum("nf,nf->n", discriminator.embed.weight[labels], features)
    assert torch.allclose(discriminator(images, labels, trust), psi + trust * projection, atol=1e-5)


def test_spectral_norm_bounds_every_layer_by_one() -> None:
    discriminator = Discriminator(CONFIG)
    layers = [discriminator.input, discriminator.hidden, discriminator.psi, discriminator.embed]
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(25)
        for _ in range(300):  # a power iteration at each call in training mode
            discriminator(torch.zeros(1, 3, 6, 5), torch.zeros(1, dtype=torch.int64), torch.ones(1))
    discriminator.eval()
    norms = [torch.linalg.matrix_norm(layer.weight.detach(), 2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * 4, rel=1e-2)


def test_large_images_are_refused_in_words() -> None:
    with pytest.raises(UserError, match="28 x 28"):
        build_generator(NetworkConfig(10, 1, 28, 28, 32, 64))
