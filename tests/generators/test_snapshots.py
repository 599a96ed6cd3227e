"""The snapshot that is kept is as useful as any, and like real images where usefulness cannot tell."""

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from stages.generators import snapshots
from stages.generators.interface import LearningGenerator
from stages.generators.snapshots import Judge, choose, draw_classes, source_labels
from stages.generators.state import Snapshot
from stages.labelling.data import ReplicateData
from stages.labelling.pool import learn
from tests.generators.conftest import Make
from tests.generators.toy import changed, copied
from tests.labelling.toy import CLASSES, hasty_fit, toy_data, toy_images


def judge(data: ReplicateData, seed: int) -> Judge:
    return Judge(data, learn(data, seed), seed)


def noise(count: int, seed: int) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def snapshot(step: int, kid: float, log_likelihood: Tensor) -> Snapshot:
    return Snapshot(step, {}, {"kid": kid}, log_likelihood)


def kept(candidates: list[Snapshot]) -> set[int]:
    """The steps that are chosen when the same candidates come in any order."""
    return {choose(list(order)).step for order in permutations(candidates)}


def test_one_that_is_clearly_more_useful_wins_whatever_its_kid() -> None:
    base = -1 + 0.3 * noise(50, 0)
    candidates = [snapshot(10, 0.01, base), snapshot(20, 9.0, base + 0.5 + 0.1 * noise(50, 1)), snapshot(30, 0.0, base)]
    assert kept(candidates) == {20}


def test_among_those_that_noise_cannot_tell_apart_the_lowest_kid_wins() -> None:
    level = [-1 + 0.3 * noise(50, seed) for seed in range(3)]
    level = [each - each.mean() - 1 for each in level]
    clearly_worse = snapshot(40, 0.0, level[0] - 1)
    candidates = [snapshot(*each) for each in zip((10, 20, 30), (0.3, 0.1, 0.2), level, strict=True)]
    assert kept([*candidates, clearly_worse]) == {20}


def test_differences_are_paired() -> None:
    """Images of very unequal difficulty, on each of which one snapshot is a little better."""
    hard = -10 * noise(50, 0).abs()
    better = hard + 0.1 + 0.01 * noise(50, 1)
    assert kept([snapshot(10, 0.0, hard), snapshot(20, 1.0, better)]) == {20}


def test_without_validation_images_the_last_one_is_kept() -> None:
    candidates = [Snapshot(step, {}, {"confused": 0.5}, torch.empty(0)) for step in (10, 20, 30)]
    assert choose(candidates).step == 30


def test_a_single_one_is_kept() -> None:
    assert choose([snapshot(10, 0.5, torch.tensor([-1.0, -2.0]))]).step == 10


@pytest.fixture
def ours(make: Make) -> LearningGenerator:
    return make("projection").eval()


def taken_of(ours: LearningGenerator, data: ReplicateData, seed: int = 0) -> Snapshot:
    return judge(data, seed).take(30, ours.network, ours)


def judged(
    monkeypatch: pytest.MonkeyPatch, ours: LearningGenerator, data: ReplicateData, images: Tensor, labels: Tensor
) -> Snapshot:
    """The snapshot of a generator that draws these images."""
    monkeypatch.setattr(snapshots, "draw_classes", lambda *_: (images, labels))
    return taken_of(ours, data)


def test_scores_say_which_samples_are_good(monkeypatch: pytest.MonkeyPatch, ours: LearningGenerator) -> None:
    monkeypatch.setattr(snapshots, "fit", hasty_fit(steps=40))
    data = toy_data(pool=0, validation=20)
    images, labels = toy_images(30, seed=5)
    blank = torch.randint(0, 255, images.shape, generator=torch.Generator().manual_seed(0)).byte()
    good = judged(monkeypatch, ours, data, images, labels)
    mixed_up = judged(monkeypatch, ours, data, images, (labels + 1) % CLASSES)
    bad = judged(monkeypatch, ours, data, blank, labels)
    assert good.scores["usefulness"] > 0.9
    assert good.scores["confused"] < 0.1
    assert mixed_up.scores["usefulness"] < 0.2
    assert mixed_up.scores["confused"] > 0.9
    assert abs(good.scores["kid"]) < 0.2 * bad.scores["kid"]
    assert good.scores["recall"] > bad.scores["recall"]
    assert good.scores["nearest_real_ratio"] == pytest.approx(1, abs=0.1)
    assert good.log_likelihood.mean() > bad.log_likelihood.mean()
    assert choose([bad, good, mixed_up]) is good


def test_copies_of_what_was_seen_show(monkeypatch: pytest.MonkeyPatch, ours: LearningGenerator) -> None:
    monkeypatch.setattr(snapshots, "fit", hasty_fit(steps=2))
    data = toy_data(pool=20)
    for copies, labels in ((data.images, data.labels), (data.unlabelled, toy_images(20, 1)[1])):
        scores = judged(monkeypatch, ours, data, copies, labels).scores
        assert scores["nearest_real_ratio"] == pytest.approx(0, abs=1e-2)
        assert scores["most_copied"] == 1


class TestTake:
    """Taking a snapshot of an untrained generator, judged by classifiers that know little."""

    @pytest.fixture(autouse=True)
    def hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(snapshots, "fit", hasty_fit(steps=2))

    def test_it_repeats_itself_and_leaves_the_network_and_all_random_numbers_alone(
        self, ours: LearningGenerator
    ) -> None:
        before, weights = torch.get_rng_state(), copied(ours)
        one, again = (taken_of(ours, toy_data(pool=2), seed=3) for _ in range(2))
        assert one.scores == again.scores
        assert torch.equal(one.log_likelihood, again.log_likelihood)
        assert torch.equal(before, torch.get_rng_state())
        assert not changed(ours, weights)
        assert one.step == 30

    def test_without_validation_images_only_the_confused_are_counted(self, ours: LearningGenerator) -> None:
        taken = taken_of(ours, toy_data(pool=2, validation=0))
        assert taken.scores.keys() == {"confused"}
        assert taken.log_likelihood.shape == (0,)

    def test_scores_are_finite_where_they_can_be_known(self, ours: LearningGenerator) -> None:
        """They go into a JSON file, which has no NaN: from one validation image, and from images of one grey level."""
        data = toy_data(pool=0, validation=1)
        single = replace(
            data, validation_images=data.validation_images[:1], validation_labels=data.validation_labels[:1]
        )
        flat = replace(
            toy_data(pool=0),
            images=torch.full_like(toy_data(0).images, 9),
            validation_images=torch.full_like(toy_data(0).validation_images, 9),
        )
        for each in (single, flat):
            assert all(math.isfinite(score) for score in taken_of(ours, each).scores.values())

    def test_a_snapshot_does_not_change_when_the_training_goes_on(self, ours: LearningGenerator) -> None:
        taken = taken_of(ours, toy_data(pool=0))
        kept_weight = taken.network["output.weight"].clone()
        with torch.no_grad():
            ours.network.output.weight += 1
        assert torch.equal(taken.network["output.weight"], kept_weight)


@pytest.mark.parametrize("name", ["projection", "image_conditioned"])
def test_as_many_samples_of_each_class_are_drawn(make: Make, name: str) -> None:
    ours = make(name).eval()
    images, labels = draw_classes(ours.network, ours, toy_data(pool=0), per_class=7, seed=0)
    assert images.shape == (7 * CLASSES, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert labels.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    more, _ = draw_classes(ours.network, ours, toy_data(pool=0), per_class=200, seed=0)
    assert torch.equal(more[:7], images[:7])


def test_sources_are_labelled_images_alone(make: Make) -> None:
    data = toy_data(pool=9)
    found = source_labels(make("image_conditioned"), data)
    assert found is not None
    assert found.tolist() == data.labels.tolist()
    assert source_labels(make("projection"), data) is None
