"""Training learns, repeats itself and returns the weights asked for; what a classifier says belongs to the image."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, nn
from torch.nn import functional

from stages.downstream.augment import build_policy
from stages.downstream.classifiers import build_classifier
from stages.downstream.mixing import build_mixing
from stages.downstream.training import (
    HISTORY_POINTS,
    Choice,
    Examples,
    derive_seeds,
    features,
    summarise,
    targets_of,
    train_classifier,
)
from stages.imaging.networks import predict
from stages.imaging.pixels import to_network_range
from stages.plumbing.errors import UserError
from tests.downstream.toy import examples


def seeded(seed=0):
    return Generator().manual_seed(seed)


def shuffled(steps, count=30, batch=16, seed=0):
    """Batches (steps, batch) in which all images come before any comes again."""
    generator, rounds = seeded(seed), -(-steps * batch // count)
    order = torch.cat([torch.randperm(count, generator=generator) for _ in range(rounds)])
    return order[: steps * batch].view(steps, batch)


def train(params, toy, seed=0, steps=60, augment="none", weights=None, validate=None, **changes):
    images, labels = toy(30, 0)
    return train_classifier(
        examples(images, labels, weights),
        shuffled(steps),
        build_policy(augment, params, flip_ok=False),
        build_mixing(augment),
        params.classifier.model_copy(update=changes),
        derive_seeds(seed, 0),
        validate,
    )


def same(first, second):
    tensors = second.state_dict()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize(
    ("augment", "changes"),
    [("classic", {}), ("mixup", {}), ("cutmix", {"checkpoints": 3}), ("none", {"weight_averaging": 0.9})],
)
def test_it_learns_what_can_be_learnt(params, toy, augment, changes):
    images, labels = toy(90, 1)

    def accuracy(model):
        return (predict(model, images).argmax(dim=1) == labels).float().mean().item()

    trained = train(params, toy, augment=augment, validate=accuracy, **changes)
    assert not trained.model.training
    assert accuracy(trained.model) > 0.95
    losses = [point["loss"] for point in trained.history if "loss" in point]
    assert losses[-1] < losses[0] / 1.3
    assert trained.history[-1]["step"] == 60


def test_resnet18_learns_too(params, toy):
    trained = train(params, toy, steps=12, kind="resnet18", learning_rate=0.002)
    losses = [point["loss"] for point in trained.history]
    assert losses[-1] < losses[0] / 1.5


@pytest.mark.parametrize("augment", ["none", "classic", "randaugment", "trivialaugment", "mixup", "cutmix"])
def test_the_same_seeds_give_the_same_bytes(params, toy, augment):
    first, again, other = (train(params, toy, seed, steps=8, augment=augment) for seed in (0, 0, 1))
    assert first.history == again.history
    assert same(first.model, again.model)
    assert not same(first.model, other.model)


def test_without_weights_it_is_the_usual_training_to_the_last_bit(params, toy):
    """The plain loop, with torch's own smoothing of integer labels."""
    (images, labels), settings = toy(30, 0), params.classifier
    model = build_classifier("cnn", 1, 8, 3, settings.width, derive_seeds(0, 0).initialisation)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=21, pct_start=0.2)
    for rows in shuffled(20):
        optimizer.zero_grad()
        logits = model(to_network_range(images[rows]))
        functional.cross_entropy(logits, labels[rows], label_smoothing=settings.label_smoothing).backward()
        optimizer.step()
        schedule.step()
    assert same(train(params, toy, steps=20).model, model)


@given(
    labels=st.lists(st.integers(0, 3), min_size=1, max_size=9).map(torch.tensor),
    smoothing=st.floats(0, 0.9),
    seed=st.integers(0, 99),
)
def test_soft_targets_scale_each_images_smoothed_loss(labels, smoothing, seed):
    logits = torch.randn(len(labels), 4, generator=seeded(seed))
    weights = 2 * torch.rand(len(labels), generator=seeded(seed + 1))
    losses = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    targets = targets_of(examples(torch.zeros(len(labels)), labels, weights, classes=4), smoothing)
    torch.testing.assert_close(functional.cross_entropy(logits, targets), (weights * losses).mean())


def test_probabilities_are_smoothed_like_labels_and_learnt_as_they_are(params, toy):
    """Of an image that is as often one class as another, a classifier says so; smoothing pulls it towards chance."""
    images, labels = toy(30, 0)
    torn = torch.where(labels[:, None] == 2, torch.tensor([0.5, 0.0, 0.5]), torch.eye(3)[labels])
    given = Examples(images, torn, torch.ones(30))
    torch.testing.assert_close(targets_of(given, 0.3)[2], torch.tensor([0.45, 0.1, 0.45]))
    plain, settings = build_policy("none", params, flip_ok=False), params.classifier
    model = train_classifier(given, shuffled(60), plain, None, settings, derive_seeds(0, 0)).model
    said = predict(model, toy(90, 1)[0])[2::3].mean(dim=0)
    torch.testing.assert_close(said, torch.tensor([0.5, 0.0, 0.5]), atol=0.1, rtol=0)


def test_an_image_without_weight_teaches_nothing(params, toy):
    """With all labels of one class turned to another, but weightless, the other weights' lesson stays what it was."""
    images, labels = toy(30, 0)
    lies, order = torch.where(labels == 2, 0, labels), shuffled(20)
    plain = build_policy("none", params, flip_ok=False)

    def fit(given, weights):
        return train_classifier(
            examples(images, given, weights), order, plain, None, params.classifier, derive_seeds(0, 0)
        ).model

    weightless = (labels != 2).float()
    assert same(fit(lies, weightless), fit(labels, weightless))
    assert not same(fit(lies, torch.ones(30)), fit(labels, torch.ones(30)))


def test_the_moving_average_is_that_of_all_steps(params, toy):
    """Its last value from the weights after each step, by the textbook's formula, statistics of batch norm included."""
    passed = []

    def spy(model):
        passed.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return 0.0

    train(params, toy, steps=12, checkpoints=12, validate=spy)
    expected = passed[0]
    for n, state in enumerate(passed[1:], start=1):
        decay = min(0.6, (1 + n) / (10 + n))
        expected = {name: decay * expected[name] + (1 - decay) * state[name] for name in expected}
    averaged = train(params, toy, steps=12, weight_averaging=0.6).model.state_dict()
    for name, tensor in averaged.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)


def test_the_average_is_what_is_validated_and_returned(params, toy):
    seen = []

    def validate(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return float(len(seen))

    trained = train(params, toy, steps=10, weight_averaging=0.9, checkpoints=2, validate=validate)
    assert all(torch.equal(tensor, seen[-1][name]) for name, tensor in trained.model.state_dict().items())
    assert same(trained.model, train(params, toy, steps=10, weight_averaging=0.9).model)
    assert not same(trained.model, train(params, toy, steps=10).model)


@pytest.mark.parametrize(("scores", "chosen"), [([3, 1, 2], 0), ([1, 3, 2], 1), ([1, 2, 3], 2), ([2, 2, 1], 1)])
def test_validation_picks_the_best_checkpoint_and_the_later_of_equal_ones(params, toy, scores, chosen):
    seen = []

    def validate(model):
        assert not model.training
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return float(scores[len(seen) - 1])

    trained = train(params, toy, steps=10, checkpoints=3, validate=validate)
    assert all(torch.equal(tensor, seen[chosen][name]) for name, tensor in trained.model.state_dict().items())
    assert {p["step"]: p["validation_score"] for p in trained.history if "validation_score" in p} == dict(
        zip([4, 7, 10], map(float, scores), strict=True)
    )
    last = train(params, toy, steps=10).model.state_dict()
    assert all(torch.equal(tensor, last[name]) for name, tensor in seen[-1].items())  # looking changes nothing


@pytest.mark.parametrize(("checkpoints", "given_validate"), [(1, True), (3, False)])
def test_with_nothing_to_choose_the_last_weights_are_returned(params, toy, checkpoints, given_validate):
    def refuse(_model):
        raise AssertionError

    validate = refuse if given_validate else None
    trained = train(params, toy, steps=5, checkpoints=checkpoints, validate=validate)
    assert same(trained.model, train(params, toy, steps=5).model)
    assert all(set(point) == {"step", "loss"} for point in trained.history)


@given(steps=st.integers(1, 60), checkpoints=st.integers(2, 80))
def test_checkpoints_are_evenly_spaced_and_the_last_is_at_the_end(steps, checkpoints):
    choice = Choice(nn.Linear(1, 1), lambda _model: 0.0, steps, checkpoints)
    for step in range(1, steps + 1):
        choice.look(step)
    looked = sorted(choice.scores)
    assert len(looked) == min(steps, checkpoints)
    assert looked[-1] == steps
    gaps = np.diff([0, *looked])
    assert gaps.max() - gaps.min() <= 1


def test_a_training_that_diverges_says_so(params, toy):
    """Decay beyond 1 / learning rate turns and grows the weights at every step."""
    with pytest.raises(UserError, match=r"diverged: .* of 80 on; lower train_downstream.classifier.learning_rate"):
        train(params, toy, steps=80, learning_rate=9.9, weight_decay=0.99)


@pytest.mark.parametrize("replicate", [0, 1])
def test_streams_differ(replicate):
    seeds = derive_seeds(3, replicate)
    other = derive_seeds(3, 1 - replicate)
    values = [seeds.initialisation, seeds.order, seeds.augmentation]
    assert len({*values, other.initialisation, other.order, other.augmentation}) == 6


@given(losses=st.lists(st.floats(0, 10, width=32), min_size=1, max_size=120))
def test_the_history_covers_every_step_once(losses):
    history = summarise(torch.tensor(losses), {})
    ends = [int(point["step"]) for point in history]
    assert ends[-1] == len(losses)
    assert len(history) <= HISTORY_POINTS
    lengths = np.diff([0, *ends])
    assert (lengths > 0).all()
    total = sum(point["loss"] * length for point, length in zip(history, lengths, strict=True))
    assert total == pytest.approx(sum(losses), rel=1e-4, abs=1e-4)


@pytest.fixture(scope="module")
def model():
    return build_classifier("cnn", 1, 8, 10, 16, seed=0).eval()


@pytest.fixture(scope="module")
def many():
    return torch.randint(0, 256, (90, 1, 8, 8), generator=seeded()).to(torch.uint8)


@pytest.mark.parametrize(("kind", "length"), [("cnn", 32 * 16), ("resnet18", 512)])
def test_features_are_what_the_last_layer_reads(many, kind, length):
    model = build_classifier(kind, 1, 8, 10, 16, seed=0)
    model.train()
    read = features(model, many[:5])
    assert read.shape == (5, length)
    assert read.dtype == torch.float32
    torch.testing.assert_close(model[-1](read).softmax(dim=1), predict(model, many[:5]))


def test_predictions_follow_their_images(model, many):
    shuffle = torch.randperm(len(many), generator=seeded(1))
    assert torch.equal(predict(model, many)[shuffle], predict(model, many[shuffle]))


def test_predictions_are_probabilities_of_the_evaluated_network(model, many):
    probabilities = predict(model, many)
    assert probabilities.dtype == torch.float32
    assert not probabilities.requires_grad
    with torch.no_grad():
        reference = model(many.float() / 127.5 - 1).softmax(dim=1)
    torch.testing.assert_close(probabilities, reference, rtol=1e-4, atol=1e-6)


def test_the_history_joins_scores_and_losses_of_the_same_step():
    history = summarise(torch.full((40,), 2.0), {3: 0.5, 40: 0.75})
    assert {"step": 3, "validation_score": 0.5} in history
    assert history[-1] == {"step": 40, "loss": 2.0, "validation_score": 0.75}
    assert [point["step"] for point in history] == sorted({point["step"] for point in history})


def test_no_images_no_predictions(model, many):
    assert predict(model, many[:0]).shape == (0, 10)


def test_predicting_leaves_the_network_as_it_was(many):
    model = build_classifier("cnn", 1, 8, 10, 8, seed=0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict(model, many)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
