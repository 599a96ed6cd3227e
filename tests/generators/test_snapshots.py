"""The snapshot that is kept is as useful as any, and like real images where usefulness cannot tell."""

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from stages.generators import snapshots
from stages.generators.snapshots import Judge, choose, draw
from stages.generators.state import Snapshot, TrainingState, start
from stages.labelling.data import GanData
from stages.labelling.pool import learn
from tests.generators.toy import CLASSES, CONFIG, hasty_fit, random_moments, toy_data, toy_images, toy_params


def judge(data: GanData, seed: int) -> Judge:
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
def state() -> TrainingState:
    return start(CONFIG, random_moments(CONFIG), toy_params(), seed=0)


def judged(
    monkeypatch: pytest.MonkeyPatch, state: TrainingState, data: GanData, images: Tensor, labels: Tensor
) -> Snapshot:
    """The snapshot of a generator that draws these images."""
    monkeypatch.setattr(snapshots, "draw", lambda *_: (images, labels))
    return judge(data, 0).take(state)


def test_scores_say_which_samples_are_good(monkeypatch: pytest.MonkeyPatch, state: TrainingState) -> None:
    monkeypatch.setattr(snapshots, "fit", hasty_fit(steps=40))
    data = toy_data(pool=0, validation=20)
    images, labels = toy_images(30, seed=5)
    blank = torch.randint(0, 255, images.shape, generator=torch.Generator().manual_seed(0)).byte()
    good = judged(monkeypatch, state, data, images, labels)
    mixed_up = judged(monkeypatch, state, data, images, (labels + 1) % CLASSES)
    bad = judged(monkeypatch, state, data, blank, labels)
    assert good.scores["usefulness"] > 0.9
    assert good.scores["confused"] < 0.1
    assert mixed_up.scores["usefulness"] < 0.2
    assert mixed_up.scores["confused"] > 0.9
    assert abs(good.scores["kid"]) < 0.2 * bad.scores["kid"]
    assert good.scores["recall"] > bad.scores["recall"]
    assert good.scores["nearest_real_ratio"] == pytest.approx(1, abs=0.1)
    assert good.log_likelihood.mean() > bad.log_likelihood.mean()
    assert choose([bad, good, mixed_up]) is good


def test_copies_of_what_was_seen_show(monkeypatch: pytest.MonkeyPatch, state: TrainingState) -> None:
    monkeypatch.setattr(snapshots, "fit", hasty_fit(steps=2))
    data = toy_data(pool=20)
    for copies, labels in ((data.images, data.labels), (data.unlabelled, toy_images(20, 1)[1])):
        scores = judged(monkeypatch, state, data, copies, labels).scores
        assert scores["nearest_real_ratio"] == pytest.approx(0, abs=1e-2)
        assert scores["most_copied"] == 1


class TestTake:
    """Taking a snapshot of an untrained generator, judged by classifiers that know little."""

    @pytest.fixture(autouse=True)
    def hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(snapshots, "fit", hasty_fit(steps=2))

    def test_it_repeats_itself_and_leaves_the_state_alone(self, state: TrainingState) -> None:
        before = state.random.get_state()
        one, again = (judge(toy_data(pool=2), 3).take(state) for _ in range(2))
        assert one.scores == again.scores
        assert torch.equal(one.log_likelihood, again.log_likelihood)
        assert torch.equal(before, state.random.get_state())

    def test_without_validation_images_only_the_confused_are_counted(self, state: TrainingState) -> None:
        taken = judge(toy_data(pool=2, validation=0), 0).take(state)
        assert taken.scores.keys() == {"confused"}
        assert taken.log_likelihood.shape == (0,)

    def test_scores_are_finite_where_they_can_be_known(self, state: TrainingState) -> None:
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
            assert all(math.isfinite(score) for score in judge(each, 0).take(state).scores.values())

    def test_a_snapshot_does_not_change_when_the_training_goes_on(self, state: TrainingState) -> None:
        taken = judge(toy_data(pool=0), 0).take(state)
        kept_weight = taken.generator["output.weight"].clone()
        with torch.no_grad():
            state.average.module.output.weight += 1
        assert torch.equal(taken.generator["output.weight"], kept_weight)


def test_as_many_samples_of_each_class_are_drawn(state: TrainingState) -> None:
    images, labels = draw(state, per_class=7, seed=0)
    assert images.shape == (7 * CLASSES, 1, 8, 8)
    assert images.dtype == torch.uint8
    assert labels.bincount().tolist() == [7] * CLASSES
