"""Arms under domain shift: what each learns from, how domains meet in a batch, and rounds of guesses."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.downstream.arm_data import ArmData, Labelled
from stages.downstream.arms import ArmResult, advise, train_arm, try_settings
from stages.downstream.augment import build_policy, on_first
from stages.downstream.batches import TARGET_SHARE, batch_parts, real_parts
from stages.downstream.fitting import Bench, fit, policy_of
from stages.downstream.fixmatch import Alignment
from stages.downstream.params import ArmParams, TrainDownstreamParams
from stages.imaging.networks import predict
from stages.plumbing.errors import UserError

POOL = [{"pool_share": 0.8, "teacher": "classifier"}]
ADAPTED: dict[str, dict[str, Any]] = {
    "classic": {},
    "tone_curves": {"augment": "tone_curves"},
    "histogram": {"settings": [{"style": "histogram"}]},
    "fourier": {"settings": [{"style": "fourier"}]},
    "tone_curve": {"settings": [{"style": "tone_curve"}]},
    "coral": {"settings": [{"coral_weight": 0.1}]},
    "dann": {"settings": [{"dann_weight": 0.1}]},
    "self_training": {"settings": [POOL[0] | {"rounds": 2}]},
    "fixmatch": {"augment": "tone_curves", "settings": [{"fixmatch_threshold": 0.6, "unlabelled_share": 0.5}]},
    "gan": {"images": "data/filter_memorized/gan", "settings": [{"synthetic_share": 0.5}]},
}


def nobody() -> Any:
    raise AssertionError("nobody asks for the pool's labels")


@pytest.fixture
def make_arm(arm: Callable[..., dict[str, Any]]) -> Callable[..., ArmParams]:
    return lambda **changes: ArmParams.model_validate(arm(batch_norm="target") | changes)


@pytest.fixture
def data(make_data: Callable[..., ArmData]) -> ArmData:
    """The target is fainter and inverted."""
    usual = make_data()
    seen = usual.seen
    fainter = {name: 200 - getattr(seen, name) // 2 for name in ("unlabelled", "validation_images")}
    return replace(usual, seen=replace(seen, from_source=12, **fainter), test_images=200 - usual.test_images // 2)


@pytest.fixture
def short(params: TrainDownstreamParams) -> TrainDownstreamParams:
    return params.model_copy(update={"classifier": params.classifier.model_copy(update={"steps": 2})})


def run(arm: ArmParams, data: ArmData, params: TrainDownstreamParams) -> ArmResult:
    return train_arm(arm, data, params, 0, nobody, 0, None)


@pytest.mark.parametrize("name", sorted(ADAPTED))
def test_an_adapted_arm_sees_the_pool_repeats_and_counts_its_labels(
    make_arm: Callable[..., ArmParams], data: ArmData, short: TrainDownstreamParams, name: str
) -> None:
    arm = make_arm(**ADAPTED[name])
    first, again = run(arm, data, short), run(arm, data, short)
    assert np.array_equal(first.test_probabilities, again.test_probabilities)
    assert (first.images["real"], first.steps) == (21, 2)
    other = replace(data, seen=replace(data.seen, unlabelled=data.seen.unlabelled // 2))
    assert not np.array_equal(first.test_probabilities, run(arm, other, short).test_probabilities)


@pytest.mark.parametrize("name", sorted({"coral", "dann", "histogram", "fixmatch"}))
def test_rivals_go_with_one_pass_for_both_domains_too(
    make_arm: Callable[..., ArmParams], data: ArmData, short: TrainDownstreamParams, name: str
) -> None:
    joint, adapted = (run(make_arm(**ADAPTED[name], batch_norm=each), data, short) for each in ("joint", "target"))
    assert not np.array_equal(joint.test_probabilities, adapted.test_probabilities)


def test_a_classifier_adapted_to_the_target_ignores_its_brightness(
    make_arm: Callable[..., ArmParams], data: ArmData, params: TrainDownstreamParams
) -> None:
    """Half as much contrast all over the target changes hardly a prediction of the adapted one."""

    def halved(images: Tensor) -> Tensor:
        return 64 + images // 2  # about the middle, which is what lies around an image for a convolution

    arms = [make_arm(batch_norm=batch_norm, augment="none") for batch_norm in ("joint", "target")]
    # the classifiers of the choice, which learn from no label of the target
    benches = [Bench(arm, data, params, 0, nobody, final=False) for arm in arms]
    fainter = replace(data, seen=replace(data.seen, unlabelled=halved(data.seen.unlabelled)))
    changes = []
    for bench in benches:
        usual, other = (
            fit(real_parts(each.labelled, 16), each, each.seeds).model for each in (bench, replace(bench, data=fainter))
        )
        before, after = predict(usual, data.test_images), predict(other, halved(data.test_images))
        changes.append(float((before - after).abs().mean()))
    assert changes[1] < 0.02 < 5 * changes[1] < changes[0]


def test_target_labels_have_a_share_of_their_own_and_follow_the_source() -> None:
    of_target = torch.tensor([False] * 30 + [True] * 3)
    images, labels = torch.arange(33).to(torch.uint8).view(33, 1, 1, 1), torch.zeros(33, dtype=torch.int64)
    labelled = Labelled(images, labels, of_target)
    source, target = real_parts(labelled, 64)
    assert (source.of_target, target.of_target) == (False, True)
    assert (source.places, target.places) == (48, 64 * TARGET_SHARE)
    assert (len(source.labels), target.images.flatten().tolist()) == (30, [30, 31, 32])
    (whole,) = real_parts(replace(labelled, of_target=torch.ones(33, dtype=torch.bool)), 64)
    assert (whole.places, len(whole.labels), whole.of_target) == (64, 33, True)


@pytest.mark.parametrize(
    ("setting", "earlier"),
    [
        (POOL[0] | {"rounds": 3}, POOL[0] | {"rounds": 2}),
        (POOL[0] | {"rounds": 2}, POOL[0]),
        (
            {"fixmatch_threshold": 0.5, "unlabelled_share": 0.5, "more_rounds": 1},
            {"fixmatch_threshold": 0.5, "unlabelled_share": 0.5},
        ),
        ({"synthetic_share": 0.5, "more_rounds": 1}, {"synthetic_share": 0.5}),
    ],
    ids=["third", "second", "after FixMatch", "after generated images"],
)
def test_the_teacher_of_a_round_is_the_classifier_of_the_one_before(
    make_arm: Callable[..., ArmParams],
    data: ArmData,
    short: TrainDownstreamParams,
    setting: dict[str, Any],
    earlier: dict[str, Any],
) -> None:
    folder = "data/filter_memorized/gan" if "synthetic_share" in setting else "data/prepare"
    later, before = (make_arm(images=folder, augment="tone_curves", settings=[each]) for each in (setting, earlier))
    guess = advise(Bench(later, data, short, 0, nobody, final=True)).pool(later.settings[0])  # type: ignore[arg-type]
    last = run(before, replace(data, test_images=data.seen.unlabelled), short).test_probabilities
    assert np.array_equal(guess.labels.numpy(), last.argmax(axis=1))
    assert np.array_equal(guess.confidence.numpy(), last.max(axis=1))


def test_in_a_further_round_the_pool_takes_half_of_the_generated_images_places(
    make_arm: Callable[..., ArmParams], data: ArmData, short: TrainDownstreamParams
) -> None:
    settings = [{"synthetic_share": 0.5, "more_rounds": rounds} for rounds in (0, 1)]
    arm = make_arm(images="data/filter_memorized/gan", settings=settings)
    bench = Bench(arm, data, short, 0, nobody, final=False)
    once, again = (batch_parts(each, data, bench.real, 64, advise(bench), 0) for each in arm.settings)
    assert [(part.source, part.places) for part in once] == [("real", 32), ("synthetic", 32)]
    places = [(part.source, part.places, part.of_target) for part in again]
    assert places == [("real", 32, False), ("synthetic", 16, True), ("pseudo_labelled", 16, True)]


def test_rounds_that_settings_share_are_trained_once(
    make_arm: Callable[..., ArmParams], data: ArmData, short: TrainDownstreamParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.downstream import fitting

    trainings, train = [], fitting.train_classifier

    def counted(*args: Any) -> Any:
        trainings.append(1)
        return train(*args)

    monkeypatch.setattr(fitting, "train_classifier", counted)
    try_settings(make_arm(settings=[POOL[0], POOL[0] | {"rounds": 3}]), data, short, 0, nobody)
    assert len(trainings) == 1 + 1 + 3  # the first teacher, one round, and three of which the first two teach


def test_aligned_guesses_are_of_each_class_as_often_as_labels() -> None:
    wanted = torch.tensor([0.5, 0.3, 0.2])
    align, generator = Alignment(wanted), torch.Generator().manual_seed(0)
    for _ in range(60):
        skewed = (torch.rand(64, 3, generator=generator) * torch.tensor([0.2, 0.3, 2.0])).softmax(dim=1)
        aligned = align(skewed)
    torch.testing.assert_close(aligned.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(aligned.mean(dim=0), wanted, rtol=0, atol=0.03)


def test_tone_curves_fall_upon_the_source_alone(params: TrainDownstreamParams) -> None:
    curves, images = build_policy("tone_curves", params, flip_ok=False), torch.zeros(40, 1, 8, 8)
    changed = on_first(6, 20, curves, lambda each, _: each)(images, torch.Generator().manual_seed(0))
    of_source = torch.arange(40) % 20 < 6
    assert (changed[~of_source] == 0).all()
    assert (changed[of_source].flatten(1).abs().sum(dim=1) > 0).any()


def test_an_arms_target_images_meet_no_curve(
    make_arm: Callable[..., ArmParams], data: ArmData, params: TrainDownstreamParams
) -> None:
    """Flat images stay flat, and keep their level unless a curve falls upon them."""
    still = params.classic.model_copy(update={"brightness": 0})
    bench = Bench(make_arm(augment="tone_curves"), data, params.model_copy(update={"classic": still}), 0, nobody, True)
    source, target = real_parts(bench.labelled, 16)
    changed = policy_of([source, target], bench, 16)(torch.zeros(16, 1, 8, 8), torch.Generator().manual_seed(0))
    moved = changed.flatten(1).abs().amax(dim=1) > 0.01
    assert moved[: source.places].any()
    assert not moved[source.places :].any()


@pytest.mark.parametrize("name", sorted({"classic", "histogram", "coral", "dann"}))
@pytest.mark.parametrize(
    ("missing", "words"),
    [("shift", "needs a source and a target domain, but there is one alone"), ("pool", "but the pool is empty")],
)
def test_what_a_rival_lacks_is_said(
    make_arm: Callable[..., ArmParams],
    data: ArmData,
    short: TrainDownstreamParams,
    name: str,
    missing: str,
    words: str,
) -> None:
    seen = data.seen
    lacking = replace(seen, from_source=None) if missing == "shift" else replace(seen, unlabelled=seen.unlabelled[:0])
    with pytest.raises(UserError, match=words):
        run(make_arm(**ADAPTED[name]), replace(data, seen=lacking), short)


@pytest.mark.parametrize("changes", [{"batch_norm": "target"}, {"settings": [{"coral_weight": 1}]}], ids=str)
def test_domains_are_not_mixed(arm: Callable[..., dict[str, Any]], changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"tells the domains apart, which augment: mixup mixes"):
        ArmParams.model_validate(arm(augment="mixup") | changes)
