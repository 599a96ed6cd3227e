"""What is said of a privacy budget, on the card, in the report and to the gate."""

from dataclasses import replace
from typing import Any

import pytest

from stages.comparison.budget import budget_words, kept_epsilon
from stages.comparison.card import render_card
from stages.comparison.leak import judge_set, leak_answer
from stages.comparison.numbers import all_numbers
from stages.comparison.privacy import KEEPS_ALL
from stages.comparison.wording import percent

PROMISE: dict[str, Any] = {
    "epsilon": 1.0,
    "delta": 1e-5,
    "protects": "image",
    "kept": 1,
    "images": 800,
    "times": 10,
    "largest_group": 1,
    "published_epsilon": 3.59,
    "advantage": 0.946,
}


def test_it_is_about_the_whole_set_and_names_what_is_protected() -> None:
    words = budget_words(PROMISE)
    assert "epsilon 3.59 at delta 1e-05 for all of them together" in words
    assert "up to 10 learned from the same image" in words
    assert f"right at most {percent(0.946)} more often than wrong" in words
    assert "several generators" not in budget_words(PROMISE | {"times": 1})


def test_a_group_is_protected_less_where_an_image_is() -> None:
    assert "has up to 4 of the images and is protected less" in budget_words(PROMISE | {"largest_group": 4})
    of_group = budget_words(PROMISE | {"largest_group": 4, "protects": "group"})
    assert "protects a group" in of_group
    assert "protected less" not in of_group


def test_a_rehearsal_promises_nothing() -> None:
    rehearsal = PROMISE | {"kept": 0}
    assert "promises nothing" in budget_words(rehearsal)
    assert "3.59" not in budget_words(rehearsal)
    assert (kept_epsilon(PROMISE), kept_epsilon(rehearsal), kept_epsilon(None)) == (3.59, None, None)


def test_the_leak_answer_and_the_card_say_it(make_evidence: Any, make_generator: Any) -> None:
    generators = {name: make_generator(name, ["cat", "dog", "owl"]) for name in ("gan", "gaussian")}
    evidence = make_evidence(generators=generators | {"gan": replace(generators["gan"], promise=PROMISE)})
    numbers = all_numbers(evidence)[0]
    assert numbers["answers"]["leak"]["sets"]["gan"]["promise"]["published_epsilon"] == 3.59
    assert "promise" not in numbers["answers"]["leak"]["sets"]["gaussian"]
    card = render_card(evidence, numbers)
    of_gan, of_gaussian = card.split("### Privacy of ")[1:]
    assert "epsilon 3.59" in of_gan and KEEPS_ALL.split(":")[0] in of_gan  # noqa: PT018 - one section
    assert "budget" not in of_gaussian.split("The filter finds")[0]


@pytest.mark.parametrize("low", [0.5, 0.7])
def test_a_promise_silences_no_attack(low: float) -> None:
    attack = {"a": {"auc": low, "low": low, "high": low}}
    sets, words = {"gan": judge_set(attack, {}, 0.05, True)}, {"gan": "GAN"}
    answer = leak_answer(sets, {"gan": True}, words, 0.05, {"gan": PROMISE})
    assert answer["outcome"] == ("leaks" if low > 0.55 else "no_sign")
