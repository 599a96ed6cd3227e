"""Each arm sees what it may see and nothing else; bad data gets clear words."""

import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from torch import Generator

from stages.downstream.arm_data import ArmData, SyntheticData
from stages.downstream.arms import Trial, _parts, advise, train_arm, try_settings
from stages.downstream.classical import predict_labels
from stages.downstream.classifiers import build_classifier
from stages.downstream.fitting import Bench, balanced_accuracy, fit_setting
from stages.downstream.params import ArmParams, LabelBudget
from stages.imaging.networks import predict
from stages.labelling import pool
from stages.plumbing.errors import UserError
from tests.downstream.toy import FIELDS, changed

LABELLED = {"train", "validation"}
# what each arm's classifier may depend on, beside the parameters
MAY_SEE = {
    "real": LABELLED,
    "classic": LABELLED,
    "pseudo_label": LABELLED | {"unlabelled"},
    "gan": LABELLED | {"synthetic"},
    "synthetic_only": {"synthetic"},
    "oversampled": LABELLED,
    "weighted": LABELLED,
    "mixup": LABELLED,
    "three_labels": {"train"},
    "five_labels": LABELLED,
    "duplicated": LABELLED,
    "real_again": LABELLED,
    "fixmatch": LABELLED | {"unlabelled"},
    "gan_balanced": LABELLED | {"synthetic"},
    "gan_filtered": LABELLED | {"synthetic"},
    "gan_soft": LABELLED | {"synthetic"},
    "shuffled_labels": {"synthetic"},
}
ARM_NAMES = sorted(MAY_SEE)


def nobody():
    raise AssertionError("nobody asks for the pool's labels")


def run(params, name, data, replicate=0, chosen=0, stop=None):
    """The final run of an arm."""
    if name == "gan_soft":
        soft = torch.nn.functional.one_hot(data.synthetic.labels, 3) * 0.9 + 0.1 / 3
        data = changed(data, synthetic=replace(data.synthetic, probabilities=soft))
    return train_arm(params.arms[name], data, params, replicate, nobody, chosen, stop)


def tried(params, name, data, replicate=0):
    """The settings of an arm as the choice sees them."""
    return try_settings(params.arms[name], data, params, replicate, nobody)


def bench(params, arm, data, guess_pool=nobody, final=True):
    return Bench(arm, data, params, 0, guess_pool, final)


def with_all_labels_in_train(data):
    """The data as they would be if the validation images were training images too."""
    joined = data.seen.with_all_labels()
    return changed(data, train_images=joined.images, train_labels=joined.labels)


@pytest.fixture
def short(params):
    """Two steps show what a classifier depends on as well as many do."""
    return params.model_copy(update={"classifier": params.classifier.model_copy(update={"steps": 2})})


@pytest.mark.parametrize("role", ["train", "validation", "unlabelled", "synthetic"])
@pytest.mark.parametrize("name", ARM_NAMES)
def test_an_arm_depends_on_the_images_it_may_see_and_on_no_others(short, make_data, name, role):
    data = make_data()
    if role == "synthetic":
        other = changed(data, synthetic=replace(data.synthetic, images=255 - data.synthetic.images))
    else:
        images = f"{role}_images"
        other = changed(data, **{images: 255 - getattr(data.seen, FIELDS.get(images, images))})
    before, after = run(short, name, data), run(short, name, other)
    same = np.array_equal(before.test_probabilities, after.test_probabilities)
    assert same == (role not in MAY_SEE[name])


@pytest.mark.parametrize("name", ["classic", "pseudo_label", "synthetic_only"])
def test_the_same_run_twice_gives_the_same_bytes(short, make_data, name):
    first, again = run(short, name, make_data()), run(short, name, make_data())
    assert first.test_probabilities.tobytes() == again.test_probabilities.tobytes()
    assert first.history == again.history
    assert all(torch.equal(tensor, again.state[key]) for key, tensor in first.state.items())


def test_replicates_differ(short, make_data):
    first, other = (run(short, "classic", make_data(), replicate).test_probabilities for replicate in (0, 1))
    assert not np.array_equal(first, other)


def test_predictions_follow_the_order_of_the_test_images(short, make_data):
    data = make_data()
    shuffle = torch.randperm(len(data.test_images), generator=Generator().manual_seed(0))
    straight = run(short, "classic", data).test_probabilities
    shuffled = run(short, "classic", replace(data, test_images=data.test_images[shuffle])).test_probabilities
    assert np.array_equal(straight[shuffle.numpy()], shuffled)


@pytest.mark.parametrize("name", [name for name in ARM_NAMES if name != "shuffled_labels"])
def test_every_arm_learns_the_toy_problem(params, make_data, toy, name):
    images, labels = toy(60, 99)
    result = run(params, name, make_data(test_images=images))
    assert (result.test_probabilities.argmax(axis=1) == labels.numpy()).mean() > 0.9
    np.testing.assert_allclose(result.test_probabilities.sum(axis=1), 1, rtol=1e-5)
    assert result.test_probabilities.dtype == np.float32


def test_the_state_is_the_classifier_that_predicted(short, make_data):
    data = make_data()
    result = run(short, "classic", data)
    model = build_classifier("cnn", 1, 8, data.seen.classes, short.classifier.width, seed=1)
    model.load_state_dict(result.state)
    assert np.array_equal(predict(model, data.test_images).numpy(), result.test_probabilities)
    assert all(tensor.is_contiguous() for tensor in result.state.values())


def test_wrong_labels_teach_what_is_wrong(params, make_data, toy):
    images, labels = toy(60, 99)
    result = run(params, "shuffled_labels", make_data(test_images=images))
    assert (result.test_probabilities.argmax(axis=1) == labels.numpy()).mean() < 0.4


@pytest.mark.parametrize("name", ["classic", "synthetic_only", "pseudo_label", "fixmatch"])
def test_what_the_network_is_shown_teaches_other_classifiers_too(params, make_data, toy, name):
    images, labels = toy(60, 99)
    shown = run(params, name, make_data()).shown
    assert len(shown.images) == params.scikit_learn.images
    predicted = predict_labels("logistic_regression", shown, images, seed=0)
    assert (predicted == labels.numpy()).mean() > 0.9


def test_the_images_of_each_source_are_counted(short, make_data):
    results = {name: run(short, name, make_data()) for name in ARM_NAMES}
    real = {name: result.images["real"] for name, result in results.items()}
    other = {"three_labels": 9, "five_labels": 15, "synthetic_only": 0, "shuffled_labels": 0}
    assert real == {name: other.get(name, 21) for name in ARM_NAMES}
    synthetic = {name: result.images["synthetic"] for name, result in results.items()}
    whole = dict.fromkeys(("gan", "gan_soft", "synthetic_only", "gan_balanced", "shuffled_labels"), 45)
    assert synthetic == {name: (whole | {"gan_filtered": 27}).get(name, 0) for name in ARM_NAMES}
    pseudo_labelled = {name: result.images["pseudo_labelled"] for name, result in results.items()}
    assert 0 < pseudo_labelled.pop("pseudo_label") <= 30
    assert set(pseudo_labelled.values()) == {0}


def test_other_seeds_change_the_classifier_and_nothing_else(short, make_data):
    classic, again = run(short, "classic", make_data()), run(short, "real_again", make_data())
    assert not np.array_equal(classic.test_probabilities, again.test_probabilities)
    shifted = short.model_copy(update={"seed": short.seed + 1})
    assert np.array_equal(run(shifted, "classic", make_data()).test_probabilities, again.test_probabilities)


def test_every_arm_takes_the_same_steps(short, make_data):
    assert {run(short, name, make_data()).steps for name in ARM_NAMES} == {2}


def test_the_teacher_is_the_classic_arm(short, make_data):
    data = make_data()
    guess = advise(bench(short, short.arms["pseudo_label"], data)).pool(short.arms["pseudo_label"].settings[0])
    classic = run(short, "classic", replace(data, test_images=data.seen.unlabelled))
    assert np.array_equal(guess.labels.numpy(), classic.test_probabilities.argmax(axis=1))
    assert np.array_equal(guess.confidence.numpy(), classic.test_probabilities.max(axis=1))


def test_synthetic_images_are_judged_by_the_classic_arm(short, make_data):
    data = make_data()
    confidence = advise(bench(short, short.arms["gan_filtered"], data)).own_confidence()
    classic = run(short, "classic", replace(data, test_images=data.synthetic.images))
    own = classic.test_probabilities[np.arange(45), data.synthetic.labels.numpy()]
    assert np.array_equal(confidence.numpy(), own)


def ensemble_arm(short, labels):
    setting = short.arms["pseudo_label"].settings[0].model_copy(update={"teacher": "ensemble"})
    return short.arms["pseudo_label"].model_copy(update={"labels": labels, "settings": [setting]})


def guesses_of(labels):
    return pool.PoolLabels(labels, torch.linspace(0, 1, len(labels)), "all", 0.0, 1.0)


@pytest.mark.parametrize("final", [False, True])
def test_the_ensembles_guess_is_the_one_that_generators_learn_from(short, make_data, final):
    """And of the two, the one that learned from the labels of the run at hand."""
    choosing, chosen = guesses_of(torch.arange(60) % 3), guesses_of(torch.arange(60) % 2)

    def guess_pool():
        return pool.Guesses(choosing, chosen)

    arm = ensemble_arm(short, "all")
    guess = advise(bench(short, arm, make_data(), guess_pool, final)).pool(arm.settings[0])
    wanted = chosen if final else choosing
    assert torch.equal(guess.labels, wanted.labels)
    assert torch.equal(guess.confidence, wanted.trust)


@pytest.mark.parametrize("per_class", [3, 5])
def test_the_ensemble_of_a_budget_sees_no_other_label(short, make_data, monkeypatch, per_class):
    seen, budget = [], LabelBudget(per_class=per_class)

    def teach(data, _seed):
        seen.append(data)
        guessed = guesses_of(torch.zeros(60, dtype=torch.int64))
        return pool.Guesses(guessed, guessed)

    monkeypatch.setattr(pool, "teach", teach)
    arm = ensemble_arm(short, budget)
    advise(bench(short, arm, make_data())).pool(arm.settings[0])
    assert len(seen[0].images) == len(seen[0].labels) == 3 * per_class
    assert len(seen[0].validation_images) == len(seen[0].validation_labels) == 0


# the choice, and what is carried over from it


@pytest.mark.parametrize("name", ["classic", "gan", "gan_filtered", "pseudo_label", "fixmatch", "weighted"])
def test_the_final_run_is_a_plain_training_on_all_labels(short, make_data, name):
    """As a setting is tried where all these images are of `train`: the two differ in labels alone."""
    data = make_data()
    joined = with_all_labels_in_train(data)
    setting, advice = short.arms[name].settings[0], bench(short, short.arms[name], joined, final=False)
    parts = _parts(setting, advice, advise(advice))
    plain = predict(fit_setting(setting, parts, advice).model, data.test_images)
    assert np.array_equal(run(short, name, data).test_probabilities, plain.numpy())


@pytest.mark.parametrize("name", ["classic", "gan_filtered", "pseudo_label", "fixmatch"])
def test_the_choice_trains_on_no_validation_image(params, make_data, monkeypatch, name):
    """Other validation images change what a setting scores, and nothing of the classifier that is scored."""
    data, classifiers = make_data(), []
    score = Bench.validate

    def spy(self, model):
        classifiers.append([tensor.clone() for tensor in model.state_dict().values()])
        return score(self, model)

    monkeypatch.setattr(Bench, "validate", spy)
    wrong = changed(data, validation_labels=(data.seen.validation_labels + 1) % 3)
    other = changed(wrong, validation_images=255 - data.seen.validation_images)
    trials = [tried(params, name, each) for each in (data, wrong, other)]
    assert len(classifiers) == 3
    for each in classifiers[1:]:
        assert all(torch.equal(first, tensor) for first, tensor in zip(classifiers[0], each, strict=True))
    assert trials[0] != trials[1]
    finals = [run(params, name, each).test_probabilities for each in (data, wrong)]
    assert not np.array_equal(*finals)


def test_each_setting_is_scored_on_validation(params, make_data):
    settings = [{"synthetic_share": 0.5}, {"synthetic_share": 0.5, "shuffled_labels": True, "loss_weight": 1.0}]
    arm = ArmParams.model_validate(params.arms["synthetic_only"].model_dump() | {"real": True, "settings": settings})
    good, bad = try_settings(arm, make_data(), params, 0, nobody)
    assert good.validation_score > 0.9 > bad.validation_score
    assert (good.step, bad.step) == (30, 30)


@pytest.mark.parametrize("name", ["classic", "fixmatch"])
def test_the_final_run_ends_at_the_step_that_the_choice_kept(params, make_data, monkeypatch, name):
    """It is then what the whole training was after so many steps."""
    params = params.model_copy(update={"classifier": params.classifier.model_copy(update={"checkpoints": 3})})
    scores = iter([0.1, 0.9, 0.5, 0.9])
    monkeypatch.setattr(Bench, "validate", lambda _self, _model: next(scores))
    (trial,) = tried(params, name, make_data())
    assert trial == Trial(0.9, 20)

    passed = []
    monkeypatch.setattr(Bench, "validate", lambda _self, model: passed.append(predict(model, test)) or 0.0)
    data = make_data()
    test = data.test_images
    try_settings(params.arms[name], with_all_labels_in_train(data), params, 0, nobody)
    final = run(params, name, data, stop=20)
    assert np.array_equal(final.test_probabilities, passed[1].numpy())
    assert final.history[-1]["step"] == 20
    assert len(passed) == 4, "the final run looks at nothing"


def test_the_chosen_setting_is_the_one_that_is_trained(short, make_data):
    settings = [{"synthetic_share": share} for share in (0.25, 0.5)]
    changes = {"settings": settings}
    arm = ArmParams.model_validate(short.arms["gan"].model_dump() | changes)
    both = short.model_copy(update={"arms": short.arms | {"both": arm}})
    second = run(both, "both", make_data(), chosen=1)
    assert np.array_equal(second.test_probabilities, run(short, "gan", make_data()).test_probabilities)


def test_no_test_labels_are_known_here():
    assert [field.name for field in fields(ArmData) if field.name.startswith("test")] == ["test_images"]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50))
def test_balanced_accuracy_is_sklearns(pairs):
    labels, guesses = torch.tensor(pairs).T
    probabilities = torch.nn.functional.one_hot(guesses, 5).float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns of classes that were only predicted
        expected = balanced_accuracy_score(labels.numpy(), guesses.numpy())
    assert balanced_accuracy(probabilities, labels) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["gan", "gan_balanced", "synthetic_only"])
def test_an_arm_goes_on_where_nothing_of_a_class_passed_the_filter(short, make_data, name):
    data = make_data()
    of_first = data.synthetic.labels == 0
    kept = SyntheticData(data.synthetic.images[of_first], data.synthetic.labels[of_first])
    result = run(short, name, replace(data, synthetic=kept))
    shown = set(result.shown.labels.tolist())
    assert shown == ({0} if name == "synthetic_only" else {0, 1, 2}), "the others are learned from real images"
    assert np.isfinite(result.test_probabilities).all()


UNFIT = [
    ("no synthetic set", "gan", {"synthetic": None}, "kept none"),
    ("all dropped", "synthetic_only", {"synthetic": slice(0)}, "kept none"),
    ("a class without labels", "classic", {"train": slice(None, None, 3)}, "train: no image of class 1, 2"),
    ("no labels", "classic", {"train": slice(0)}, "train: there are no images"),
    ("no validation", "classic", {"validation": slice(0)}, "validation: there are no images"),
    ("too large a budget", "five_labels", {"validation": slice(0, 2)}, "per_class: 5 is more than the 4 labelled"),
    ("no pool", "pseudo_label", {"unlabelled_images": torch.empty(0, 1, 8, 8, dtype=torch.uint8)}, "pool is empty"),
    ("labels missing", "classic", {"train_labels": torch.zeros(5, dtype=torch.int64)}, "12 images but 5 labels"),
    (
        "unlabelled image",
        "classic",
        {"train_labels": torch.arange(12) % 4 - 1},
        "range from -1 to 2, allowed are 0 to 2",
    ),
    ("class unknown", "classic", {"train_labels": torch.arange(12) % 4}, "range from 0 to 3, allowed are 0 to 2"),
]


@pytest.mark.parametrize(("name", "changes", "words"), [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT])
def test_unfit_data_gets_clear_words(short, make_data, name, changes, words):
    data = make_data()
    for key, change in changes.items():
        if isinstance(change, slice) and key == "synthetic":
            kept = SyntheticData(data.synthetic.images[change], data.synthetic.labels[change])
            data = replace(data, synthetic=kept)
        elif isinstance(change, slice):
            names = [f"{key}_{kind}" for kind in ("images", "labels")]
            data = changed(data, **{name: getattr(data.seen, FIELDS.get(name, name))[change] for name in names})
        else:
            data = changed(data, **{key: change})
    with pytest.raises(UserError, match=words):
        run(short, name, data)


def test_an_arm_without_synthetic_images_runs_where_there_are_none(short, make_data):
    run(short, "classic", make_data(synthetic=None))
