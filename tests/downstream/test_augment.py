"""Augmentation keeps what must be kept, and changes each image by itself."""

import pytest
import torch
from torch import Generator

from stages.downstream.augment import IMAGES_PER_DRAW, build_policy, global_draws_from, in_groups
from stages.downstream.params import ClassicParams, RandAugmentParams, TrainDownstreamParams

STILL = ClassicParams(rotation_degrees=0, translation_pixels=0, zoom=0, brightness=0, contrast=0)
AUTOMATIC = ["randaugment", "trivialaugment"]
POLICIES = ["none", "classic", *AUTOMATIC]


def pictures(count=64, channels=1, size=8, seed=0):
    return torch.rand(count, channels, size, size, generator=Generator().manual_seed(seed)) * 2 - 1


def seeded(seed=0):
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (3, 32)])
def test_shape_type_and_range_are_kept(params, name, channels, size):
    images = pictures(20, channels, size)
    changed = build_policy(name, params, flip_ok=True)(images, seeded())
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert changed.abs().max() <= 1


@pytest.mark.parametrize("name", POLICIES)
def test_same_seed_same_images_and_only_then(params, name):
    policy, images = build_policy(name, params, flip_ok=True), pictures()
    assert torch.equal(policy(images.clone(), seeded(1)), policy(images.clone(), seeded(1)))
    assert torch.equal(policy(images.clone(), seeded(1)), policy(images.clone(), seeded(2))) == (name == "none")


@pytest.mark.parametrize("name", POLICIES)
def test_neither_the_given_images_nor_the_global_generator_are_touched(params, name):
    images, state = pictures(), torch.get_rng_state()
    before = images.clone()
    build_policy(name, params, flip_ok=True)(images, seeded())
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", AUTOMATIC)
def test_automatic_policies_differ_within_a_batch(params, name):
    image = pictures(1).expand(64, -1, -1, -1)
    changed = build_policy(name, params, flip_ok=False)(image, seeded())
    assert len(changed.flatten(1).unique(dim=0)) >= 64 // 2


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_what_is_mixed_afterwards_is_augmented_like_classic(params, name):
    images = pictures()
    expected = build_policy("classic", params, flip_ok=True)(images, seeded())
    assert torch.equal(build_policy(name, params, flip_ok=True)(images, seeded()), expected)


def test_images_share_a_draw_in_small_groups_only():
    """The transform is seen to be called on groups, after a shift of nothing, and with pixels of 0..255."""
    groups = []

    def transform(pixels):
        groups.append(pixels)
        return 255 - pixels

    images = pictures(IMAGES_PER_DRAW + 3)
    changed = in_groups(transform, translation_pixels=0, flip_ok=False)(images, seeded())
    assert [len(group) for group in groups] == [IMAGES_PER_DRAW, 3]
    assert {group.dtype for group in groups} == {torch.uint8}
    torch.testing.assert_close(changed, -images, rtol=0, atol=1 / 255 + 1e-5)


def test_global_draws_follow_the_generator_and_leave_no_trace():
    def draw(generator):
        with global_draws_from(generator):
            return torch.rand(3)

    state, generator = torch.get_rng_state(), seeded()
    first, second = draw(generator), draw(generator)
    assert torch.equal(first, draw(seeded()))
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_randaugment_at_no_strength_is_the_shift_alone(params):
    """Only equalize and autocontrast know no magnitude; a ramp's histogram is flat and nearly full already."""
    images = torch.linspace(-1, 0.95, 64).view(1, 1, 8, 8).expand(64, -1, -1, -1)
    still = params.model_copy(update={"classic": STILL, "randaugment": RandAugmentParams(num_ops=1, magnitude=0)})
    changed = build_policy("randaugment", still, flip_ok=False)(images, seeded())
    assert (changed - images).abs().max() < 0.15


@pytest.mark.parametrize("name", ["classic", "randaugment"])
@pytest.mark.parametrize("flip_ok", [False, True])
def test_images_are_mirrored_only_where_allowed(params, name, flip_ok):
    ramp = torch.linspace(-1, 1, 8).expand(200, 1, 8, 8)
    harmless = TrainDownstreamParams.model_validate(
        params.model_dump() | {"classic": STILL.model_dump(), "randaugment": {"num_ops": 1, "magnitude": 0}}
    )
    changed = build_policy(name, harmless, flip_ok)(ramp, seeded())
    mirrored = (changed[..., 0] > changed[..., -1]).all(dim=(1, 2)).float().mean()
    assert mirrored == 0 if not flip_ok else 0.35 < mirrored < 0.65
