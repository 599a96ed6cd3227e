"""FixMatch computes what the paper says, on the images that each part may see; it learns from the pool and repeats."""

import pytest
import torch
from torch import Generator
from torch.nn import functional

from stages.downstream.augment import build_policy
from stages.downstream.classifiers import build_classifier
from stages.downstream.fixmatch import pseudo_label, train_fixmatch
from stages.downstream.training import derive_seeds
from stages.imaging.networks import predict
from stages.plumbing.errors import UserError
from tests.downstream.toy import CLASSES, examples

LABELLED, UNLABELLED = 4, 12


def still(images, _generator):
    return images


def cycled(count, steps, width):
    """Indices (steps, width) that visit a set of `count` in turn."""
    return (torch.arange(steps * width) % count).view(steps, width)


def train(params, toy, *, steps=6, threshold=0.4, policies=(still, still), seed=0, labels=6, weight=1, **more):
    """Trains on so many labelled images, all of that weight; `policies` are the weak and the strong one."""
    images, classes = toy(labels, 0)
    pool, _ = toy(60, 1)
    return train_fixmatch(
        examples(images, classes, torch.full((labels,), float(weight))),
        cycled(labels, steps, LABELLED),
        pool,
        cycled(60, steps, UNLABELLED),
        policies[0],
        *policies,
        more.pop("settings", params.classifier),
        threshold,
        derive_seeds(seed, 0),
        **more,
    )


@pytest.fixture
def augmented(params):
    """The weak and the strong policy."""
    return [build_policy(name, params, flip_ok=False) for name in ("classic", "randaugment")]


def accuracy(trained, toy):
    images, labels = toy(90, 2)
    return float((predict(trained.model, images).argmax(dim=1) == labels).float().mean())


def test_pseudo_labels_are_the_likeliest_classes_of_which_the_teacher_is_sure():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75], [0.4, 0.3, 0.3]], requires_grad=True)
    targets = pseudo_label(torch.log, probabilities, 0.5)
    assert torch.equal(targets, torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 0]]))
    assert not targets.requires_grad


def reference(params, toy, steps, threshold):
    """FixMatch in plain words, without augmentation: the teacher's tensors and the mean of each step's loss."""
    settings, (images, labels), (pool, _) = params.classifier, toy(6, 0), toy(60, 1)
    student = build_classifier("cnn", 1, 8, CLASSES, settings.width, derive_seeds(0, 0).initialisation)
    teacher = build_classifier("cnn", 1, 8, CLASSES, settings.width, derive_seeds(0, 0).initialisation).eval()
    optimizer = torch.optim.AdamW(student.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, steps + 1, pct_start=0.2)
    losses = []
    for step in range(steps):
        rows, others = cycled(6, steps, LABELLED)[step], cycled(60, steps, UNLABELLED)[step]
        unknown = pool[others] / 127.5 - 1
        confidence, guess = teacher(unknown).detach().softmax(dim=1).max(dim=1)
        logits = student(torch.cat([images[rows] / 127.5 - 1, unknown]))
        supervised = functional.cross_entropy(logits[:LABELLED], labels[rows], label_smoothing=settings.label_smoothing)
        each = functional.cross_entropy(logits[LABELLED:], guess, reduction="none")
        loss = supervised + each[confidence >= threshold].sum() / UNLABELLED
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        decay = (1 + step) / (10 + step) if step else 0  # the first average is the student itself
        for name, tensor in teacher.state_dict().items():
            if tensor.is_floating_point():
                tensor.mul_(decay).add_(student.state_dict()[name], alpha=1 - decay)
    return teacher.state_dict(), losses


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.99])
def test_it_is_the_paper_s_algorithm_with_an_averaged_teacher(params, toy, threshold):
    trained = train(params, toy, threshold=threshold)
    teacher, losses = reference(params, toy, 6, threshold)
    assert [point["loss"] for point in trained.history] == pytest.approx(losses, rel=1e-4)
    for name, tensor in trained.model.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, teacher[name], rtol=1e-3, atol=1e-4)


def test_weights_scale_the_labelled_loss_alone(params, toy):
    once, twice, none = (train(params, toy, steps=1, weight=weight).history[0]["loss"] for weight in (1, 2, 0))
    assert once - none > 0.1
    assert twice - once == pytest.approx(once - none, rel=1e-4)


def test_each_policy_sees_what_is_meant_for_it(params, toy):
    seen = []

    def spy(name):
        def policy(images, _generator):
            seen.append((name, images))
            return images

        return policy

    train(params, toy, steps=1, policies=(spy("weak"), spy("strong")))
    (images, _), (pool, _) = toy(6, 0), toy(60, 1)
    labelled, unlabelled = images[:LABELLED] / 127.5 - 1, pool[:UNLABELLED] / 127.5 - 1
    for (name, got), (wanted_name, wanted) in zip(
        seen, [("weak", unlabelled), ("weak", labelled), ("strong", unlabelled)], strict=True
    ):
        assert name == wanted_name
        torch.testing.assert_close(got, wanted)


def test_the_pool_teaches_what_one_label_of_each_class_does_not(params, toy, augmented):
    def faint(count, seed):
        images, labels = toy(count, seed)
        noise = torch.randint(0, 160, images.shape, generator=Generator().manual_seed(seed))
        return (images.int() + noise).clamp(max=255).to(torch.uint8), labels

    with_pool, without = (
        train(params, faint, steps=100, threshold=threshold, policies=augmented, labels=CLASSES)
        for threshold in (0.5, 1.1)
    )
    assert accuracy(with_pool, faint) > accuracy(without, faint) + 0.05


def test_the_history_tells_the_share_above_the_threshold(params, toy):
    shares = {}
    for threshold in (0.0, 0.6, 0.8, 1.1):
        history = train(params, toy, steps=50, threshold=threshold).history
        shares[threshold] = [point["pseudo_labelled_share"] for point in history]
    assert set(shares[0.0]) == {1.0}
    assert set(shares[1.1]) == {0.0}
    assert shares[0.6][-1] > shares[0.6][0]
    assert 0 < sum(shares[0.8]) < sum(shares[0.6]) < sum(shares[0.0])


def test_the_same_seeds_give_the_same_bytes(params, toy, augmented):
    first, again, other = (train(params, toy, policies=augmented, seed=seed) for seed in (0, 0, 1))
    assert first.history == again.history != other.history
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_the_teacher_of_the_best_checkpoint_is_returned(params, toy):
    images, _ = toy(30, 3)
    seen = []

    def falling(model):
        assert not model.training
        seen.append(predict(model, images))
        return -len(seen)

    settings = params.classifier.model_copy(update={"checkpoints": 3})
    trained = train(params, toy, settings=settings, validate=falling)
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[2])
    assert torch.equal(predict(trained.model, images), seen[0])
    scores = {point["step"]: point["validation_score"] for point in trained.history if "validation_score" in point}
    assert scores == {2: -1, 4: -2, 6: -3}


def test_a_training_that_diverges_is_no_result(params, toy):
    with pytest.raises(UserError, match="diverged"):
        train(params, toy, weight=float("inf"))
