"""Kinds with a privacy budget: all that their images know of the real ones goes through noised sums."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.generators import accountant, private_moments
from stages.generators.batches import PoissonFeed
from stages.generators.drawing import TrainedGenerator
from stages.generators.kinds import private_features, private_gan, private_gaussian
from stages.generators.private import PROMISE, told
from stages.generators.quality import draw_classes
from stages.generators.training import train
from stages.labelling import pool
from stages.labelling.data import ReplicateData, TrustedImages
from stages.plumbing.errors import UserError
from tests.generators.toy import Memory, toy_params
from tests.labelling.toy import CLASSES, hasty_fit, toy_data, toy_images

PRIVATE = ("private_gaussian", "private_features", "private_gan")
every_kind = pytest.mark.parametrize("name", PRIVATE)


@pytest.fixture(autouse=True)
def accounted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All noise is 1, which takes no time to find, but where a test is marked otherwise."""
    monkeypatch.setattr(pool, "fit", hasty_fit(steps=1))

    def one(_epsilon: float, _delta: float, rate: float = 1, steps: int = 1, _beside: Any = ()) -> accountant.Release:
        return accountant.Release(1.0, rate, steps)

    if "exactly" not in request.fixturenames:
        for module in (private_gaussian, private_features, private_gan):
            monkeypatch.setattr(module, "least_noise", one)


@pytest.fixture
def exactly() -> None:
    """Noise is what the accountant says."""


def made(data: ReplicateData, name: str, **changes: Any) -> TrainedGenerator:
    short = {} if name == "private_gaussian" else {"steps": 4, "samples_every": 100}
    params = toy_params(name, **short | changes)
    return train(data, pool.unguessed(data), params, 7, lambda _: None, Memory())


def drawn(from_: TrainedGenerator) -> Tensor:
    generator = from_.generator
    return draw_classes(generator.network, generator, toy_data(0), 3, seed=0)[0]


class Blinded:
    """Sums that are released know nothing: a constant stands in the place of each."""

    @pytest.fixture(autouse=True)
    def blinded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def constant(like: Any) -> Any:
            return torch.full_like(like, 0.01)

        whole = private_moments.sums_of
        monkeypatch.setattr(private_moments, "sums_of", lambda *given: tuple(constant(each) for each in whole(*given)))
        monkeypatch.setattr(private_moments, "centre_of", lambda vectors, _: constant(vectors[0]))
        monkeypatch.setattr(
            private_gan, "clipped_sums", lambda judge, *_: [constant(each) for each in judge.parameters()]
        )
        features = private_features.sums_of
        monkeypatch.setattr(
            private_features, "sums_of", lambda *given: tuple(constant(each) for each in features(*given))
        )


class TestNothingPassesByTheNoisedSums(Blinded):
    @every_kind
    def test_two_data_sets_make_the_same_generator_where_the_sums_tell_nothing(self, name: str) -> None:
        """Whatever else looked at the images would show: components, starts, gradients, checks, snapshots, pools."""
        one, other = toy_data(4), toy_data(4)
        other = replace(
            other, images=255 - other.images, unlabelled=255 - other.unlabelled, labels=other.labels.flip(0)
        )
        assert torch.equal(drawn(made(one, name)), drawn(made(other, name)))


@every_kind
def test_images_tell_something_where_the_noise_lets_them(name: str) -> None:
    one, other = toy_data(0), toy_data(0)
    other = replace(other, images=255 - other.images)
    assert not torch.equal(drawn(made(one, name)), drawn(made(other, name)))


@every_kind
def test_the_pool_and_images_of_other_classes_are_not_seen(name: str) -> None:
    one = toy_data(6)
    other = replace(one, unlabelled=255 - one.unlabelled)
    assert torch.equal(drawn(made(one, name)), drawn(made(other, name)))


@every_kind
def test_secret_noise_is_another_each_time_and_a_rehearsals_the_same(name: str) -> None:
    first, again = (drawn(made(toy_data(0), name, noise="secret")) for _ in range(2))
    assert not torch.equal(first, again)
    first, again = (drawn(made(toy_data(0), name)) for _ in range(2))
    assert torch.equal(first, again)


@every_kind
def test_of_a_group_one_image_is_learned_from(name: str) -> None:
    data = toy_data(0)
    groups = torch.arange(len(data.labels) + len(data.validation_labels))
    groups[1] = groups[0]
    grouped = replace(data, groups=groups)
    whole = made(grouped, name, protects="group")
    assert whole.generator.plan[PROMISE]["images"] == len(data.labels) - 1
    changed = data.images.clone()
    changed[1] = 255 - changed[1]
    assert torch.equal(drawn(whole), drawn(made(replace(grouped, images=changed), name, protects="group")))


@every_kind
@pytest.mark.usefixtures("exactly")
def test_the_promise_is_what_was_asked_for_and_its_releases_spend_no_more(name: str) -> None:
    promise = made(toy_data(0), name, epsilon=2.0).generator.plan[PROMISE]
    assert (promise["epsilon"], promise["delta"]) == (2.0, 1e-3)
    releases = [accountant.Release(**each) for each in promise["releases"]]
    assert 1.8 < accountant.spent(releases, promise["delta"]) <= 2.0


def test_several_generators_that_saw_the_same_image_promise_less() -> None:
    promise = made(toy_data(0), "private_gaussian").generator.plan[PROMISE]
    once, thrice = (told([promise] * 3, times, 1)["published_epsilon"] for times in (1, 3))
    releases = [accountant.Release(promise["releases"][0]["noise"])] * 3
    assert thrice == pytest.approx(accountant.spent(releases, 1e-3), abs=0.02)
    assert once < thrice


def test_of_replicates_with_different_noise_the_least_counts() -> None:
    promise = made(toy_data(0), "private_gaussian").generator.plan[PROMISE]
    quieter = {**promise, "releases": [{"noise": 0.7, "rate": 1.0, "steps": 1}]}
    alone = told([quieter], 1, 1)["published_epsilon"]
    assert told([promise, quieter], 1, 1)["published_epsilon"] == alone > told([promise], 1, 1)["published_epsilon"]


@every_kind
@pytest.mark.parametrize(
    ("changes", "words"),
    [({"delta": 0.5}, "delta: 0.5 would allow"), ({"protects": "group"}, "needs images in groups")],
)
def test_a_promise_that_would_be_none_is_refused(name: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        made(toy_data(0), name, **changes)


def test_more_in_a_lot_than_there_are_images_is_refused() -> None:
    with pytest.raises(UserError, match="lot: 1000 is more than"):
        made(toy_data(0), "private_gan", lot=1000)


@pytest.mark.parametrize("changes", [{"epsilon": 0.0}, {"epsilon": -1.0}, {"labels": "teacher"}])
def test_what_no_budget_goes_with_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"greater than 0|labels: teacher does not go"):
        toy_params("private_gaussian", **changes)


@pytest.mark.parametrize("clip", [1e-3, 0.5, 1e6])
def test_gradients_are_clipped_image_by_image(clip: float) -> None:
    """Against one backward pass for each image."""
    judge = made(toy_data(0), "private_gan").generator.get_submodule("discriminator").train()
    images, labels = torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(9) % CLASSES
    expected = [torch.zeros_like(each) for each in judge.parameters()]
    for image, label in zip(images, labels, strict=True):
        own = torch.autograd.grad(torch.relu(1 - judge(image[None], label[None])).sum(), [*judge.parameters()])
        length = torch.stack([each.square().sum() for each in own]).sum().sqrt()
        for total, each in zip(expected, own, strict=True):
            total += each * (clip / length.clamp_min(1e-9)).clamp_max(1)
    found = private_gan.clipped_sums(judge, images, labels, clip)
    for total, each in zip(expected, found, strict=True):
        torch.testing.assert_close(each, total, rtol=1e-3, atol=1e-6 * clip)
    nobody = private_gan.clipped_sums(judge, images[:0], labels[:0], clip)
    assert all(float(each.abs().sum()) == 0 for each in nobody)


def test_each_image_is_drawn_by_itself_and_fakes_are_of_all_classes() -> None:
    images, labels = toy_images(200, 0)
    random = torch.Generator().manual_seed(0)
    real = TrustedImages(images, labels, torch.ones(len(images)))
    feed = PoissonFeed(real=real, lot=60, classes=CLASSES, latent_dim=8, random=random)
    sizes = torch.tensor([len(feed.draw().real) for _ in range(300)]).double()
    assert float(sizes.mean()) == pytest.approx(60, rel=0.03)
    assert float(sizes.var()) == pytest.approx(600 * 0.1 * 0.9, rel=0.25), "binomial"
    assert torch.bincount(feed.fakes().labels, minlength=CLASSES).min() > 5


def test_random_features_are_of_length_1_and_their_products_a_gaussian_kernel() -> None:
    features = private_features.RandomFeatures(20_000, 64, bandwidth=0.5)
    one, other = torch.rand(2, 1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = [features(each) for each in (one, other)]
    assert float(found[0].norm()) == pytest.approx(1, abs=1e-5)
    distance = float((one - other).square().mean())
    assert float((found[0] * found[1]).sum()) == pytest.approx(
        torch.exp(torch.tensor(-distance / 0.5)).item(), abs=0.03
    )
