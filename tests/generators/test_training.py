"""A training learns, repeats itself to the bit however often it is killed, and recovers from failures."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.generators import snapshots, training
from stages.generators.interface import MEASURES, Feed, Players
from stages.generators.objective import Objective
from stages.generators.params import TrainGanParams
from stages.generators.registry import FAMILIES
from stages.generators.sampling import generate, load_generator
from stages.generators.training import Progress, TrainedGan, train
from stages.labelling import pool
from stages.labelling.data import GanData
from stages.plumbing.errors import UserError
from tests.generators.toy import CLASSES, RELATIVISTIC, Memory, hasty_fit, of_classes, toy_data, toy_images, toy_params


@pytest.fixture(autouse=True)
def hasty_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick classifiers that know little: what is tested here holds whatever they say."""
    for module in (pool, snapshots):
        monkeypatch.setattr(module, "fit", hasty_fit(steps=1))
    monkeypatch.setattr(snapshots, "SAMPLES", 60)


@pytest.fixture
def always_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every signal counts as overfitting, so that the strength rises to its limit within a few steps."""
    monkeypatch.setattr(training, "TARGET_SIGN", -2.0)
    monkeypatch.setattr(training, "ADAPT_EVERY", 4)
    monkeypatch.setattr(training, "ADAPT_OVER", 256)


def ignore(_: Progress) -> None:
    """Report nothing."""


def trained(data: GanData, params: TrainGanParams, seed: int = 0) -> TrainedGan:
    return train(data, params, seed, ignore, Memory())


def same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def assert_same(one: TrainedGan, other: TrainedGan) -> None:
    """Equal to the last bit."""
    assert same_tensors(one.generator, other.generator)
    assert same_tensors(one.discriminator, other.discriminator)
    assert one.history == other.history
    assert one.curve == other.curve
    assert one.quality == other.quality
    assert one.samples.keys() == other.samples.keys()
    assert all(np.array_equal(picture, other.samples[step]) for step, picture in one.samples.items())


def assert_finite(gan: TrainedGan) -> None:
    """All that goes into JSON, and what the generator is made of."""
    for record in (*gan.history, *gan.curve, gan.quality):
        assert all(math.isfinite(value) for value in record.values())
    assert all(tensor.isfinite().all() for tensor in (gan.generator | gan.discriminator).values())


def class_mean_error(gan: TrainedGan) -> float:
    """Mean distance, in grey levels, of generated class means from real ones."""
    images, labels = toy_images(50, seed=3)
    (made,) = generate(load_generator(gan.generator, gan.config), gan.config, [range(100)] * CLASSES, 0, 0, 1.0)
    synthetic = torch.from_numpy(made.images).float()
    errors = [
        (synthetic[made.labels == label].mean(0) - images[labels == label].float().mean(0)).abs().mean()
        for label in range(CLASSES)
    ]
    return float(torch.stack(errors).mean())


@pytest.mark.parametrize("pool_size", [0, 20])
def test_training_brings_the_class_means_to_the_real_ones(pool_size: int) -> None:
    untrained, learned = (
        class_mean_error(
            trained(
                toy_data(pool_size),
                toy_params(steps=steps, layers="convolutional", ema_decay=0.9, generator_learning_rate=4e-3),
            )
        )
        for steps in (1, 100)
    )
    assert learned < 0.4 * untrained


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    one, again, other = (trained(toy_data(10), toy_params(steps=5), seed) for seed in (7, 7, 8))
    assert_same(one, again)
    assert not torch.equal(one.generator["output.weight"], other.generator["output.weight"])


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    trained(toy_data(2), toy_params(steps=2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_reports_come_at_the_stated_steps_and_after_the_last() -> None:
    reports: list[Progress] = []
    gan = train(toy_data(0), toy_params(steps=45, log_every=10, samples_every=20), 0, reports.append, Memory())
    assert [report.step for report in reports] == [10, 20, 30, 40, 45]
    assert [report.samples is not None for report in reports] == [False, True, False, True, True]
    assert gan.history == [{"step": report.step, **report.measures} for report in reports]
    assert all(report.images_per_second > 0 for report in reports)
    assert_finite(gan)


def test_what_is_reported_is_the_mean_since_the_last_report() -> None:
    each, together = (trained(toy_data(0), toy_params(steps=20, log_every=n)).history for n in (1, 10))
    for end, record in zip((10, 20), together, strict=True):
        for name in MEASURES:
            expected = sum(one[name] for one in each[end - 10 : end]) / 10
            assert record[name] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("changes", [{"log_every": 1}, {"samples_every": 1}, {"checkpoint_every": 2}, {"snapshots": 5}])
def test_looking_on_more_often_changes_no_weight(changes: dict[str, int]) -> None:
    data = replace(
        toy_data(0), validation_images=torch.empty(0, 1, 8, 8).byte(), validation_labels=torch.empty(0).long()
    )
    seldom, often = (trained(data, toy_params(steps=8, **each)) for each in ({}, changes))
    assert same_tensors(seldom.generator, often.generator)
    assert same_tensors(seldom.discriminator, often.discriminator)


def test_validation_images_train_nothing() -> None:
    """They weigh the pool's labels; without a pool all they do is choose."""
    data = toy_data(0)
    images, labels = toy_images(3, seed=9)
    other = replace(data, validation_images=images, validation_labels=labels)
    ours, theirs = (trained(each, toy_params(steps=5)) for each in (data, other))
    assert same_tensors(ours.generator, theirs.generator)
    assert same_tensors(ours.discriminator, theirs.discriminator)


def test_the_generator_is_that_of_the_chosen_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "choose", lambda taken: taken[1])
    gan = trained(toy_data(0), toy_params(steps=12, snapshots=3))
    assert [each["step"] for each in gan.curve] == [4, 8, 12]
    assert gan.quality["kept_step"] == 8
    assert {"step": 8, **{name: gan.quality[name] for name in gan.curve[1] if name != "step"}} == gan.curve[1]
    stopped = trained(toy_data(0), toy_params(steps=12, snapshots=12)).curve
    assert len(stopped) == 12


def test_quality_counts_the_pool_and_the_trust_in_it() -> None:
    with_pool, without = (trained(toy_data(size), toy_params(steps=2)).quality for size in (20, 0))
    assert with_pool["pool_share"] == pytest.approx(60 / 75)
    assert 0 <= with_pool["pseudo_label_trust"] <= 1
    assert "pseudo_label_accuracy" not in without
    assert without["overfitting"] <= 1


def test_learning_rates_stay_for_half_the_steps_and_then_fall_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = spy(monkeypatch, lambda players, _: players.generator_optimizer.param_groups[0]["lr"])
    trained(toy_data(0), toy_params(steps=8, generator_learning_rate=0.01))
    assert rates == pytest.approx([0.01] * 5 + [0.0075, 0.005, 0.0025])


def spy(monkeypatch: pytest.MonkeyPatch, look: Callable[[Players, Feed], Any]) -> list[Any]:
    """What `look` sees at each step of the projection family."""
    seen: list[Any] = []

    def step(players: Players, feed: Feed, objective: Objective) -> Tensor:
        seen.append(look(players, feed))
        return original.step(players, feed, objective)

    original = FAMILIES["projection"]
    monkeypatch.setitem(FAMILIES, "projection", SimpleNamespace(build=original.build, step=step))
    return seen


class TestAugmentation:
    @pytest.mark.parametrize("limit", [0.0, 0.3, 0.8])
    @pytest.mark.usefixtures("always_augmented")
    def test_it_rises_to_its_limit_where_the_discriminator_is_too_sure(self, limit: float) -> None:
        gan = trained(toy_data(0), toy_params(steps=32, log_every=4, augment={"policies": ["cutout"], "limit": limit}))
        strengths = [record["strength"] for record in gan.history]
        assert strengths == sorted(strengths)
        assert gan.quality["strength"] == strengths[-1] == limit

    @pytest.mark.parametrize("target", [-2.0, 2.0])
    def test_it_follows_the_signal(self, monkeypatch: pytest.MonkeyPatch, target: float) -> None:
        """Signs are -1 to 1: a target beyond them is never or always exceeded."""
        monkeypatch.setattr(training, "TARGET_SIGN", target)
        strength = trained(toy_data(0), toy_params(steps=32)).quality["strength"]
        assert strength == pytest.approx(2 * 16 * 32 / 16_000 if target < 0 else 0)

    @pytest.mark.usefixtures("always_augmented")
    def test_without_policies_it_changes_nothing(self) -> None:
        none, forbidden = (
            trained(toy_data(0), toy_params(steps=12, augment={"policies": policies, "limit": 0.8}))
            for policies in ([], ["flip"])  # mirror images of the toys would not keep their class
        )
        unaugmented = trained(toy_data(0), toy_params(steps=12, augment={"policies": ["cutout"], "limit": 0}))
        assert same_tensors(none.generator, unaugmented.generator)
        assert same_tensors(forbidden.generator, unaugmented.generator)

    @pytest.mark.usefixtures("always_augmented")
    def test_it_reaches_the_discriminator(self) -> None:
        augmented, plain = (
            trained(toy_data(0), toy_params(steps=12, augment={"policies": ["cutout"], "limit": limit}))
            for limit in (0.8, 0)
        )
        assert not same_tensors(augmented.discriminator, plain.discriminator)


@pytest.mark.usefixtures("always_augmented")
class TestResume:
    """Killed anywhere and run again, a training ends in the bytes of one that was not."""

    SETTINGS: dict[str, Any] = {  # noqa: RUF012
        "steps": 12,
        "batch_size": 16,
        "log_every": 3,
        "samples_every": 6,
        "checkpoint_every": 1,
        "snapshots": 2,
    }

    @pytest.mark.parametrize("objective", [{"kind": "hinge"}, RELATIVISTIC], ids=["hinge", "relativistic"])
    @pytest.mark.parametrize("family", list(FAMILIES))
    def test_from_any_step_of_any_family(self, family: str, objective: dict[str, Any]) -> None:
        settings, memory = toy_params(**self.SETTINGS, family=family, objective=objective), Memory()
        whole = train(toy_data(0), settings, 0, ignore, memory)
        assert whole.quality["strength"] > 0
        for step in (2, 7, 12):
            assert_same(train(toy_data(0), settings, 0, ignore, Memory(memory.history[step - 1])), whole)

    @pytest.mark.parametrize("changes", [{"layers": "convolutional", "width": 16}, {"precision": "bfloat16"}])
    def test_with_other_networks_and_numbers(self, changes: dict[str, Any]) -> None:
        settings, memory = toy_params(**self.SETTINGS | changes), Memory()
        whole = train(toy_data(0), settings, 0, ignore, memory)
        assert_same(train(toy_data(0), settings, 0, ignore, Memory(memory.history[4])), whole)

    @pytest.mark.parametrize("killed_at", [4, 10])
    def test_no_more_than_the_steps_since_the_last_checkpoint_are_redone(self, killed_at: int) -> None:
        settings = toy_params(**self.SETTINGS | {"log_every": 1, "checkpoint_every": 5})
        whole, memory, seen = trained(toy_data(0), settings), Memory(), []

        def die(now: Progress) -> None:
            if now.step == killed_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(toy_data(0), settings, 0, die, memory)
        resumed = train(toy_data(0), settings, 0, lambda now: seen.append(now.step), memory)
        assert seen[0] == (killed_at - 1) // 5 * 5 + 1
        assert_same(resumed, whole)


Fault = Callable[[Players, Tensor], Tensor]


def no_numbers(_: Players, measures: Tensor) -> Tensor:
    return measures * math.nan


def poison_generator(players: Players, measures: Tensor) -> Tensor:
    """As an update does whose gradient was no number: the losses were computed before it."""
    with torch.no_grad():
        players.generator.output.weight[0] = math.nan
    return measures


def poison_discriminator(players: Players, measures: Tensor) -> Tensor:
    with torch.no_grad():
        players.discriminator.psi.bias.fill_(math.inf)
    return measures


class TestRollback:
    """What fails goes back to the last checkpoint, with half the learning rates."""

    @pytest.fixture
    def inject(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """A fault at one step, as long as the generator's learning rate is above `tolerated`."""

        def plant(fault: Fault, at: int, tolerated: float) -> None:
            def step(players: Players, feed: Feed, objective: Objective) -> Tensor:
                measures = original.step(players, feed, objective)
                adam = players.generator_optimizer
                done = int(adam.state[adam.param_groups[0]["params"][0]]["step"])  # goes back with the rest
                return fault(players, measures) if done == at and adam.param_groups[0]["lr"] > tolerated else measures

            monkeypatch.setitem(FAMILIES, "projection", SimpleNamespace(build=original.build, step=step))

        original = FAMILIES["projection"]
        return plant

    SETTINGS: dict[str, Any] = {"steps": 40, "log_every": 3, "checkpoint_every": 5, "snapshots": 2}  # noqa: RUF012

    @pytest.mark.parametrize("fault", [no_numbers, poison_generator, poison_discriminator])
    @pytest.mark.parametrize(
        "at", [2, 12, 15, 14]
    )  # before the first checkpoint, at a report, at a checkpoint, between
    def test_a_failure_that_half_the_learning_rates_mend_is_overcome(
        self, inject: Callable[..., None], fault: Fault, at: int
    ) -> None:
        inject(fault, at, tolerated=0.9e-3)
        gan = trained(toy_data(0), toy_params(**self.SETTINGS))
        assert gan.quality["rollbacks"] == 1
        assert [record["step"] for record in gan.history] == [*range(3, 40, 3), 40]
        assert [record["step"] for record in gan.curve] == [20, 40]
        assert_finite(gan)

    def test_a_generator_that_fails_in_its_last_step_is_not_kept(self, inject: Callable[..., None]) -> None:
        inject(poison_generator, 40, tolerated=1e-3 / 20 * 0.9)
        gan = trained(toy_data(0), toy_params(**self.SETTINGS))
        assert gan.quality["rollbacks"] == 1
        assert_finite(gan)

    def test_learning_rates_are_halved_each_time(
        self, inject: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inject(no_numbers, 6, tolerated=0.3e-3)
        rates = spy(monkeypatch, lambda players, _: players.discriminator_optimizer.param_groups[0]["lr"])
        gan = trained(toy_data(0), toy_params(**self.SETTINGS))
        assert gan.quality["rollbacks"] == 2
        assert sorted(set(rates[:20]), reverse=True) == pytest.approx([1e-3, 0.5e-3, 0.25e-3])
        assert len(rates) == 40 + 2 * 1  # step 6 was done twice in vain, from the checkpoint of step 5

    def test_what_no_learning_rate_mends_stops_with_what_to_lower(self, inject: Callable[..., None]) -> None:
        inject(no_numbers, 12, tolerated=0)
        with pytest.raises(UserError, match=r"failed by step 12.*is nan.*back 2 times.*generator_learning_rate"):
            trained(toy_data(0), toy_params(**self.SETTINGS))
        with pytest.raises(UserError, match="back 0 times"):
            trained(toy_data(0), toy_params(**self.SETTINGS, rollbacks=0))

    @pytest.mark.parametrize("dies_at", [11, 14])
    def test_killed_after_a_rollback_it_ends_in_the_same_bytes(self, inject: Callable[..., None], dies_at: int) -> None:
        settings, memory, seen = toy_params(**self.SETTINGS | {"log_every": 1}), Memory(), []
        inject(no_numbers, 13, tolerated=0.3e-3)
        whole = trained(toy_data(0), settings)
        assert whole.quality["rollbacks"] == 2

        def die(now: Progress) -> None:
            seen.append(now.step)
            if seen.count(11) >= 2 and now.step == dies_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(toy_data(0), settings, 0, die, memory)
        assert_same(train(toy_data(0), settings, 0, ignore, memory), whole)

    def test_a_mode_collapse_is_gone_back_from(self, inject: Callable[..., None]) -> None:
        """The averaged generator follows within a few steps where its decay is 0."""

        def deafen(players: Players, measures: Tensor) -> Tensor:
            with torch.no_grad():
                players.generator.factors.zero_()
                players.generator.output.weight.zero_()
                players.generator.output.bias.zero_()
            return measures

        inject(deafen, 40, tolerated=1.5e-3)
        quick = {"generator_learning_rate": 2e-3, "ema_decay": 0.0, "width": 64}
        gan = trained(toy_data(0), toy_params(steps=100, checkpoint_every=20, **quick))
        assert gan.quality["rollbacks"] == 1

    def test_a_start_with_samples_that_are_alike_is_none(self) -> None:
        gan = trained(toy_data(0), toy_params(steps=5, checkpoint_every=1, generator_learning_rate=1e-6))
        assert gan.quality["rollbacks"] == 0


class TestBadInput:
    def test_a_class_without_labelled_images_is_named(self) -> None:
        data = toy_data(0)
        kept = data.labels != 1
        with pytest.raises(UserError, match="class 1 has no labelled image"):
            trained(replace(data, images=data.images[kept], labels=data.labels[kept]), toy_params())

    def test_a_gpu_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(UserError, match=r"train_gan\.device is cuda, but there is no GPU.*set it to cpu"):
            trained(toy_data(0), toy_params(device="cuda"))

    def test_too_little_memory_says_what_to_lower(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def exhaust(_: Players, __: Feed) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        spy(monkeypatch, exhaust)
        with pytest.raises(UserError, match=r"too little memory.*batch_size \(32\) or train_gan\.width \(48\)"):
            trained(toy_data(0), toy_params(width=48))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"steps": 0},
            {"batch_size": 1},
            {"ema_decay": 1.0},
            {"width": 4},
            {"generator_learning_rate": 0},
            {"family": "diffusion"},
            {"objective": {"kind": "hinge", "gradient_penalty": 1.0}},
            {"augment": {"policies": ["rotation"], "limit": 0.5}},
            {"snapshots": 0},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_wrong_parameters_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            toy_params(**wrong)


def with_one_image_of_the_last_class(data: GanData) -> GanData:
    kept = torch.cat([(data.labels < CLASSES - 1).nonzero()[:, 0], (data.labels == CLASSES - 1).nonzero()[:1, 0]])
    return replace(data, images=data.images[kept], labels=data.labels[kept])


def of_one_grey_level(data: GanData) -> GanData:
    images = {name: torch.full_like(getattr(data, name), 99) for name in ("images", "unlabelled", "validation_images")}
    return replace(data, **images)


ODD_DATA = {
    "fewer images than a batch": toy_data(0),
    "no validation images": toy_data(2, validation=0),
    "one validation image of each class": toy_data(2, validation=1),
    "one class": of_classes(toy_data(2), 1),
    "two classes": of_classes(toy_data(2), 2),
    "one image of a class": with_one_image_of_the_last_class(toy_data(2)),
    "one image of each class": replace(toy_data(2), images=toy_images(1, 0)[0], labels=toy_images(1, 0)[1]),
    "a single grey level": of_one_grey_level(toy_data(2)),
    "12 pixels": toy_data(2, side=12),
    "colour": replace(
        toy_data(0),
        images=toy_data(0).images.repeat(1, 3, 1, 1),
        unlabelled=torch.empty(0, 3, 8, 8, dtype=torch.uint8),
        validation_images=toy_data(0).validation_images.repeat(1, 3, 1, 1),
    ),
}
KINDS = [("projection", "dense"), ("auxiliary", "dense"), ("per_class", "dense"), ("projection", "convolutional")]


@pytest.mark.parametrize("name", ODD_DATA)
@pytest.mark.parametrize(("family", "layers"), KINDS)
@pytest.mark.usefixtures("always_augmented")
def test_odd_data_sets_are_trained_on_all_the_same(name: str, family: str, layers: str) -> None:
    data = ODD_DATA[name]
    params = toy_params(family=family, layers=layers, steps=5, width=16, batch_size=16, checkpoint_every=4, log_every=1)
    gan = trained(data, params)
    assert_finite(gan)
    (made,) = generate(load_generator(gan.generator, gan.config), gan.config, [range(2)] * data.classes, 0, 0, 1.0)
    assert made.images.shape == (2 * data.classes, *data.images.shape[1:])


@pytest.mark.parametrize("objective", [{"kind": "hinge"}, RELATIVISTIC], ids=["hinge", "relativistic"])
@pytest.mark.parametrize(("family", "layers"), KINDS)
def test_half_precision_gives_about_the_same_losses(family: str, layers: str, objective: dict[str, Any]) -> None:
    each = {"family": family, "layers": layers, "objective": objective, "steps": 3, "log_every": 1, "width": 16}
    whole, half = (trained(toy_data(2), toy_params(**each, precision=name)) for name in ("float32", "bfloat16"))
    assert_finite(half)
    assert half.history[0]["discriminator_loss"] == pytest.approx(whole.history[0]["discriminator_loss"], rel=0.1)
    assert half.history != whole.history
