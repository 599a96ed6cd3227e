"""What contrasts come to, and in which words."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.comparison.answers import (
    AUGMENT,
    STAND_IN,
    Rule,
    augment,
    augment_outcome,
    no_answer,
    stand_in,
    stand_in_outcome,
    with_control,
)
from stages.comparison.contrasts import Contrast

NAMES = {
    "gan": "GAN images + classic augmentation",
    "other": "images of another GAN",
    "only": "GAN images alone",
    "gaussian": "Gaussian images alone",
    "classic": "classic augmentation",
    "pool": "pseudo-labels",
}
RULE = Rule(0.05, 0.01, replicates=10, contrasts=2, arms=1, measure="accuracy", words=NAMES)


def contrast(mean: float, half: float = 0.004, p: float = 0.004, p_margin: float = 0.004) -> Contrast:
    inner = 0.8 * half
    return Contrast(mean, mean - half, mean + half, mean - inner, mean + inner, p, p, p_margin, p_margin, 34)


GAIN, LOSS, SAME = contrast(0.03), contrast(-0.03), contrast(0.001, p=0.9)
OPEN = contrast(0.01, 0.03, 0.5, 0.9)
SMALL_GAIN, SMALL_LOSS = contrast(0.005), contrast(-0.005)
WIDE_LOSS = contrast(-0.012, 0.006, 0.004, 0.5)


@pytest.mark.parametrize(
    ("classic", "pool", "outcome"),
    [
        (GAIN, GAIN, "helps"),
        (SMALL_GAIN, SMALL_GAIN, "helps"),
        (LOSS, GAIN, "worse"),
        (SMALL_LOSS, SMALL_LOSS, "worse"),
        (GAIN, LOSS, "no_better"),  # losing to a rival that is not plain training harms nobody
        (SAME, LOSS, "no_better"),
        (GAIN, SAME, "no_better"),
        (OPEN, SAME, "no_better"),
        (GAIN, SMALL_GAIN, "helps"),
        (OPEN, OPEN, "undecided"),
        (GAIN, OPEN, "undecided"),
        (replace(GAIN, p_holm=0.2), GAIN, "undecided"),
        (replace(GAIN, low=-0.001), GAIN, "undecided"),
        (replace(LOSS, p_holm=0.2, p_margin_holm=0.2), OPEN, "undecided"),
        (replace(SAME, p_margin_holm=0.2), OPEN, "undecided"),
        (replace(SAME, inner_high=0.011), OPEN, "undecided"),
    ],
)
def test_what_an_arm_of_augment_comes_to(classic: Contrast, pool: Contrast, outcome: str) -> None:
    assert augment_outcome({"classic": classic, "pool": pool}, "classic", RULE) == outcome


@pytest.mark.parametrize(
    ("rivals", "outcome"),
    [
        ((GAIN, SAME), "stands_in"),
        ((SAME, SMALL_LOSS), "stands_in"),
        ((SAME, LOSS), "falls_short"),
        ((SAME, OPEN), "undecided"),
        ((SAME, WIDE_LOSS), "undecided"),
        ((replace(SAME, p_margin=0.2), SAME), "undecided"),
        ((replace(SAME, inner_low=-0.011), SAME), "undecided"),
        ((SAME, replace(LOSS, p_margin_holm=0.2)), "undecided"),
        ((SAME, replace(LOSS, high=-0.009)), "undecided"),
    ],
)
def test_what_an_arm_of_stand_in_comes_to(rivals: tuple[Contrast, ...], outcome: str) -> None:
    assert stand_in_outcome(dict(zip("ab", rivals, strict=True)), RULE) == outcome


def test_arms_of_stand_in_share_the_level_and_rivals_do_not() -> None:
    rivals = dict.fromkeys("abcd", replace(SAME, p_margin=0.06))
    assert stand_in_outcome(rivals, RULE) == "stands_in"
    assert stand_in_outcome(rivals, replace(RULE, arms=2)) == "undecided"


@given(st.floats(-0.1, 0.1), st.floats(0, 0.1), st.floats(0.001, 0.05))
def test_a_better_arm_never_gets_a_worse_answer(mean: float, more: float, half: float) -> None:
    """With p that follow the intervals."""

    def sure(mean: float) -> Contrast:
        beyond = abs(mean) > half
        return contrast(mean, half, 0.01 if beyond else 0.5, 0.01)

    one, two = ({"classic": sure(each)} for each in (mean, mean + more))
    worse, better = (AUGMENT.index(augment_outcome(each, "classic", RULE)) for each in (one, two))
    # where it is no better it is known to be so, where undecided it may be: between them there is no order
    assert better <= worse or {better, worse} == {1, 2}
    assert STAND_IN.index(stand_in_outcome(two, RULE)) <= STAND_IN.index(stand_in_outcome(one, RULE))


@pytest.mark.parametrize(
    ("one", "two", "outcome"),
    [
        (GAIN, LOSS, "helps"),
        (GAIN, OPEN, "helps"),
        (OPEN, LOSS, "undecided"),
        (OPEN, SAME, "undecided"),
        (SAME, LOSS, "no_better"),
        (LOSS, LOSS, "worse"),
    ],
)
def test_the_best_use_answers_the_question_and_every_arm_is_told(one: Contrast, two: Contrast, outcome: str) -> None:
    arms = {"gan": {"classic": one}, "other": {"classic": two}}
    answer = augment(arms, dict.fromkeys(arms, "classic"), RULE)
    assert answer["outcome"] == outcome
    assert all(NAMES[arm] in answer["sentence"] for arm in arms)
    assert {arm: each["rivals"]["classic"]["mean"] for arm, each in answer["arms"].items()} == {
        "gan": one.mean,
        "other": two.mean,
    }


def test_an_answer_has_headline_number_and_sentence() -> None:
    answer = augment({"gan": {"classic": SMALL_GAIN, "pool": LOSS}}, {"gan": "classic"}, RULE)
    assert answer["answer"] == "No better than pseudo-labels"
    assert answer["number"] == "against classic augmentation: +0.5 points (+0.1 to +0.9)"
    assert answer["sentence"] == (
        "With GAN images + classic augmentation, accuracy is 3.0 percentage points below that of pseudo-labels (95 % "
        "interval \N{MINUS SIGN}3.4 to \N{MINUS SIGN}2.6): a gain of 1 percentage point or more over classic "
        "augmentation and pseudo-labels is ruled out."
    )


def test_a_gain_is_told_by_the_strongest_rival_and_so_is_an_open_question() -> None:
    for strongest, outcome in ((SMALL_GAIN, "helps"), (OPEN, "undecided")):
        answer = augment({"gan": {"classic": GAIN, "pool": strongest}}, {"gan": "classic"}, RULE)
        assert answer["outcome"] == outcome
        assert answer["number"].startswith(f"against pseudo-labels: {100 * strongest.mean:+.1f} points (")


def test_what_would_decide_an_open_question_is_said() -> None:
    rivals = {"classic": OPEN, "pool": replace(OPEN, needed=20)}
    sentence = augment({"gan": rivals}, {"gan": "classic"}, RULE)["sentence"]
    assert "about 34 replicates would show a gain of 1 percentage point four times out of five" in sentence
    more_images = stand_in({"only": {"classic": replace(OPEN, needed=None)}}, RULE)["sentence"]
    assert "more test images are needed to show it of images as good as real ones" in more_images
    few = augment({"gan": rivals}, {"gan": "classic"}, replace(RULE, replicates=5))["sentence"]
    assert "5 replicates are too few to show any difference" in few


def test_what_the_network_adds_to_its_control_is_said() -> None:
    arms = {"only": {"classic": SAME}, "gaussian": {"classic": SAME}}
    answer = stand_in(arms, RULE)
    assert answer["answer"] == "Yes, within 1 point of real images"

    def said(answer: dict[str, Any], mean: float, half: float = 0.004) -> str:
        difference = {"mean": mean, "low": mean - half, "high": mean + half}
        return str(with_control(answer, "gaussian", difference, RULE)["sentence"])

    assert said(answer, 0.0).endswith("No GAN is needed for that: Gaussian images alone will do.")
    short = stand_in(arms | {"gaussian": {"classic": LOSS}}, RULE)
    assert short["outcome"] == "stands_in"
    assert said(short, 0.0).endswith(
        "The GAN adds less than 1 percentage point to what Gaussian images alone would do."
    )
    assert said(short, 0.02).endswith("The GAN adds +2.0 points to what Gaussian images alone would do.")
    assert said(short, -0.02).endswith("The GAN takes 2.0 points from what Gaussian images alone would do.")
    assert said(short, 0.02, 0.1) == short["sentence"]
    assert with_control(short, "gaussian", {"mean": 0.2}, RULE) == short


def test_what_falls_short_says_by_how_much() -> None:
    answer = stand_in({"only": {"classic": SAME, "pool": LOSS}}, RULE)
    assert answer["answer"] == "No, 3.0 points behind pseudo-labels"
    assert answer["number"].startswith("against pseudo-labels: \N{MINUS SIGN}3.0 points (")


def test_a_dead_experiment_keeps_its_numbers_and_nothing_else() -> None:
    alive = stand_in({"only": {"classic": SAME}}, RULE)
    dead = no_answer(alive, "Nothing can be concluded.")
    assert dead["outcome"] == dead["arms"]["only"]["outcome"] == "no_answer"
    assert dead["sentence"] == "Nothing can be concluded."
    assert dead["arms"]["only"]["rivals"] == alive["arms"]["only"]["rivals"]


def test_one_replicate_decides_nothing_and_claims_no_interval() -> None:
    alone = {"classic": Contrast(-0.3)}
    rule = replace(RULE, replicates=1)
    for answer in (augment({"gan": alone}, {"gan": "classic"}, rule), stand_in({"gan": alone}, rule)):
        assert answer["outcome"] == "undecided"
        assert "a single replicate allows no interval" in answer["sentence"]
        assert answer["number"] == "against classic augmentation: \N{MINUS SIGN}30.0 points"
        assert answer["arms"]["gan"]["rivals"]["classic"] == {"mean": -0.3}
