"""It starts as the control `gaussian`, fits every size, and has one judge for patches and one for the whole image.

Beyond the size that it draws at, it enlarges.
"""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stages.generators.network_config import NetworkConfig
from stages.generators.refining import BLOCKS, RefinedGaussian, RefiningGenerator
from stages.generators.training import train
from stages.generators.two_judges import TwoJudges
from stages.generators.unet import HALVINGS, ResidualBlock, block_side, noise_side
from stages.imaging.pixels import to_bytes, to_network_range
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from tests.generators.toy import Memory, random_moments, some_draws, toy_params
from tests.labelling.toy import toy_data

CONFIG = NetworkConfig("dense", classes=3, channels=1, size=28, latent_dim=6, width=8, components=16, spectral=True)


def draws_for(config: NetworkConfig, count: int = 3) -> object:
    random = torch.Generator().manual_seed(0)
    numbers = config.latent_dim + noise_side(config.size) ** 2
    return some_draws(torch.arange(count) % config.classes, torch.randn(count, numbers, generator=random))


def network(config: NetworkConfig) -> RefinedGaussian:
    torch.manual_seed(0)
    made = RefinedGaussian(config, config.size).eval()
    made.start_from(random_moments(config))
    return made


def test_before_it_learns_it_draws_what_the_gaussian_draws() -> None:
    made, draws = network(CONFIG), draws_for(CONFIG)
    made.gaussian.means.mul_(3)
    assert made.gaussian(draws).abs().max() > 1, "beyond black and white too"
    assert torch.equal(to_bytes(made(draws)), to_bytes(made.gaussian(draws)))


@pytest.mark.parametrize(("size", "channels", "block"), [(8, 3, 1), (31, 1, 1), (32, 3, 1), (50, 3, 2), (128, 1, 4)])
def test_noise_and_class_reach_every_pixel_of_every_size(size: int, channels: int, block: int) -> None:
    config = replace(CONFIG, size=size, channels=channels, width=4)
    made, draws = network(config), draws_for(config)
    assert block_side(size) == block
    assert noise_side(size) % 2**HALVINGS == 0
    torch.nn.init.normal_(made.refine.output.weight)
    for gains in (norm.gain for norm in made.refine.norms):
        torch.nn.init.normal_(gains.weight)
    start = made.gaussian(draws)
    noise = draws.latents[:, config.latent_dim :].unflatten(1, (1, noise_side(size), noise_side(size)))
    residual = made.refine(start, noise, draws.labels)
    assert residual.shape == (3, channels, size, size)
    assert ((made.refine(start, -noise, draws.labels) - residual).abs() > 0).float().mean() > 0.99
    assert ((made.refine(start, noise, draws.labels.flip(0))[0] - residual[0]).abs() > 0).float().mean() > 0.99


def test_every_residual_block_adds_what_depends_on_the_class_and_without_its_weights_nothing() -> None:
    made, draws = network(CONFIG), draws_for(CONFIG)
    torch.nn.init.normal_(made.refine.output.weight)
    blocks = [block for block in made.modules() if isinstance(block, ResidualBlock)]
    assert len(blocks) == sum(BLOCKS.values())
    for block in blocks:
        before = made(draws)
        torch.nn.init.normal_(block.norms[1].gain.weight[0])
        changed = (made(draws) != before).flatten(1).any(dim=1)
        assert changed.tolist() == (draws.labels == 0).tolist()
        torch.nn.init.zeros_(block.convolutions[1].weight)
        maps = torch.randn(2, block.convolutions[0].in_channels, 4, 4)
        assert torch.equal(block(maps, draws.labels[:2]), maps)


def test_a_patch_is_judged_by_itself_and_the_whole_by_all_pixels() -> None:
    judges = TwoJudges(CONFIG).eval()
    torch.manual_seed(0)
    for layer in judges.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.normal_(layer.weight)
    image = torch.randn(1, 1, 28, 28).requires_grad_()
    logits = judges.logits(judges.features(image, None), torch.tensor([1]), torch.ones(1))
    assert logits.shape == (1, 1 + 7 * 7)
    (of_whole,) = torch.autograd.grad(logits[0, 0], image, retain_graph=True)
    (of_corner,) = torch.autograd.grad(logits[0, 1], image)
    assert (of_whole != 0).all()
    seen = (of_corner[0, 0] != 0).nonzero()
    assert seen.max() < 14, "the first patch lies in the upper left"


def test_the_whole_image_counts_as_much_as_all_its_patches() -> None:
    values = torch.tensor([[3.0, 1.0, 2.0, 6.0]])
    assert TwoJudges(CONFIG).together(values).tolist() == [3.0 + 3.0]


@pytest.mark.parametrize("size", [8, 31, 64, 128])
def test_both_judges_take_every_size(size: int) -> None:
    config = replace(CONFIG, size=size, width=4)
    judges = TwoJudges(config)
    logits = judges.logits(judges.features(torch.randn(2, 1, size, size), None), torch.tensor([0, 1]), torch.ones(2))
    assert judges.together(logits).shape == (2,)


def learned(data: ReplicateData, drawn_size: int) -> RefiningGenerator:
    params = toy_params("refined_gaussian", drawn_size=drawn_size, steps=4, width=8)
    made = train(data, pool.unguessed(data), params, seed=0, report=lambda _: None, checkpoint=Memory()).generator
    assert isinstance(made, RefiningGenerator)
    return made


def test_larger_images_are_learned_and_judged_at_the_drawn_size_and_drawn_at_their_own() -> None:
    small = toy_data(pool=3)
    large = replace(small, images=enlarged(small.images), unlabelled=enlarged(small.unlabelled))
    one, other = learned(small, drawn_size=8), learned(large, drawn_size=8)
    weights = other.state_dict()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, weights[name]), f"{name}: of the same images at that size"
    draws = some_draws(torch.tensor([0, 2]), torch.randn(2, one.latent_dim))
    drawn, again = one.network(draws), other.network(draws)
    assert (drawn.shape[-1], again.shape[-1]) == (8, 16)
    assert torch.allclose(functional.adaptive_avg_pool2d(again, 8), drawn, atol=0.3)
    logits = other.judge(to_network_range(large.images[:2]), draws)
    assert torch.equal(logits, one.judge(to_network_range(small.images[:2]), draws))


def enlarged(images: Tensor) -> Tensor:
    return images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def test_without_trust_no_class_matters() -> None:
    judges, images = TwoJudges(CONFIG).eval(), torch.randn(2, 1, 28, 28)
    features = judges.features(images, None)
    one, other = (
        judges.logits(features, torch.tensor(labels), torch.tensor([0.0, 1.0])) for labels in ([0, 0], [1, 1])
    )
    assert torch.equal(one[0], other[0])
    assert not torch.allclose(one[1], other[1])
