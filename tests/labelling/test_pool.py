"""A teacher's labels are believed as far as its hits on the validation images justify."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.labelling import label_spreading, pool
from stages.labelling.data import ReplicateData
from stages.labelling.pool import Guess, LabelledImages, PoolLabels, believe, label, teach
from tests.labelling.toy import CLASSES, hasty_fit, of_classes, toy_data, toy_images

MANY = 300


def taught(data: ReplicateData, seed: int) -> PoolLabels:
    """While choices are made."""
    return teach(data, seed).choosing


def labelled_by(data: ReplicateData) -> LabelledImages:
    return label(data, taught(data, 0))


@pytest.fixture
def data() -> ReplicateData:
    return toy_data(pool=8, validation=MANY // CLASSES)


def sure_of(labels: Tensor, confidence: float) -> Tensor:
    """Probabilities (N, CLASSES) of a teacher that is this sure of each label."""
    rest = (1 - confidence) / (CLASSES - 1)
    return torch.full((len(labels), CLASSES), rest).scatter(1, labels[:, None], confidence)


def wrong(labels: Tensor, share: float) -> Tensor:
    """Labels of which an evenly spread share is another class's."""
    ranks = torch.arange(len(labels))
    return torch.where((ranks * share).floor() < ((ranks + 1) * share).floor(), (labels + 1) % CLASSES, labels)


def trust_in(data: ReplicateData, confidence: float, wrong_share: float) -> float:
    """Mean trust in a teacher that is equally sure of everything, and errs on a share of the validation images."""
    pool_labels = torch.arange(len(data.unlabelled)) % CLASSES
    validation = sure_of(wrong(data.validation_labels, wrong_share), confidence)
    return float(believe("it", Guess(sure_of(pool_labels, confidence), validation), data).trust.mean())


@pytest.mark.parametrize("confidence", [0.6, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("right", [0.9, 0.8, 0.6])
def test_trust_follows_the_hits_and_not_the_teachers_own_word(
    data: ReplicateData, confidence: float, right: float
) -> None:
    expected = (right - 1 / CLASSES) / (1 - 1 / CLASSES)
    assert trust_in(data, confidence, 1 - right) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_a_teacher_at_chance_is_hardly_trusted(data: ReplicateData, confidence: float) -> None:
    assert trust_in(data, confidence, 1 - 1 / CLASSES) < 0.1


def test_the_more_errors_the_less_trust(data: ReplicateData) -> None:
    trusts = [trust_in(data, 0.95, errors) for errors in (0.02, 0.1, 0.2, 0.3, 0.5)]
    assert trusts == sorted(trusts, reverse=True)
    assert trusts[0] > trusts[-1] + 0.3


@settings(max_examples=30)
@given(seed=st.integers(0, 999), sharpness=st.floats(0, 50), validation=st.integers(0, 4))
def test_trust_is_a_share_and_labels_are_the_likeliest(seed: int, sharpness: float, validation: int) -> None:
    random = torch.Generator().manual_seed(seed)
    data = toy_data(pool=3, validation=validation)
    of_pool, of_validation = (
        (sharpness * torch.randn(len(images), CLASSES, generator=random)).softmax(dim=1)
        for images in (data.unlabelled, data.validation_images)
    )
    believed = believe("it", Guess(of_pool, of_validation), data)
    assert believed.trust.min() >= 0
    assert believed.trust.max() <= 1
    torch.testing.assert_close(of_pool.gather(1, believed.labels[:, None])[:, 0], of_pool.amax(dim=1))


def test_without_validation_images_a_teacher_is_taken_at_its_word() -> None:
    data = toy_data(pool=1, validation=0)
    guess = Guess(torch.tensor([[0.2, 0.7, 0.1], [0.4, 0.3, 0.3], [1.0, 0.0, 0.0]]), torch.empty(0, CLASSES))
    believed = believe("it", guess, data)
    torch.testing.assert_close(believed.trust, torch.tensor([0.55, 0.1, 1.0]))
    assert believed.score != believed.score  # NaN


def test_score_and_accuracy_of_a_calibrated_teacher(data: ReplicateData) -> None:
    validation = sure_of(wrong(data.validation_labels, 0.1), 0.9)
    believed = believe("it", Guess(validation[:2], validation), data)
    assert believed.accuracy == pytest.approx(0.9)
    expected = 0.9 * torch.tensor(0.9).log() + 0.1 * torch.tensor(0.05).log()
    assert believed.score == pytest.approx(float(expected), abs=1e-4)  # its temperature is 1


def test_a_single_class_is_wholly_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=2))
    believed = labelled_by(of_classes(toy_data(pool=2), 1))
    assert believed.real.trust.eq(1).all()
    assert believed.real.labels.eq(0).all()


class TestTeach:
    """Teachers that learned next to nothing, unless a test says otherwise."""

    @pytest.fixture(autouse=True)
    def hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "fit", hasty_fit(steps=3))

    @pytest.mark.parametrize("knows", [True, False])
    def test_the_teacher_is_believed_under_which_the_validation_labels_are_likeliest(
        self, monkeypatch: pytest.MonkeyPatch, knows: bool
    ) -> None:
        data, truth = toy_data(pool=6), toy_images(6, 1)[1]

        def spread(seen: ReplicateData) -> Guess:
            shift = 0 if knows else 1
            return Guess(*(sure_of((labels + shift) % CLASSES, 0.98) for labels in (truth, seen.validation_labels)))

        monkeypatch.setattr(pool, "_spread", spread)
        believed = taught(data, seed=0)
        assert (believed.teacher == "label_spreading") == knows
        assert torch.equal(believed.labels, truth) or not knows

    def test_no_other_teacher_scores_higher(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[PoolLabels] = []

        def noted(*arguments: object) -> PoolLabels:
            seen.append(believe(*arguments))  # type: ignore[arg-type]
            return seen[-1]

        monkeypatch.setattr(pool, "believe", noted)
        believed = taught(toy_data(pool=6), seed=0)
        assert {each.teacher for each in seen} >= {"classifier", "label_spreading", "both", "student"}
        assert believed.score == max(each.score for each in seen)

    def test_where_the_graph_would_be_too_large_no_labels_are_spread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = toy_data(pool=6)
        images = len(data.images) + len(data.unlabelled) + len(data.validation_images)
        for module in (pool, label_spreading):
            monkeypatch.setattr(module, "LARGEST_GRAPH", images - 1)  # `spread_labels` would refuse
        assert taught(data, seed=0).teacher in ("classifier", "student", "student_and_teacher")

    def test_the_seed_decides(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "LARGEST_GRAPH", 0)  # label spreading needs none
        one, again, other = (taught(toy_data(pool=6), seed) for seed in (1, 1, 2))
        assert torch.equal(one.trust, again.trust)
        assert torch.equal(one.labels, again.labels)
        assert not torch.equal(one.trust, other.trust)

    def test_who_was_chosen_learns_once_more_from_all_labels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And is as sure as it was right before it learned from the validation images."""
        monkeypatch.setattr(
            pool,
            "_best",
            lambda guesses, seen: replace(believe("classifier", guesses["classifier"], seen), temperature=2),
        )
        data, other = toy_data(pool=6), toy_images(9, 9)[0]
        blank = replace(data, validation_images=other[: len(data.validation_images)])
        told, elsewhere = teach(data, 0), teach(blank, 0)
        again = pool.learn(data.with_all_labels(), 0).probabilities(data.unlabelled)
        labels, trust = pool.trusted(pool.tempered(again, 2))
        assert torch.equal(told.final.labels, labels)
        assert torch.equal(told.final.trust, trust)
        assert (told.final.teacher, told.final.score) == (told.choosing.teacher, told.choosing.score)
        assert torch.equal(told.choosing.labels, elsewhere.choosing.labels), "they taught nobody then"

    def test_without_validation_images_the_pool_is_labelled_all_the_same(self) -> None:
        labelled = labelled_by(toy_data(pool=6, validation=0))
        assert "pseudo_label_accuracy" not in labelled.quality
        assert 0 < labelled.quality["pseudo_label_trust"] <= 1

    def test_validation_images_are_not_among_the_real_ones(self) -> None:
        data = toy_data(pool=6)
        real = labelled_by(data).real
        assert torch.equal(real.images, torch.cat([data.images, data.unlabelled]))
        assert torch.equal(real.labels[: len(data.labels)], data.labels)
        assert real.trust[: len(data.labels)].eq(1).all()
        assert len(real.images) == len(real.labels) == len(real.trust)


def test_an_easy_pool_is_labelled_right_and_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=40))
    labelled = labelled_by(toy_data(pool=10, validation=20))
    truth = toy_images(10, 1)[1]
    assert (labelled.real.labels[15:] == truth).float().mean() > 0.95
    assert labelled.quality["pseudo_label_trust"] > 0.8
    assert labelled.quality["pseudo_label_accuracy"] > 0.9
    assert labelled.quality["pool_share"] == pytest.approx(30 / 45)


def test_without_a_pool_only_the_labelled_images_teach() -> None:
    data = replace(toy_data(pool=0), unlabelled=torch.empty(0, 1, 8, 8, dtype=torch.uint8))
    labelled = labelled_by(data)
    assert torch.equal(labelled.real.images, data.images)
    assert torch.equal(labelled.real.labels, data.labels)
    assert labelled.real.trust.eq(1).all()
    assert labelled.quality == {"pool_share": 0.0}


def test_a_pool_that_nobody_guessed_is_trusted_in_nothing_and_says_nothing_of_its_labels(data: ReplicateData) -> None:
    labelled = pool.label(data, pool.unguessed(data))
    assert labelled.real.trust.tolist() == [1.0] * len(data.labels) + [0.0] * len(data.unlabelled)
    assert set(labelled.quality) == {"pool_share"}
