"""A guide asks for the class that an image was drawn for, learns nothing itself, and is heard."""

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from stages.generators import guidance, quality
from stages.generators.guidance import Guide
from stages.generators.params import GuidanceParams
from stages.generators.quality import draw_classes
from stages.generators.training import train
from stages.labelling import pool, soft_labels
from stages.labelling.data import TrustedImages
from tests.generators.toy import GUIDED, STILL, Memory, toy_params
from tests.labelling.toy import CLASSES, hasty_fit, taught_for, toy_data, toy_images

MEMBERS = 3


@pytest.fixture
def members() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES)).requires_grad_(False) for _ in range(MEMBERS)]


def guide(members: list[nn.Module], **changes: Any) -> Guide:
    return Guide(members, GuidanceParams(**STILL | {"weight": 2.0} | changes), flip_ok=False)


def asked(guide: Guide, images: Tensor, trust: Tensor | None = None, seed: int = 0) -> Tensor:
    labels = torch.arange(len(images)) % CLASSES
    given = torch.ones(len(images)) if trust is None else trust
    return guide.losses(images, labels, given, Generator().manual_seed(seed))


def drawn(count: int) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("count", "looked_at_by"), [(7, [0, 0, 0, 1, 1, 1, 2]), (2, [0, 1])])
def test_it_asks_for_the_weighted_cross_entropy_of_whoever_looks(
    members: list[nn.Module], count: int, looked_at_by: list[int]
) -> None:
    images = drawn(count)
    logits = torch.cat([members[who](image[None]) for who, image in zip(looked_at_by, images, strict=True)])
    expected = 2.0 * cross_entropy(logits, torch.arange(count) % CLASSES, reduction="none")
    torch.testing.assert_close(asked(guide(members), images), expected, rtol=1e-4, atol=1e-4)


def test_it_asks_nothing_where_the_class_is_not_trusted(members: list[nn.Module]) -> None:
    half = asked(guide(members), drawn(6), torch.tensor([0.0, 0.5, 1.0] * 2))
    whole = asked(guide(members), drawn(6))
    torch.testing.assert_close(half, whole * torch.tensor([0.0, 0.5, 1.0] * 2))


def test_the_images_are_to_change_and_it_is_not(members: list[nn.Module]) -> None:
    images = drawn(6).requires_grad_()
    asked(guide(members, contrast=0.3), images).sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(dim=1) > 0).all()
    assert not any(parameter.requires_grad for member in members for parameter in member.parameters())


def test_it_looks_at_images_augmented_by_its_own_strengths(members: list[nn.Module]) -> None:
    still, moving = guide(members), guide(members, rotation_degrees=30)
    assert torch.equal(asked(still, drawn(6), seed=0), asked(still, drawn(6), seed=1))
    assert not torch.equal(asked(moving, drawn(6), seed=0), asked(moving, drawn(6), seed=1))


class Light(nn.Module):
    """Takes bright images for the first class and dark ones for the last."""

    def forward(self, images: Tensor) -> Tensor:
        return 5 * images.mean(dim=(1, 2, 3)).unsqueeze(1) * torch.linspace(1, -1, CLASSES)


def test_a_generator_draws_what_its_guide_wants_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guidance, "fit_members", lambda *_: [Light()])
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=1))
    monkeypatch.setattr(quality, "SAMPLES", 30)
    data = toy_data(pool=0)

    def brighter(asked: dict[str, float] | None) -> float:
        params = toy_params("refined_gaussian", width=8, steps=20, samples_every=20, log_every=20, guidance=asked)
        made = train(data, pool.unguessed(data), params, 0, lambda _: None, Memory()).generator
        images, labels = draw_classes(made.network, made, data, 20, seed=0)
        brightness = images.float().mean(dim=(1, 2, 3))
        return float(brightness[labels == 0].mean() - brightness[labels == CLASSES - 1].mean())

    plain, little, much = (brighter(each and STILL | {"weight": each}) for each in (None, 1.0, 10.0))
    assert plain + 1 < little < much - 1


def test_it_learns_from_the_images_as_far_as_their_labels_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_labels, "COURSE", taught_for(40))
    data = toy_data(pool=6)
    images, truth = toy_images(20, 9)
    lies = torch.cat([data.labels, (toy_images(6, 1)[1] + 1) % CLASSES])

    def right(trust: float) -> float:
        given = torch.cat([torch.ones(len(data.labels)), torch.full((len(data.unlabelled),), trust)])
        real = TrustedImages(torch.cat([data.images, data.unlabelled]), lies, given)
        members = Guide.of(data, real, GuidanceParams(**GUIDED), seed=0).members
        seen = soft_labels.Teacher(members, temperature=1.0).probabilities(images)
        return float((seen.argmax(dim=1) == truth).float().mean())

    assert right(0.0) > 0.95
    assert right(1.0) < 0.8
