"""The head on a frozen network is logistic regression, and an arm with one learns, chooses and is kept like others."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn.functional import one_hot

from stages.downstream import fitting, heads
from stages.downstream.arms import train_arm, try_settings
from stages.downstream.batches import real_parts
from stages.downstream.fitting import balanced_accuracy
from stages.downstream.params import TrainDownstreamParams
from stages.imaging.backbones import Backbone
from stages.imaging.networks import predict
from stages.imaging.params import BackboneParams
from tests.downstream.conftest import arm, section

BACKBONE = {"name": "toy", "size": 32, "weights": "package"}
DECAYS = {"backbone": BACKBONE, "augment": "none", "settings": [{"weight_decay": 100.0}, {"weight_decay": 0.01}]}
TUNED = {"weight_decay": 0.01, "fine_tuning_rate": 0.003}
WITH_GAN = {"images": "data/filter_memorized/gan", "settings": [{"synthetic_share": 0.5, "weight_decay": 0.01}]}


class RandomConvolutions(nn.Conv2d):
    """With those two functions of timm's networks that are called."""

    def forward_intermediates(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        seen = self(images).relu()
        return seen, [seen]

    def forward_head(self, last: Tensor) -> Tensor:
        return last.flatten(1)


def toy_backbone(*_: Any) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = RandomConvolutions(3, 8, 8, stride=8)
    return Backbone(network, 136, 32, [127.5] * 3, [127.5] * 3)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the backbone saw in each call; here it is a toy, and few looks suffice."""
    counts = list[int]()

    def counted(network: nn.Module, images: Tensor) -> Tensor:
        counts.append(len(images))
        return in_batches(network, images)

    in_batches = fitting.in_batches
    monkeypatch.setattr(fitting, "open_backbone", toy_backbone)
    monkeypatch.setattr(heads, "build_backbone", toy_backbone)
    monkeypatch.setattr(fitting, "in_batches", counted)
    monkeypatch.setattr(fitting, "LOOKS", 48)
    return counts


def params(**changes: Any) -> TrainDownstreamParams:
    return TrainDownstreamParams.model_validate(section(arms={"transfer": arm(**(DECAYS | changes))}))


def test_the_head_is_scikit_learns_logistic_regression() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 5, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 3.0, 0.0]) + 7
    labels = (features[:, :3] - 7).argmax(dim=1)
    head, loss, iterations = heads.fit_head(features, one_hot(labels, 3).float(), weight_decay=0.05)
    standard = ((features - features.mean(dim=0)) / features.std(dim=0).clamp_min(1e-9)).numpy()
    model = LogisticRegression(C=1 / (0.05 * 60), tol=1e-8, max_iter=1000).fit(standard, labels)
    expected = model.predict_proba(standard)
    assert np.allclose(head(features).softmax(dim=1), expected, atol=1e-3)
    assert loss == pytest.approx(-np.log(expected[range(60), labels]).mean(), abs=1e-3)
    assert iterations > 1


def test_a_probability_counts_as_so_much_of_an_image() -> None:
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    soft = torch.rand(20, 3, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    targets = torch.diag_embed(3 * soft).flatten(0, 1)  # three rows for an image, one for each class
    one, other = (
        heads.fit_head(*each, 0.1)[0] for each in ((features, soft), (features.repeat_interleave(3, 0), targets))
    )
    # the standard deviation of thrice the rows is a little smaller
    assert torch.allclose(one(features).softmax(dim=1), other(features).softmax(dim=1), atol=0.01)


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("changes", [{}, WITH_GAN, {"settings": [TUNED]}])
def test_it_learns_the_toy_problem_and_its_state_is_the_classifier(make_data, toy, changes) -> None:
    given, data = params(**changes), make_data()
    result = train_arm(given.arms["transfer"], data, given, 0, None, len(given.arms["transfer"].settings) - 1, None)
    assert balanced_accuracy(torch.from_numpy(result.test_probabilities), toy(30, 3)[1]) > 0.9
    assert (result.images["synthetic"] > 0) == (changes == WITH_GAN)
    network = heads.build(BackboneParams(**BACKBONE), "cnn", 1, 8, 3, 4)
    network.load_state_dict(result.state)
    assert np.array_equal(predict(network, data.test_images).numpy(), result.test_probabilities)


def test_all_weight_decays_share_one_look_at_the_labels_of_train(make_data, seen) -> None:
    given, data = params(), make_data()
    trials = try_settings(given.arms["transfer"], data, given, 0, None)
    assert seen == [12], "each image once, however often it is shown"
    assert trials[0].step < trials[1].step, "with a large decay the solver has little to do"
    blind = make_data(validation_images=data.seen.validation_images.flip(0))
    again = try_settings(given.arms["transfer"], blind, given, 0, None)
    assert [each.step for each in again] == [each.step for each in trials], "validation images teach nothing"


@pytest.mark.usefixtures("seen")
def test_fine_tuning_goes_on_from_the_head_and_leaves_the_backbone_of_other_settings_alone(make_data) -> None:
    frozen = {"weight_decay": 0.01}
    given = params(settings=[frozen, frozen | {"fine_tuning_rate": 1e-9}, TUNED | {"weight_decay": 1.0}])
    bench = fitting.Bench(given.arms["transfer"], make_data(), given, 0, None, final=True)
    parts, before = real_parts(bench.labelled, 16), toy_backbone().state_dict()
    settings = bench.arm.settings
    first, still, tuned, again = (fitting.fit_setting(each, parts, bench) for each in [*settings, settings[0]])
    images = bench.data.test_images
    assert torch.equal(predict(first.model, images), predict(again.model, images))
    assert torch.allclose(predict(first.model, images), predict(still.model, images), atol=1e-5)
    assert tuned.history[-1]["loss"] < tuned.history[0]["loss"]
    moved = {name for name, tensor in tuned.model[0].state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"network.weight", "network.bias"}
    assert tuned.step == given.classifier.steps


def test_what_is_shown_begins_plain_and_does_not_depend_on_how_much_is_augmented_together(
    make_data, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = params(augment="none")
    bench = fitting.Bench(given.arms["transfer"], make_data(), given, 0, None, final=True)
    parts = real_parts(bench.labelled, 16)
    originals = fitting.shown(parts, bench, 40)
    monkeypatch.setattr(fitting, "AT_ONCE", 20)
    assert torch.equal(fitting.shown(parts, bench, 40).images, originals.images)
    changed = params(augment="classic")
    bench = fitting.Bench(changed.arms["transfer"], make_data(), changed, 0, None, final=True)
    looks = fitting.shown(parts, bench, 40, plain=8)
    kept = (looks.images == originals.images).flatten(1).all(dim=1)
    assert kept.tolist() == [True] * 8 + [False] * 32
    assert torch.equal(looks.labels, originals.labels)
