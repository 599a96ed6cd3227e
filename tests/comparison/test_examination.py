"""The replicate's classifiers are asked about the right images."""

import pytest
import torch
from torch import Generator

from stages.comparison.examination import LabelledImages, examine
from stages.comparison.fidelity import fidelity
from stages.downstream.classifiers import build_classifier
from stages.downstream.training import features
from stages.imaging.networks import predict


@pytest.fixture(scope="module")
def test_set() -> LabelledImages:
    images = torch.randint(0, 256, (90, 1, 8, 8), generator=Generator().manual_seed(0), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(90) % 3)


@pytest.fixture(scope="module")
def synthetic() -> LabelledImages:
    images = torch.randint(0, 128, (60, 1, 8, 8), generator=Generator().manual_seed(1), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(60) % 3)


def test_features_are_those_of_the_eye_and_accuracies_those_of_each_network(
    test_set: LabelledImages, synthetic: LabelledImages
) -> None:
    eye, other = (build_classifier("cnn", 1, 8, 3, 4, seed).eval() for seed in (0, 1))
    found = examine({"eye": eye, "other": other}, eye, test_set, {"gan": synthetic}, ["brightness"], seed=0)
    expected = fidelity(
        features(eye, test_set.images), test_set.labels, features(eye, synthetic.images), synthetic.labels, seed=0
    )
    assert found.fidelity == {"gan": expected}
    assert set(found.robustness) == {"eye", "other"}
    assert found.robustness["eye"] != found.robustness["other"]
    clean = float((predict(eye, test_set.images).argmax(dim=1) == test_set.labels).float().mean())
    assert found.robustness["eye"]["brightness_1"] == pytest.approx(clean, abs=0.2)


def test_a_pretrained_network_sees_on_its_own(test_set: LabelledImages, synthetic: LabelledImages) -> None:
    eye, other = (build_classifier("cnn", 1, 8, 3, 4, seed).eval() for seed in (0, 1))
    found = examine({}, eye, test_set, {"gan": synthetic}, [], 0, backbone=other[:-1])
    assert found.pretrained == examine({}, other, test_set, {"gan": synthetic}, [], 0).fidelity
    assert found.fidelity == examine({}, eye, test_set, {"gan": synthetic}, [], 0).fidelity != found.pretrained


def test_nothing_is_disturbed_unless_it_is_asked_for(test_set: LabelledImages, synthetic: LabelledImages) -> None:
    eye = build_classifier("cnn", 1, 8, 3, 4, seed=0).eval()
    assert examine({"eye": eye}, eye, test_set, {"gan": synthetic}, [], seed=0).robustness == {}


def test_too_few_images_leave_no_fidelity(test_set: LabelledImages) -> None:
    eye = build_classifier("cnn", 1, 8, 3, 4, seed=0).eval()
    few = LabelledImages(test_set.images[:6], test_set.labels[:6])
    assert examine({}, eye, test_set, {"few": few}, [], seed=0).fidelity == {"few": None}
