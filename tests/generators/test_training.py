"""A training learns, repeats itself to the bit however often it is killed, and recovers from failures."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor

from stages.generators import flips, quality, training
from stages.generators.adversarial import AdversarialGenerator
from stages.generators.drawing import TrainedGenerator, sources_of
from stages.generators.interface import Feed, Learner
from stages.generators.moments import measure
from stages.generators.params import GeneratorParams
from stages.generators.registry import kind
from stages.generators.requests import requests
from stages.generators.state import start
from stages.generators.training import Progress, train
from stages.imaging.augmentation import allowed, augment
from stages.labelling import pool
from stages.labelling.data import ReplicateData
from stages.plumbing.errors import UserError
from tests.generators.toy import (
    ADVERSARIAL,
    AUGMENTED,
    LEARNING,
    RELATIVISTIC,
    Memory,
    some_draws,
    toy_params,
)
from tests.labelling.toy import (
    CLASSES,
    hasty_fit,
    of_classes,
    of_two_domains,
    toy_data,
    toy_images,
    with_masks,
)


@pytest.fixture(autouse=True)
def hasty_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick classifiers that know little: what is tested here holds whatever they say."""
    for module in (pool, flips):
        monkeypatch.setattr(module, "fit", hasty_fit(steps=1))
    monkeypatch.setattr(quality, "SAMPLES", 60)


@pytest.fixture
def always_augmented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every signal counts as overfitting, so that the strength rises to its limit within a few steps."""
    monkeypatch.setattr(training, "TARGET_SIGN", -2.0)
    monkeypatch.setattr(training, "ADAPT_EVERY", 4)
    monkeypatch.setattr(training, "ADAPT_OVER", 256)


def ignore(_: Progress) -> None:
    """Report nothing."""


def prepared(data: ReplicateData, name: str) -> ReplicateData:
    """The data with what this kind starts from."""
    starts_from = kind(name).starts_from
    return of_two_domains(data) if starts_from == "domain" else with_masks(data) if starts_from == "region" else data


def made(
    data: ReplicateData,
    params: GeneratorParams,
    seed: int = 0,
    report: Callable[[Progress], None] = ignore,
    checkpoint: Memory | None = None,
) -> TrainedGenerator:
    data = prepared(data, params.kind)
    return train(data, pool.teach(data, 0).final, params, seed, report, checkpoint or Memory())


def same_tensors(one: TrainedGenerator, other: TrainedGenerator) -> bool:
    ours, theirs = one.generator.state_dict(), other.generator.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def assert_same(one: TrainedGenerator, other: TrainedGenerator) -> None:
    """Equal to the last bit."""
    assert same_tensors(one, other)
    assert one.generator.plan == other.generator.plan
    assert (one.history, one.curve, one.quality) == (other.history, other.curve, other.quality)
    assert one.samples.keys() == other.samples.keys()
    assert all(np.array_equal(picture, other.samples[step]) for step, picture in one.samples.items())


def assert_finite(gan: TrainedGenerator) -> None:
    """All that goes into JSON, and what the generator is made of."""
    for record in (*gan.history, *gan.curve, gan.quality):
        assert all(math.isfinite(value) for value in record.values())
    assert all(tensor.isfinite().all() for tensor in gan.generator.state_dict().values())


def class_mean_error(gan: TrainedGenerator) -> float:
    """Mean distance, in grey levels, of generated class means from real ones."""
    images, labels = toy_images(50, seed=3)
    errors = []
    for label, asked in enumerate(requests([range(100)] * CLASSES, 0, 0)):
        synthetic = torch.from_numpy(gan.draw(asked, images, 1.0, scores=False).images).float()
        errors.append((synthetic.mean(0) - images[labels == label].float().mean(0)).abs().mean())
    return float(torch.stack(errors).mean())


@pytest.mark.parametrize("pool_size", [0, 20])
def test_training_brings_the_class_means_to_the_real_ones(pool_size: int) -> None:
    untrained, learned = (
        class_mean_error(
            made(
                toy_data(pool_size),
                toy_params(steps=steps, layers="convolutional", width=16, ema_decay=0.9, generator_learning_rate=4e-3),
            )
        )
        for steps in (1, 80)
    )
    assert learned < 0.4 * untrained


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    one, again, other = (made(toy_data(10), toy_params(steps=5), seed) for seed in (7, 7, 8))
    assert_same(one, again)
    assert not torch.equal(one.generator.network.output.weight, other.generator.network.output.weight)


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    made(toy_data(2), toy_params(steps=2))
    assert torch.equal(before, torch.random.get_rng_state())


def test_reports_come_at_the_stated_steps_and_after_the_last() -> None:
    reports: list[Progress] = []
    gan = made(toy_data(0), toy_params(steps=45, log_every=10, samples_every=20), report=reports.append)
    assert [report.step for report in reports] == [10, 20, 30, 40, 45]
    assert [report.samples is not None for report in reports] == [False, True, False, True, True]
    assert gan.history == [{"step": report.step, **report.measures} for report in reports]
    assert all(report.images_per_second > 0 for report in reports)
    assert_finite(gan)


def test_what_is_reported_is_the_mean_since_the_last_report() -> None:
    each, together = (made(toy_data(0), toy_params(steps=20, log_every=n)).history for n in (1, 10))
    for end, record in zip((10, 20), together, strict=True):
        for name in record.keys() - {"step", "strength"}:
            expected = sum(one[name] for one in each[end - 10 : end]) / 10
            assert record[name] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("changes", [{"log_every": 1}, {"samples_every": 1}, {"checkpoint_every": 2}])
def test_looking_on_more_often_changes_no_weight(changes: dict[str, int]) -> None:
    seldom, often = (made(toy_data(0), toy_params(steps=8, **each)) for each in ({}, changes))
    assert same_tensors(seldom, often)


def test_the_generator_is_measured_as_it_learns_and_in_the_end() -> None:
    gan = made(toy_data(0), toy_params(steps=12, log_every=2, samples_every=4))
    assert [each["step"] for each in gan.curve] == [*gan.samples] == [4, 8, 12]
    assert gan.curve[-1].items() <= (gan.quality | {"step": 12}).items()


def test_quality_counts_the_pool_and_the_trust_in_it() -> None:
    with_pool, without = (made(toy_data(size), toy_params(steps=2)).quality for size in (20, 0))
    assert with_pool["pool_share"] == pytest.approx(60 / 75)
    assert 0 <= with_pool["pseudo_label_trust"] <= 1
    assert "pseudo_label_accuracy" not in without
    assert without["overfitting"] <= 1


def test_learning_rates_stay_for_half_the_steps_and_then_fall_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = spy(monkeypatch, lambda _, learner: learner.optimisers["generator"].param_groups[0]["lr"])
    made(toy_data(0), toy_params(steps=8, generator_learning_rate=0.01))
    assert rates == pytest.approx([0.01] * 5 + [0.0075, 0.005, 0.0025])


def test_what_draws_in_the_end_is_the_moving_average_of_the_network_that_learned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of every weight and running statistic, by the recurrence, its decay growing to the stated one."""
    weights = spy(monkeypatch, lambda generator, _: copied_floats(generator.network), after=True)
    gan = made(toy_data(0), toy_params(steps=12, ema_decay=0.4))
    average = weights[0]
    for n, now in enumerate(weights[1:], start=1):
        decay = min(0.4, (1 + n) / (10 + n))
        average = {name: decay * average[name] + (1 - decay) * now[name] for name in now}
    torch.testing.assert_close(copied_floats(gan.generator.network), average)
    assert not torch.allclose(average["output.weight"], weights[-1]["output.weight"], rtol=1e-3)


def copied_floats(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def spy(
    monkeypatch: pytest.MonkeyPatch, look: Callable[[AdversarialGenerator, Learner], Any], after: bool = False
) -> list[Any]:
    """What `look` sees before, or after, each step of an adversarial kind."""
    seen, original = list[Any](), AdversarialGenerator.learn

    def learn(self: AdversarialGenerator, feed: Feed, learner: Learner) -> dict[str, Tensor]:
        if not after:
            seen.append(look(self, learner))
        measures = original(self, feed, learner)
        if after:
            seen.append(look(self, learner))
        return measures

    monkeypatch.setattr(AdversarialGenerator, "learn", learn)
    return seen


TARGET = -0.6


def test_the_projection_gan_trains_as_read_off_its_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain loop with Adam from the same start, batches and augmentation gives the same losses and weights."""
    data, params = toy_data(6), toy_params(steps=10, log_every=1, batch_size=16)
    monkeypatch.setattr(training, "ADAPT_EVERY", 1)
    monkeypatch.setattr(training, "ADAPT_OVER", 64)
    monkeypatch.setattr(training, "TARGET_SIGN", TARGET)
    gan = made(data, params, seed=3)
    history = plain_training(data, params, seed=3)
    assert len({record["strength"] for record in gan.history}) > 2, "or augmentation never changed"
    for ours, theirs in zip(gan.history, history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


def plain_training(data: ReplicateData, params: Any, seed: int) -> list[dict[str, float]]:
    """Miyato and Koyama (2018) with hinge loss, real and fake images side by side for one power iteration, as the
    history of every step; written out without any of the training's own parts but networks, first weights and
    random numbers."""
    real = pool.label(data, pool.teach(data, 0).final).real
    moments = measure(real, data.classes, params.latent_dim)
    plan, _ = kind("projection").study(data, real, params, 0)
    state = start(kind("projection"), plan, moments, params, seed, torch.device("cpu"))
    network, judge, random = state.generator.network, state.generator.discriminator, state.random
    adam = [torch.optim.Adam(each.parameters(), lr=1e-3, betas=(0.0, 0.9)) for each in (network, judge)]
    strength, history = 0.0, list[dict[str, float]]()
    for step in range(params.steps):
        for each in adam:
            each.param_groups[0]["lr"] = 1e-3 * min(1, 2 * (1 - step / params.steps))
        rows = torch.randint(len(real.labels), (params.batch_size,), generator=random)
        latents = torch.randn(params.batch_size, params.latent_dim, generator=random)
        labels, trust = real.labels[rows], real.trust[rows]
        images = torch.cat([real.images[rows] / 127.5 - 1, network(some_draws(labels, latents))])
        if strength > 0:
            images = augment(images, allowed(params.augment.policies, data.flip_ok), strength, random)
        logits = logits_of(judge, images.detach(), labels.repeat(2), trust.repeat(2))
        real_logits, fake_logits = logits.chunk(2)
        judge_loss = (1 - real_logits).clamp(min=0).mean() + (1 + fake_logits).clamp(min=0).mean()
        descend(adam[1], judge_loss)
        judge.eval()
        generator_loss = -logits_of(judge, images.chunk(2)[1], labels, trust).mean()
        descend(adam[0], generator_loss)
        judge.train()
        sureness = real_logits.sign().mean().item()
        strength += (1 if sureness > TARGET else -1) * params.batch_size / 64
        strength = min(max(strength, 0.0), params.augment.limit)
        measures = {"discriminator_loss": judge_loss, "generator_loss": generator_loss}
        measures |= {"real_logit": real_logits.mean(), "fake_logit": fake_logits.mean()}
        plain = {name: value.item() for name, value in measures.items()}
        history.append({"step": step + 1, **plain, "sureness": sureness, "strength": strength})
    return history


def logits_of(judge: torch.nn.Module, images: Tensor, labels: Tensor, trust: Tensor) -> Tensor:
    """psi(phi(x)) + trust * <embed(y), phi(x)>."""
    features = judge.trunk(images)
    return judge.psi(features)[:, 0] + trust * torch.einsum("nf,nf->n", judge.embed(labels), features)


def descend(adam: torch.optim.Optimizer, loss: Tensor) -> None:
    parameters = adam.param_groups[0]["params"]
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    adam.step()


@pytest.mark.drill
@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_compiled_networks_learn_about_the_same(kind: str) -> None:
    params = {"steps": 3, "log_every": 1, "batch_size": 16, "width": 16}
    plain, compiled = (made(toy_data(2), toy_params(kind, **params, compile=each)) for each in (False, True))
    assert_finite(compiled)
    for ours, theirs in zip(compiled.history, plain.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=1e-2)


class TestAugmentation:
    @pytest.mark.parametrize("limit", [0.0, 0.3, 0.8])
    @pytest.mark.usefixtures("always_augmented")
    def test_it_rises_to_its_limit_where_the_discriminator_is_too_sure(self, limit: float) -> None:
        gan = made(toy_data(0), toy_params(steps=32, log_every=4, augment={"policies": ["cutout"], "limit": limit}))
        strengths = [record["strength"] for record in gan.history]
        assert strengths == sorted(strengths)
        assert gan.quality["strength"] == strengths[-1] == limit

    @pytest.mark.parametrize("target", [-2.0, 2.0])
    def test_it_follows_the_signal(self, monkeypatch: pytest.MonkeyPatch, target: float) -> None:
        """Signs are -1 to 1: a target beyond them is never or always exceeded."""
        monkeypatch.setattr(training, "TARGET_SIGN", target)
        strength = made(toy_data(0), toy_params(steps=32)).quality["strength"]
        assert strength == pytest.approx(2 * 16 * 32 / 16_000 if target < 0 else 0)

    @pytest.mark.usefixtures("always_augmented")
    def test_without_policies_it_changes_nothing(self) -> None:
        none, forbidden = (
            made(toy_data(0), toy_params(steps=12, augment={"policies": policies, "limit": 0.8}))
            for policies in ([], ["flip"])  # mirror images of the toys would not keep their class
        )
        unaugmented = made(toy_data(0), toy_params(steps=12, augment={"policies": ["cutout"], "limit": 0}))
        assert same_tensors(none, unaugmented)
        assert same_tensors(forbidden, unaugmented)

    @pytest.mark.usefixtures("always_augmented")
    def test_it_reaches_the_discriminator(self) -> None:
        augmented, plain = (
            made(toy_data(0), toy_params(steps=12, augment={"policies": ["cutout"], "limit": limit}))
            for limit in (0.8, 0)
        )
        assert not same_tensors(augmented, plain)


@pytest.mark.usefixtures("always_augmented")
class TestResume:
    """Killed anywhere and run again, a training ends in the bytes of one that was not."""

    SETTINGS: dict[str, Any] = {  # noqa: RUF012
        "steps": 8,
        "batch_size": 16,
        "log_every": 2,
        "samples_every": 4,
        "checkpoint_every": 1,
    }

    @pytest.mark.parametrize(
        ("kind", "changes"),
        [
            *((kind, {}) for kind in LEARNING),
            ("projection", {"objective": RELATIVISTIC}),
            ("translation", {"cycle": 1.0}),
        ],
    )
    def test_from_any_step_of_any_kind(self, kind: str, changes: dict[str, Any]) -> None:
        settings, memory = toy_params(kind, **self.SETTINGS, **changes), Memory()
        whole = made(toy_data(0), settings, checkpoint=memory)
        assert whole.quality.get("strength", 1) > 0  # where images are augmented at all
        for step in (1, 5, 8):
            assert_same(made(toy_data(0), settings, checkpoint=Memory(memory.history[step - 1])), whole)

    @pytest.mark.parametrize(
        "changes",
        [
            {"layers": "convolutional", "width": 16},
            {"precision": "bfloat16"},
            {"batches": {"labelled_share": 0.5, "balanced": True}},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_with_other_networks_numbers_and_batches(self, changes: dict[str, Any]) -> None:
        settings, memory = toy_params(**self.SETTINGS | changes), Memory()
        whole = made(toy_data(0), settings, checkpoint=memory)
        assert_same(made(toy_data(0), settings, checkpoint=Memory(memory.history[4])), whole)

    @pytest.mark.parametrize("killed_at", [4, 10])
    def test_no_more_than_the_steps_since_the_last_checkpoint_are_redone(self, killed_at: int) -> None:
        settings = toy_params(**self.SETTINGS | {"steps": 12, "log_every": 1, "checkpoint_every": 5})
        whole, memory, seen = made(toy_data(0), settings), Memory(), []

        def die(now: Progress) -> None:
            if now.step == killed_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made(toy_data(0), settings, report=die, checkpoint=memory)
        resumed = made(toy_data(0), settings, report=lambda now: seen.append(now.step), checkpoint=memory)
        assert seen[0] == (killed_at - 1) // 5 * 5 + 1
        assert_same(resumed, whole)


Measures = dict[str, Tensor]
Fault = Callable[[AdversarialGenerator, Measures], Measures]


def no_numbers(_: AdversarialGenerator, measures: Measures) -> Measures:
    return {name: value * math.nan for name, value in measures.items()}


def poison_generator(generator: AdversarialGenerator, measures: Measures) -> Measures:
    """As an update does whose gradient was no number: the losses were computed before it."""
    with torch.no_grad():
        generator.network.output.weight[0] = math.nan
    return measures


def poison_discriminator(generator: AdversarialGenerator, measures: Measures) -> Measures:
    with torch.no_grad():
        generator.discriminator.psi.bias.fill_(math.inf)
    return measures


class TestRollback:
    """What fails goes back to the last checkpoint, with half the learning rates."""

    @pytest.fixture
    def inject(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """A fault at one step, as long as the generator's learning rate is above `tolerated`."""

        def plant(fault: Fault, at: int, tolerated: float) -> None:
            def learn(self: AdversarialGenerator, feed: Feed, learner: Learner) -> Measures:
                measures, adam = original(self, feed, learner), learner.optimisers["generator"]
                done = int(adam.state[adam.param_groups[0]["params"][0]]["step"])  # goes back with the rest
                return fault(self, measures) if done == at and adam.param_groups[0]["lr"] > tolerated else measures

            monkeypatch.setattr(AdversarialGenerator, "learn", learn)

        original = AdversarialGenerator.learn
        return plant

    SETTINGS: dict[str, Any] = {"steps": 40, "log_every": 3, "checkpoint_every": 5, "samples_every": 20}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("fault", "at"),
        [
            *((no_numbers, at) for at in (2, 12, 15, 14)),  # before the first checkpoint, at a report, at one, between
            *((poison_generator, at) for at in (2, 15, 14)),
            *((poison_discriminator, at) for at in (15, 14)),
        ],
    )
    def test_a_failure_that_half_the_learning_rates_mend_is_overcome(
        self, inject: Callable[..., None], fault: Fault, at: int
    ) -> None:
        inject(fault, at, tolerated=0.9e-3)
        gan = made(toy_data(0), toy_params(**self.SETTINGS))
        assert gan.quality["rollbacks"] == 1
        assert [record["step"] for record in gan.history] == [*range(3, 40, 3), 40]
        assert [record["step"] for record in gan.curve] == [21, 40]
        assert_finite(gan)

    def test_a_generator_that_fails_in_its_last_step_is_not_kept(self, inject: Callable[..., None]) -> None:
        inject(poison_generator, 40, tolerated=1e-3 / 20 * 0.9)
        gan = made(toy_data(0), toy_params(**self.SETTINGS))
        assert gan.quality["rollbacks"] == 1
        assert_finite(gan)

    def test_learning_rates_are_halved_each_time(
        self, inject: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inject(no_numbers, 6, tolerated=0.3e-3)
        rates = spy(monkeypatch, lambda _, learner: learner.optimisers["discriminator"].param_groups[0]["lr"])
        gan = made(toy_data(0), toy_params(**self.SETTINGS))
        assert gan.quality["rollbacks"] == 2
        assert sorted(set(rates[:20]), reverse=True) == pytest.approx([1e-3, 0.5e-3, 0.25e-3])
        assert len(rates) == 40 + 2 * 1  # step 6 was done twice in vain, from the checkpoint of step 5

    def test_what_no_learning_rate_mends_stops_with_what_to_lower(self, inject: Callable[..., None]) -> None:
        inject(no_numbers, 12, tolerated=0)
        with pytest.raises(UserError, match=r"failed by step 12.*is nan.*back 2 times.*generator_learning_rate"):
            made(toy_data(0), toy_params(**self.SETTINGS))
        with pytest.raises(UserError, match="back 0 times"):
            made(toy_data(0), toy_params(**self.SETTINGS, rollbacks=0))

    @pytest.mark.parametrize("dies_at", [11, 14])
    def test_killed_after_a_rollback_it_ends_in_the_same_bytes(self, inject: Callable[..., None], dies_at: int) -> None:
        settings, memory, seen = toy_params(**self.SETTINGS | {"log_every": 1}), Memory(), []
        inject(no_numbers, 13, tolerated=0.3e-3)
        whole = made(toy_data(0), settings)
        assert whole.quality["rollbacks"] == 2

        def die(now: Progress) -> None:
            seen.append(now.step)
            if seen.count(11) >= 2 and now.step == dies_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made(toy_data(0), settings, report=die, checkpoint=memory)
        assert_same(made(toy_data(0), settings, checkpoint=memory), whole)

    def test_a_mode_collapse_is_gone_back_from(self, inject: Callable[..., None]) -> None:
        """The averaged generator follows within a few steps where its decay is 0."""

        def deafen(generator: AdversarialGenerator, measures: Measures) -> Measures:
            with torch.no_grad():
                generator.network.factors.zero_()
                generator.network.output.weight.zero_()
                generator.network.output.bias.zero_()
            return measures

        inject(deafen, 40, tolerated=1.5e-3)
        quick = {"generator_learning_rate": 2e-3, "ema_decay": 0.0, "width": 64}
        gan = made(toy_data(0), toy_params(steps=100, checkpoint_every=20, **quick))
        assert gan.quality["rollbacks"] == 1

    def test_a_start_with_samples_that_are_alike_is_none(self) -> None:
        gan = made(toy_data(0), toy_params(steps=5, checkpoint_every=1, generator_learning_rate=1e-6))
        assert gan.quality["rollbacks"] == 0


class TestBadInput:
    def test_a_class_without_labelled_images_is_named(self) -> None:
        data = toy_data(0)
        kept = data.labels != 1
        with pytest.raises(UserError, match="class 1 has no labelled image"):
            made(replace(data, images=data.images[kept], labels=data.labels[kept]), toy_params())

    def test_too_little_memory_says_what_to_lower(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def exhaust(*_: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        spy(monkeypatch, exhaust)
        with pytest.raises(UserError, match=r"too little memory.*batch_size \(32\) or width \(48\)"):
            made(toy_data(0), toy_params(width=48))

    def test_another_error_of_pytorchs_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def break_down(*_: object) -> None:
            raise RuntimeError("shapes cannot be multiplied")

        spy(monkeypatch, break_down)
        with pytest.raises(RuntimeError, match="shapes"):
            made(toy_data(0), toy_params())


def with_one_image_of_the_last_class(data: ReplicateData) -> ReplicateData:
    kept = torch.cat([(data.labels < CLASSES - 1).nonzero()[:, 0], (data.labels == CLASSES - 1).nonzero()[:1, 0]])
    return replace(data, images=data.images[kept], labels=data.labels[kept])


def of_one_grey_level(data: ReplicateData) -> ReplicateData:
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
CASES = [
    *((kind, {}) for kind in LEARNING),
    ("projection", {"layers": "convolutional"}),
    ("translation", {"range": "regional", "identity": 1.0}),
    ("translation", {"range": "global", "cycle": 1.0}),
]


def odd_cases() -> Iterator[ParameterSet]:
    """Every kind on every odd set: `make test` takes each kind on every second set, and each set for every second."""
    for row, name in enumerate(ODD_DATA):
        for column, case in enumerate(CASES):
            later = [pytest.mark.drill] if (row + column) % 2 else []
            yield pytest.param(name, *case, marks=later, id=f"{name}-{case}")


@pytest.mark.parametrize(("name", "kind", "networks"), list(odd_cases()))
@pytest.mark.usefixtures("always_augmented")
def test_odd_data_sets_are_trained_on_all_the_same(name: str, kind: str, networks: dict[str, str]) -> None:
    data = ODD_DATA[name]
    params = toy_params(kind, **networks, steps=5, width=16, batch_size=16, checkpoint_every=4, log_every=1)
    assert_draws(made(data, params), data)


@pytest.mark.parametrize("name", ODD_DATA)
def test_odd_data_sets_have_gaussians_all_the_same(name: str) -> None:
    assert_draws(made(ODD_DATA[name], toy_params("gaussian")), ODD_DATA[name])


def assert_draws(gan: TrainedGenerator, data: ReplicateData) -> None:
    assert_finite(gan)
    data = prepared(data, gan.name)
    for asked in requests([range(2)] * data.classes, 0, 0, sources_of(gan.generator, data)):
        assert gan.draw(asked, data.images, 1.0, scores=True, masks=data.masks).images.shape == (
            2,
            *data.images.shape[1:],
        )


@pytest.mark.parametrize(
    ("kind", "networks"),
    [
        *((kind, networks) for kind, networks in CASES if kind in AUGMENTED),
        *((kind, networks | {"objective": RELATIVISTIC}) for kind, networks in CASES if kind in ADVERSARIAL),
    ],
    ids=str,
)
def test_half_precision_gives_about_the_same_losses(kind: str, networks: dict[str, Any]) -> None:
    each = networks | {"steps": 3, "log_every": 1, "width": 16}
    whole, half = (made(toy_data(2), toy_params(kind, **each, precision=name)) for name in ("float32", "bfloat16"))
    assert_finite(half)
    assert half.history[0]["discriminator_loss"] == pytest.approx(whole.history[0]["discriminator_loss"], rel=0.1)
    assert half.history != whole.history
