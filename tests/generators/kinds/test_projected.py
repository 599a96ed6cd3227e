"""Its judges see through a network that stays as it is and lies in no file; all places of all scales are judged."""

import pytest
import torch
from torch import Tensor

from stages.generators.batches import RandomFeed
from stages.generators.kinds.projected import Kind
from stages.generators.network_config import NetworkConfig
from stages.generators.projected_judges import JUDGED_SIDE, SCALES, Eyes, ProjectedJudges
from tests.generators.conftest import Make
from tests.generators.toy import feed_for, learner_of, small_backbone

CONFIG = NetworkConfig("dense", classes=3, channels=1, size=12, latent_dim=6, width=4, components=16, spectral=True)
SIDES = [8, 4, 2, 1]  # of the last four stages of the network, at 32 pixels


def images(count: int = 2, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, 12, 12, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.fixture
def judges() -> ProjectedJudges:
    torch.manual_seed(0)
    return ProjectedJudges(CONFIG, small_backbone()).eval()


def test_the_eyes_see_the_last_stages_and_twice_the_channels_at_half_the_size() -> None:
    maps = Eyes(small_backbone(), channels=1, width=4)(images())
    assert [tuple(each.shape[1:]) for each in maps] == [(4 * 2**i, side, side) for i, side in enumerate(SIDES)]
    assert len(maps) == SCALES


def test_each_scale_is_given_all_coarser_ones_and_no_finer_one() -> None:
    eyes = Eyes(small_backbone(), channels=1, width=4)
    before = eyes(images())
    for changed in range(SCALES):
        eyes.across_channels[changed].weight.mul_(2)
        after = eyes(images())
        alike = [torch.equal(*pair) for pair in zip(before, after, strict=True)]
        assert alike == [False] * (changed + 1) + [True] * (SCALES - changed - 1)
        eyes.across_channels[changed].weight.div_(2)


def test_the_mixing_is_the_same_whatever_else_was_drawn() -> None:
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(Eyes(small_backbone(), channels=1, width=4)(images()))
    assert all(torch.equal(*pair) for pair in zip(*made, strict=True))


def test_what_the_eyes_are_made_of_neither_learns_nor_lies_in_a_file(judges: ProjectedJudges) -> None:
    learned = sum(each.numel() for each in judges.parameters())
    assert learned == sum(each.numel() for each in judges.judges.parameters()) > 0
    assert all(name.startswith("judges.") for name in judges.state_dict())


def test_gradients_reach_every_pixel_through_them(judges: ProjectedJudges) -> None:
    seen = images().requires_grad_()
    logits = judges.together(judges.logits(judges.features(seen), torch.tensor([0, 1]), torch.ones(2)))
    (gradient,) = torch.autograd.grad(logits.sum(), seen)
    assert (gradient != 0).float().mean() > 0.95


def test_every_place_has_a_logit_and_every_scale_counts_alike(judges: ProjectedJudges) -> None:
    places = [min(side, JUDGED_SIDE) ** 2 for side in SIDES]
    logits = judges.logits(judges.features(images()), torch.tensor([0, 1]), torch.ones(2))
    assert logits.shape == (2, sum(places))
    values = torch.cat([torch.full((1, count), 10.0**scale) for scale, count in enumerate(places)], dim=1)
    assert judges.together(values).item() == 1111


def test_without_trust_no_class_matters(judges: ProjectedJudges) -> None:
    features = judges.features(images())
    one, other = (
        judges.logits(features, torch.tensor(labels), torch.tensor([0.0, 1.0])) for labels in ([0, 0], [1, 1])
    )
    assert torch.equal(one[0], other[0])
    assert not torch.allclose(one[1], other[1])


def test_grey_is_colour_of_equal_channels(judges: ProjectedJudges) -> None:
    grey, colour = judges.features(images()), judges.features(images().expand(-1, 3, -1, -1))
    assert torch.allclose(grey, colour, atol=1e-5)


def test_learning_looks_twice_through_the_very_eyes_that_are_compiled(make: Make, feed: RandomFeed) -> None:
    generator, looks = make("projected"), list[Tensor]()
    network, eyes = generator.compiled()
    assert network is generator.network
    eyes.register_forward_pre_hook(lambda _, given: looks.append(given[0]))
    generator.learn(feed_for(generator, feed), learner_of(generator))
    assert [len(look) for look in looks] == [2 * feed.batch_size, feed.batch_size]


def test_it_starts_where_the_refined_gaussian_does(make: Make) -> None:
    one, other = make("projected"), make("refined_gaussian")
    assert isinstance(one, Kind)
    for pair in zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True):
        assert torch.equal(*pair)
