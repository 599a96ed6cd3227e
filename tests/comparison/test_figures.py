import io
from functools import partial

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from stages.comparison.figures import (
    arms_figure,
    comparison_figure,
    confusion_figure,
    finding_pairs,
    learning_curve_figure,
    model_arms,
    models_figure,
    nearest_pairs,
    sample_grid,
    settings_figure,
)
from stages.comparison.numbers import all_numbers


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _images(n: int, side: int = 8, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(n, channels, side, side), dtype=np.uint8)


WORDS = {arm: f"{arm} images, $_^" for arm in ("classic", "gan", "real", "mixup", "pseudo_label")}


@pytest.fixture
def draw_panels(make_evidence):
    def draw(replicates, **changes):
        evidence = make_evidence(replicates=replicates)
        params, words = evidence.params, evidence.outcomes.words | changes
        numbers, scores = all_numbers(evidence)
        return [
            partial(arms_figure, scores, params, words),
            partial(comparison_figure, scores, numbers["answers"], params, words),
        ]

    return draw


def _same_bytes_and_settings(draw):
    before = dict(mpl.rcParams)
    first = draw()
    assert first == draw()
    assert dict(mpl.rcParams) == before
    return first


@pytest.mark.parametrize("replicates", [1, 5])
def test_both_panels_are_deterministic_and_leave_matplotlib_alone(draw_panels, replicates):
    for draw in draw_panels(replicates):
        png = _same_bytes_and_settings(draw)
        with mpl.rc_context({"axes.facecolor": "black", "font.size": 20}):
            assert draw() == png, "the user's own settings must not show"


def test_panels_stand_side_by_side_and_name_arms_in_words(draw_panels):
    panels = [draw() for draw in draw_panels(5)]
    shapes = {_pixels(png).shape for png in panels}
    assert len(shapes) == 1, "of one size"
    assert not set(panels) & {draw() for draw in draw_panels(5, gan="GAN images alone")}


def test_many_rivals_with_long_words_get_room_and_words_beyond_two_lines_take_none(make_evidence):
    evidence = make_evidence(replicates=5)
    (numbers, scores), long = all_numbers(evidence), "random tone curves, adapted to the target"
    many = evidence.params.augment.model_copy(update={"rivals": ("classic",) * 9})
    params = evidence.params.model_copy(update={"augment": many})
    answers, words = numbers["answers"], evidence.outcomes.words
    said = [comparison_figure(scores, answers, params, words | {"classic": each}) for each in ("a", long, long * 3)]
    short, two_lines, more = (_pixels(png).shape[0] for png in said)
    assert short < two_lines == more


def _score(mean, std=0.01):
    return {"mean": mean} | ({} if std is None else {"std": std})


def _curve(std=0.01):
    return {
        "arms": {"gan": {"accuracy": _score(0.9, std)}},
        "learning_curve": {"20": _score(0.95, std), "5": _score(0.6, std), "10": _score(0.8, std)},
        "worth": {"gan": {"labels_per_class": 5}},
    }


@pytest.mark.parametrize("std", [0.01, None])
def test_the_learning_curve_shows_budgets_and_arms(make_params, std):
    numbers, params = _curve(std), make_params()
    png = _same_bytes_and_settings(lambda: learning_curve_figure(numbers, params, WORDS))
    better = numbers | {"arms": {"gan": {"accuracy": _score(0.94, std)}}}
    steeper = numbers | {"learning_curve": numbers["learning_curve"] | {"20": _score(0.99, std)}}
    assert (
        len({png, *(learning_curve_figure(each, params, WORDS) for each in (better, steeper, numbers | {"worth": {}}))})
        == 4
    )
    order = numbers | {"learning_curve": dict(reversed(numbers["learning_curve"].items()))}
    assert learning_curve_figure(order, params, WORDS) == png, "budgets are numbers, in whatever order they come"


@pytest.mark.parametrize("curve", [{}, {"5": _score(0.6)}])
def test_less_than_two_budgets_are_no_curve(make_params, curve):
    assert learning_curve_figure(_curve() | {"learning_curve": curve}, make_params(), WORDS) is None
    assert learning_curve_figure({}, make_params(), WORDS) is None


def _models(classifiers, arms, std=0.01):
    return {
        "models": {
            name: {arm: _score(0.5 + 0.1 * place, std) for place, arm in enumerate(arms)} for name in classifiers
        }
    }


@pytest.mark.parametrize("std", [0.01, None])
def test_models_compare_what_matters_and_may_lack_arms(make_params, std):
    numbers, params = _models(["network", "linear_svm"], ["gan", "classic", "mixup", "real"], std), make_params()
    assert model_arms(numbers["models"], params) == ["real", "classic", "gan"]
    png = _same_bytes_and_settings(lambda: models_figure(numbers, params, WORDS))
    without_mixup = _models(["network", "linear_svm"], ["gan", "classic", "mixup", "real"], std)
    del without_mixup["models"]["network"]["mixup"]
    assert models_figure(without_mixup, params, WORDS) == png
    del without_mixup["models"]["network"]["gan"]
    assert models_figure(without_mixup, params, WORDS) not in (png, None)


def test_one_classifier_or_no_arm_is_no_comparison_of_models(make_params):
    assert models_figure({}, make_params(), WORDS) is None
    assert models_figure(_models(["network"], ["gan"]), make_params(), WORDS) is None
    assert models_figure(_models(["network", "linear_svm"], ["mixup"]), make_params(), WORDS) is None


def _facts(settings, validation, chosen=0):
    return {"settings": settings, "validation": validation, "chosen": chosen}


SHARES = [{"synthetic_share": 0.5}, {"synthetic_share": 0.75}, {"synthetic_share": 0.5, "loss_weight": 0.3}]


def test_settings_show_the_scores_of_shares_and_the_choice(make_params):
    def draw(chosen=0, best=0.9):
        plain = _facts([{}], [])
        pool = _facts([{"pool_share": 0.5}, {"pool_share": 1.0}], [0.4, 0.5])
        facts = {"real": plain, "pseudo_label": pool, "gan": _facts(SHARES, [0.7, best, 0.8], chosen)}
        return settings_figure(facts, make_params(), WORDS)

    png = _same_bytes_and_settings(draw)
    assert len({png, draw(chosen=1), draw(best=0.6)}) == 3
    assert settings_figure({"gan": _facts(SHARES, [0.7, 0.9, 0.8])}, make_params(), WORDS) == png, (
        "others chose no share"
    )


def test_without_shares_to_choose_from_there_is_no_figure_of_settings(make_params):
    one_share = [{"synthetic_share": 0.5}, {"synthetic_share": 0.5, "loss_weight": 0.3}]
    facts = {"real": _facts([{}], []), "gan": _facts(one_share, [0.8, 0.9])}
    assert settings_figure(facts, make_params(), WORDS) is None


@pytest.mark.parametrize("classes", [2, 15])
def test_confusion_is_deterministic_whatever_the_names(classes):
    counts = np.eye(classes, dtype=np.int64) * 5
    names = [f"$class_{k}^ of a long name" for k in range(classes)]
    _same_bytes_and_settings(lambda: confusion_figure(counts, names, "gan"))


def test_small_images_are_enlarged_by_whole_pixels():
    image = _images(1)
    page = _pixels(sample_grid(image, np.array([0]), ["a"], 1))
    assert _shows(page, image[0], 48)


def _shows(page: np.ndarray, image: np.ndarray, row: int) -> bool:
    """Whether the 8 x 8 grey image lies, twelve times as large, on the page with its top in this row of pixels."""
    expected = np.repeat(np.repeat(image[0], 12, axis=0), 12, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(page[:, :, 0], expected.shape)[row]
    return any((window == expected).all() for window in windows)


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (28, 3), (200, 3)])
def test_grids_take_grey_and_colour_small_and_large(side, channels):
    images, labels = _images(6, side, channels), np.array([0, 0, 0, 1, 1, 2])
    names = ["benign", "malignant", "$\\unclosed and a long name", "never seen"]
    alone = _same_bytes_and_settings(lambda: sample_grid(images, labels, names, 2))
    beside = sample_grid(images, labels, names, 2, ("real", images, labels))
    assert _pixels(beside).shape[1] > _pixels(alone).shape[1]
    _same_bytes_and_settings(lambda: nearest_pairs(images, images[::-1], ["class 0"] * 6))


def test_a_grid_of_nothing_is_blank_but_drawn():
    assert _pixels(sample_grid(_images(0), np.zeros(0, dtype=np.int64), ["a", "b"], 3)).min() < 128


def test_findings_stand_beside_what_they_resemble_or_alone():
    one, other, third = _images(3)
    pictures = [(one, other), (third, None)]
    page = _pixels(_same_bytes_and_settings(lambda: finding_pairs(pictures, ["1: dropped", "2: kept"])))
    assert all(_shows(page, image, 42) for image in (one, other, third))
    swapped = _pixels(finding_pairs([(None, other), (third, None)], ["1: dropped", "2: kept"]))
    assert not _shows(swapped, one, 42)
    assert swapped.shape == page.shape
