"""The quick classifier learns from little, repeats itself, and sees each image alone."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Generator, Tensor

from stages.labelling.quick_classifier import FEATURES, QuickClassifier, fit

CLASSES = 3


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def toy(count: int, seed: int, shape: tuple[int, int, int] = (1, 8, 8)) -> tuple[Tensor, Tensor]:
    """Noise, uint8 (N, C, H, W), with a bright bar whose place is the class; classes in turn."""
    labels = torch.arange(count) % CLASSES
    images = torch.randint(0, 100, (count, *shape), generator=seeded(seed))
    thickness = shape[1] // 8
    for label in range(CLASSES):
        first = (3 * label) * thickness
        images[labels == label, :, first : first + thickness] += 120
    return images.to(torch.uint8), labels


def fit_toy(count: int = 30, seed: int = 0, steps: int = 8) -> QuickClassifier:
    images, labels = toy(count, 0)
    return fit(images, labels, torch.ones(count), CLASSES, flip_ok=True, seed=seed, steps=steps, batch_size=16)


def same(first: QuickClassifier, second: QuickClassifier) -> bool:
    tensors = second.state_dict()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in first.state_dict().items())


def test_five_images_per_class_teach_it_the_digits() -> None:
    digits = load_digits()
    images = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    few = torch.cat([(labels[:898] == digit).nonzero()[:5, 0] for digit in range(10)])
    model = fit(images[few], labels[few], torch.ones(50), 10, flip_ok=False, seed=0, steps=60, batch_size=32)
    assert (model.probabilities(images[898:]).argmax(dim=1) == labels[898:]).float().mean() > 0.8


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 16, 16), (3, 28, 28), (1, 64, 64)])
def test_it_learns_at_every_size(shape: tuple[int, int, int]) -> None:
    images, labels = toy(60, 0, shape)
    model = fit(images[:30], labels[:30], torch.ones(30), CLASSES, flip_ok=True, seed=0, steps=20, batch_size=16)
    assert (model.probabilities(images[30:]).argmax(dim=1) == labels[30:]).float().mean() > 0.9
    assert model.features(images).shape == (60, FEATURES)


@pytest.mark.parametrize("side", [8, 9, 11, 12, 17, 28, 31, 33, 100, 127, 128])
def test_it_takes_images_of_any_side(side: int) -> None:
    model = QuickClassifier(1, side, CLASSES).eval()
    images, _ = toy(4, 0, (1, side, side))
    assert model.side in (8, 16, 32)
    assert model.probabilities(images).shape == (4, CLASSES)
    assert model.features(images).isfinite().all()


def test_the_cost_of_large_images_is_bounded() -> None:
    sizes = [sum(tensor.numel() for tensor in QuickClassifier(3, side, 2).parameters()) for side in (8, 32, 128)]
    assert sizes[1] == sizes[2] < 2 * sizes[0]


def test_the_seed_decides_everything() -> None:
    torch.manual_seed(1)
    first = fit_toy()
    torch.manual_seed(2)
    assert same(first, fit_toy())
    assert not same(first, fit_toy(seed=1))


def test_fitting_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    fit_toy()
    assert torch.equal(before, torch.get_rng_state())


def test_images_without_weight_teach_nothing() -> None:
    images, labels = toy(60, 0)
    wrong = (labels + 1) % CLASSES
    weights = torch.cat([torch.ones(30), torch.zeros(30)])
    mixed = torch.cat([labels[:30], wrong[30:]])
    model = fit(images, mixed, weights, CLASSES, flip_ok=True, seed=0, steps=8, batch_size=16)
    assert same(model, fit_toy())


def test_images_teach_by_their_weight() -> None:
    """Two labels for the same images: the weightier is believed, and by how much."""
    images, labels = toy(30, 0)
    twice, both = images.repeat(2, 1, 1, 1), torch.cat([labels, (labels + 1) % CLASSES])
    weights = torch.cat([torch.full((30,), 0.9), torch.full((30,), 0.1)])
    model = fit(twice, both, weights, CLASSES, flip_ok=False, seed=0, steps=40, batch_size=24)
    own = model.probabilities(images).gather(1, labels.unsqueeze(1))
    assert 0.7 < own.mean() < 0.95


def test_rare_classes_are_learnt_as_well_as_frequent_ones() -> None:
    images, labels = toy(300, 0)
    kept = torch.cat([(labels < 2).nonzero()[:, 0], (labels == 2).nonzero()[:3, 0]])
    model = fit(images[kept], labels[kept], torch.ones(len(kept)), CLASSES, False, seed=0, steps=30, batch_size=16)
    rare = toy(90, 1)[0][2::CLASSES]
    assert (model.probabilities(rare).argmax(dim=1) == 2).float().mean() > 0.9


def test_a_class_without_images_is_never_guessed() -> None:
    images, labels = toy(30, 0)
    model = fit(images, labels, torch.ones(30), CLASSES + 2, flip_ok=False, seed=0, steps=30, batch_size=16)
    probabilities = model.probabilities(images)
    assert probabilities.shape == (30, CLASSES + 2)
    assert (probabilities.argmax(dim=1) < CLASSES).all()


@pytest.fixture(scope="module")
def model() -> QuickClassifier:
    return fit_toy()


@pytest.fixture(scope="module")
def many() -> Tensor:
    return toy(90, 1)[0]


def test_probabilities_are_those_of_the_evaluated_network(model: QuickClassifier, many: Tensor) -> None:
    probabilities = model.probabilities(many)
    assert not probabilities.requires_grad
    with torch.no_grad():
        reference = model(many.float() / 127.5 - 1).softmax(dim=1)
    torch.testing.assert_close(probabilities, reference, rtol=1e-4, atol=1e-6)
    again = model.head(model.features(many)).softmax(dim=1)
    torch.testing.assert_close(again, reference, rtol=1e-4, atol=1e-6)


def test_no_images_no_answers(model: QuickClassifier, many: Tensor) -> None:
    assert model.features(many[:0]).shape == (0, FEATURES)
    assert model.probabilities(many[:0]).shape == (0, CLASSES)
