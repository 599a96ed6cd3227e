"""Corruptions and attacks stay within what they state, depend on the seed alone, and hurt as they should."""

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from stages.comparison import robustness
from stages.comparison.robustness import (
    ATTACK_PIXELS,
    CORRUPTIONS,
    NAMES,
    PIXEL,
    accuracy_under,
    corrupt,
    fgsm,
    pgd,
    predict_classes,
)
from stages.downstream.classifiers import build_classifier
from stages.imaging.pixels import to_network_range
from stages.plumbing.errors import UserError


def draw(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Four classes of 8 x 8 images: a faint bright quadrant on noise."""
    noise = torch.randint(60, 140, (300, 1, 8, 8), generator=draw(), dtype=torch.uint8)
    for quadrant in range(4):
        top, left = 4 * (quadrant // 2), 4 * (quadrant % 2)
        noise[quadrant::4, :, top : top + 4, left : left + 4] += 14
    return noise


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return torch.arange(300) % 4


@pytest.fixture(scope="module")
def model(images: Tensor, labels: Tensor) -> nn.Module:
    network = build_classifier("cnn", 1, 8, classes=4, width=8, seed=0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        loss = functional.cross_entropy(network(to_network_range(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 28), (3, 128)])
def test_corrupted_images_are_valid_inputs_that_move_further_with_severity(name, channels, size):
    coarse = torch.rand(6, channels, 4, 4, generator=draw(1))
    fine = functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0.1, 0.9)
    images = (fine + 0.1 * torch.rand(fine.shape, generator=draw(2)) - 0.05).mul(255).to(torch.uint8)
    before = images.clone()
    corrupted = [corrupt(images, name, severity, draw()) for severity in (1, 2, 3)]
    for inputs in corrupted:
        assert inputs.shape == images.shape
        assert inputs.dtype == torch.float32
        assert inputs.min() >= -1
        assert inputs.max() <= 1
    moved = [float((inputs - to_network_range(images)).square().mean()) for inputs in corrupted]
    assert 0 < moved[0] < moved[1] < moved[2]
    assert torch.equal(images, before)


def test_corruptions_do_what_their_units_say():
    grey = torch.full((40, 1, 32, 32), 102, dtype=torch.uint8)  # 0.4 of the range
    noise = corrupt(grey, "gaussian_noise", 1, draw()) - to_network_range(grey)
    assert float(noise.std()) / 2 == pytest.approx(0.05, rel=0.02)
    assert corrupt(grey, "brightness", 2, draw()).unique().add(1).div(2).tolist() == pytest.approx([0.6])
    for smooth, tolerance in (("gaussian_blur", 1e-5), ("contrast", 1e-5), ("jpeg", 4 * PIXEL)):
        torch.testing.assert_close(corrupt(grey, smooth, 3, draw()), to_network_range(grey), rtol=0, atol=tolerance)
    edge = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    edge[..., 4:] = 200
    low, high = corrupt(edge, "contrast", 3, draw()).unique().tolist()
    assert (high - low) / 2 == pytest.approx(0.2 * 200 / 255, rel=1e-4)


@pytest.mark.parametrize("pixels", ATTACK_PIXELS)
def test_attacks_stay_within_their_ball_and_the_range(model, labels, pixels):
    images = torch.randint(0, 256, (300, 1, 8, 8), generator=draw(3), dtype=torch.uint8)
    images[::2] = images[::2] // 128 * 255  # at both ends of the range, where the ball is cut
    inputs = to_network_range(images)
    for moved in (fgsm(model, inputs, labels, pixels), pgd(model, inputs, labels, pixels, draw())):
        assert float((moved - inputs).abs().max()) == pytest.approx(pixels * PIXEL, abs=1e-6)
        assert moved.min() >= -1
        assert moved.max() <= 1


def test_both_attacks_reach_the_worst_point_of_a_linear_model():
    """Of two classes, the loss is greatest where every value goes against the difference of their weights."""
    weights = torch.randn(2, 16, generator=draw())
    inputs = torch.rand(5, 1, 4, 4, generator=draw(1)) - 0.5
    labels = torch.tensor([0, 1, 0, 1, 1])
    away = (weights[1] - weights[0]).sign().view(1, 1, 4, 4) * torch.where(labels == 0, 1, -1).view(-1, 1, 1, 1)
    expected = inputs + 8 / 127.5 * away

    def linear(batch: Tensor) -> Tensor:
        return batch.flatten(1) @ weights.T

    torch.testing.assert_close(fgsm(linear, inputs, labels, 8), expected)
    torch.testing.assert_close(pgd(linear, inputs, labels, 8, draw()), expected)


def test_pgd_is_never_weaker_than_fgsm_and_a_wider_ball_never_weaker_than_a_narrow_one(model, images, labels):
    clean = float((predict_classes(model, to_network_range(images)) == labels).float().mean())
    under = accuracy_under(model, images, labels, ["fgsm", "pgd"], seed=0)
    assert list(under) == ["fgsm_2", "fgsm_8", "pgd_2", "pgd_8"]
    assert clean > 0.9
    for pixels in ATTACK_PIXELS:
        assert under[f"pgd_{pixels}"] <= under[f"fgsm_{pixels}"] <= clean
    assert under["pgd_8"] < under["pgd_2"] < clean
    assert under["pgd_8"] < under["fgsm_8"]


def test_accuracy_is_a_function_of_the_seed_whatever_else_is_asked_for(model, images, labels):
    state = torch.get_rng_state()
    everything = accuracy_under(model, images, labels, NAMES, seed=0)
    assert len(everything) == 3 * len(CORRUPTIONS) + 2 * 2
    assert accuracy_under(model, images, labels, ["pgd"], seed=0).items() <= everything.items()
    noise = accuracy_under(model, images, labels, ["gaussian_noise"], seed=0)
    assert noise.items() <= everything.items()
    assert noise != accuracy_under(model, images, labels, ["gaussian_noise"], seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_attack_does_not_depend_on_the_batches(model, images, labels, monkeypatch):
    whole = pgd(model, to_network_range(images), labels, 8, draw())
    monkeypatch.setattr(robustness, "BATCH", 7)
    parts = pgd(model, to_network_range(images), labels, 8, draw())
    assert float(((whole - parts).abs() > 1e-5).float().mean()) < 1e-3


def test_the_model_is_left_as_it_was(model, images, labels):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train().zero_grad()
    accuracy_under(model, images, labels, NAMES, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_an_unknown_name_is_refused_in_words(model, images, labels):
    with pytest.raises(UserError, match=r"evaluate\.robustness names fog; there are gaussian_noise, "):
        accuracy_under(model, images, labels, ["pgd", "fog"], seed=0)
