"""A dead experiment is told from one that has learned, and what belongs on top is said there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stages.comparison.contrasts import Measured
from stages.comparison.params import EvaluateParams
from stages.comparison.scores import Predictions
from stages.comparison.soundness import dead, emptied_classes, swapped_classes, warnings

CLASSES = ["cat", "dog", "owl"]
WORDS = {"classic": "classic augmentation"}
SENSITIVITY = {"sensitivity_at_specificity": 0.9, "of": "dog"}
Ints = np.ndarray[Any, np.dtype[np.int64]]


@pytest.fixture(scope="module")
def measure_labels(make_params: Callable[..., EvaluateParams]) -> Callable[..., Measured]:
    """Of arms `classic` and `gan`, which both predict what `labels` (R, n) says."""

    def run(labels: Ints, truth: Ints, probabilities: Any = None, **changes: Any) -> Measured:
        sure = np.eye(3, dtype=np.float32)[labels] if probabilities is None else probabilities
        predictions = Predictions(
            {"classic": labels, "gan": labels}, tuple(range(len(labels))), truth, 3, {"classic": sure, "gan": sure}
        )
        return Measured(predictions, CLASSES, make_params(**changes))

    return run


def guesses(truth: Ints, chance: float, rng: np.random.Generator, replicates: int = 8) -> Ints:
    """Right with this chance, else any class."""
    right = rng.random((replicates, len(truth))) < chance
    return np.where(right, truth, rng.integers(3, size=right.shape))


@pytest.mark.parametrize("measure", ["accuracy", "balanced_accuracy", "macro_f1", "auroc", SENSITIVITY], ids=str)
def test_who_names_one_class_always_has_learned_nothing(measure: Any, measure_labels: Any) -> None:
    """Nor does it help that this class is the commonest, and that no replicate differs from another."""
    truth = np.repeat([0, 1, 2], [80, 10, 10])
    reason = dead(measure_labels(np.zeros((8, 100), dtype=np.int64), truth, measure=measure), "classic", WORDS)
    assert reason is not None
    assert reason.startswith(
        "Nothing can be concluded: classic augmentation, the reference, is not clearly better than"
    )
    for remedy in ("train_downstream.classifier.steps", "learning_rate", "prepare.labels_per_class"):
        assert remedy in reason


@pytest.mark.parametrize("measure", ["accuracy", "auroc", SENSITIVITY], ids=str)
def test_arms_that_guess_are_dead_and_those_that_learned_are_not(measure: Any, measure_labels: Any) -> None:
    rng = np.random.default_rng(0)
    truth, alive = rng.integers(3, size=150), {0.0: 0, 0.4: 0}
    for chance in alive:
        for _ in range(20):
            labels = guesses(truth, chance, rng)
            sure = (rng.uniform(0.4, 1, (*labels.shape, 1)) * np.eye(3)[labels]).astype(np.float32)
            measured = measure_labels(labels, truth, sure, measure=measure, bootstrap=100)
            alive[chance] += dead(measured, "classic", WORDS) is None
    assert alive[0.0] <= 2
    assert alive[0.4] == 20


def test_one_replicate_is_held_by_its_mean(measure_labels: Any) -> None:
    truth = np.repeat([0, 1, 2], 30)
    assert dead(measure_labels(truth[None], truth), "classic", WORDS) is None
    assert dead(measure_labels(np.zeros((1, 90), dtype=np.int64), truth), "classic", WORDS) is not None


def of_forest(accuracy: float, replicates: int = 8) -> dict[str, Any]:
    return {"random_forest": {"accuracy": np.full(replicates, accuracy)}}


@pytest.mark.parametrize(("lead", "warned"), [(0.3, True), (0.012, True), (0.009, False), (0.0, False), (-0.3, False)])
def test_a_network_clearly_below_scikit_learn_is_told_on_top(measure_labels: Any, lead: float, warned: bool) -> None:
    """Clearly: beyond the margin of a point. Here every replicate differs by the same."""
    truth = np.repeat([0, 1, 2], 30)
    labels = np.tile(np.where(np.arange(90) % 3 == 0, (truth + 1) % 3, truth), (8, 1))
    measured = measure_labels(labels, truth)
    said = warnings(measured, "classic", of_forest(2 / 3 + lead), None, 1)
    assert bool(said) == warned
    assert all("scikit-learn's random forest on the same images (66.7" in each for each in said)


def test_what_may_be_chance_between_replicates_warns_nobody(measure_labels: Any) -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 30)
    measured = measure_labels(guesses(truth, 0.5, rng), truth)
    noisy = {"random_forest": {"accuracy": measured.scores["classic"]["accuracy"] + rng.normal(0.02, 0.1, 8)}}
    assert warnings(measured, "classic", noisy, None, 1) == []
    assert warnings(measured, "classic", {}, None, 1) == []


def test_under_shift_it_is_said_what_settings_were_chosen_on(measure_labels: Any) -> None:
    truth = np.repeat([0, 1, 2], 30)
    measured = measure_labels(np.tile(truth, (8, 1)), truth)
    (same,) = warnings(measured, "classic", {}, [1.0] * 8, 1)
    assert same.startswith("All settings were chosen on images like the labelled ones, while the test set comes from")
    half = measure_labels(np.tile(np.where(np.arange(90) % 2, truth, 0), (8, 1)), truth)
    (worse,) = warnings(half, "classic", {}, [0.89, None, *[0.89] * 6], 1)
    assert "accuracy instead of 89.0" in worse


@pytest.mark.parametrize(("replicates", "contrasts", "few"), [(6, 1, False), (5, 1, True), (6, 2, True), (1, 1, True)])
def test_too_few_replicates_are_told(measure_labels: Any, replicates: int, contrasts: int, few: bool) -> None:
    truth = np.repeat([0, 1, 2], 30)
    said = warnings(measure_labels(np.tile(truth, (replicates, 1)), truth), "classic", {}, None, contrasts)
    assert bool(said) == few
    assert all("too few to show any difference: raise prepare.replicates to 10" in each for each in said)


def test_a_translation_that_swaps_classes_is_said_and_no_other() -> None:
    quality = [{"flipped": 1.0}, {"flipped": 0.0}, {"flipped": 1.0}]
    (said,) = swapped_classes({"translated": quality, "GAN": [{"recall": 0.5}] * 3, "refined": [{"flipped": 0.0}] * 3})
    assert said.startswith("In 2 of 3 replicates the translated images have other classes")


def test_classes_of_which_nothing_passed_are_named_as_far_as_a_sentence_holds() -> None:
    many = {f"c{number}": 1 for number in range(8)}
    said = emptied_classes({"GAN": {}, "Gaussian": {"cat": 2, "dog": 3}, "infilled": many})
    assert len(said) == 2
    assert said[0].startswith(
        "Nothing of 'cat' and 'dog' passed the filter in up to 3 replicates of the Gaussian images"
    )
    assert "'c4' and 3 more classes passed" in said[1]
