from typing import Any

import pytest

from stages.comparison.leak import judge_set, leak_answer, withheld

FOUND = {"planted": {"exact": {"detected": 1.0}, "noise": {"detected": 0.5}}}
BLIND = {"planted": {"exact": {"detected": 1.0}, "noise": {"detected": 0.49}}}
SHOWN = {"own_source": {"share": 0.2, "publishable": 0}}


def attack(low: float, high: float, **more: float) -> dict[str, float]:
    return {"auc": (low + high) / 2, "low": low, "high": high} | more


def outcome(*bounds: tuple[float, float], privacy: Any = FOUND, made_here: bool = True) -> str:
    attacks = {str(number): attack(*each) for number, each in enumerate(bounds)}
    return judge_set(attacks, privacy, 0.05, made_here).outcome


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([(0.47, 0.53)], "no_sign"),
        ([(0.51, 0.55)], "no_sign"),
        ([(0.46, 0.56)], "cannot_tell"),
        ([(0.44, 0.5)], "cannot_tell"),
        ([(0.54, 0.9)], "cannot_tell"),
        ([(0.551, 0.6)], "leaks"),
        ([(0.3, 0.449)], "leaks"),
        ([(0.48, 0.52), (0.551, 0.6)], "leaks"),
        ([(0.2, 0.8), (0.551, 0.6)], "leaks"),
        ([(0.48, 0.52), (0.2, 0.8)], "cannot_tell"),
        ([], "cannot_tell"),
    ],
)
def test_an_interval_beyond_the_margin_on_either_side_is_a_leak_and_one_across_it_tells_nothing(
    bounds: list[tuple[float, float]], expected: str
) -> None:
    assert outcome(*bounds) == expected


def test_a_blind_filter_or_images_from_elsewhere_are_no_evidence_for_no_leak_but_none_against_one() -> None:
    assert outcome((0.48, 0.52), privacy=BLIND) == "cannot_tell"
    assert outcome((0.6, 0.7), privacy=BLIND) == "leaks"
    assert outcome((0.48, 0.52), made_here=False) == "cannot_tell"
    assert outcome((0.6, 0.7), made_here=False) == "leaks"
    assert outcome((0.48, 0.52), privacy={}) == "no_sign"
    assert judge_set({}, BLIND, 0.05, True).least_found == {"kind": "noise", "detected": 0.49}
    assert judge_set({}, {}, 0.05, True).least_found is None


def test_the_number_is_that_of_the_attack_that_gives_the_set_away_and_not_of_a_wider_one() -> None:
    wide, sure = attack(0.2, 0.9), attack(0.551, 0.6)
    assert judge_set({"wide": wide, "sure": sure}, FOUND, 0.05, True).worst == sure
    assert judge_set({"wide": wide, "none": attack(0.48, 0.52)}, FOUND, 0.05, True).worst == wide
    assert judge_set({}, FOUND, 0.05, True).worst is None


def test_translated_images_leak_whatever_attacks_say_and_the_attacks_are_told_too() -> None:
    plain, translated = (judge_set({"a": attack(0.48, 0.52)}, FOUND, 0.05, True, each) for each in (False, True))
    assert (plain.outcome, translated.outcome) == ("no_sign", "leaks")
    assert translated.sentence.endswith(plain.sentence)


def test_images_that_show_their_own_source_leak_whatever_attacks_say() -> None:
    assert outcome((0.48, 0.52), privacy=SHOWN) == "leaks"
    assert outcome(privacy=SHOWN) == "leaks"


def test_images_that_keep_most_of_a_real_one_leak_however_few_resemble_it() -> None:
    kept = {"own_source": {"share": 0.0, "publishable": 1, "kept": 1}}
    found = judge_set({"a": attack(0.48, 0.52)}, kept, 0.05, True)
    assert (found.outcome, "kept to the pixel" in found.sentence) == ("leaks", True)
    assert withheld("leaks", {"own_source": kept["own_source"] | {"publishable": 0}}, publish_leaking=True)


@pytest.mark.parametrize(
    ("found", "privacy", "publish_leaking", "expected"),
    [
        ("no_sign", FOUND, False, False),
        ("cannot_tell", FOUND, False, False),
        ("leaks", FOUND, False, True),
        ("leaks", FOUND, True, False),
        ("leaks", SHOWN, True, True),
    ],
)
def test_a_leaking_set_is_withheld_unless_allowed_and_one_that_shows_its_sources_always(
    found: Any, privacy: Any, publish_leaking: bool, expected: bool
) -> None:
    assert withheld(found, privacy, publish_leaking) == expected


def test_words_name_the_attack_that_reaches_farthest_in_percent_of_cases() -> None:
    found = judge_set({"a": attack(0.49, 0.51), "b": attack(0.64, 0.68, detected=0.07)}, FOUND, 0.05, True)
    assert "right in 66 % of cases (64 to 68; 50 is a guess)" in found.sentence
    assert "names 7.0 % of those used" in found.sentence.replace("\N{NO-BREAK SPACE}", " ")
    hole = judge_set({"a": attack(0.3, 0.4)}, FOUND, 0.05, True)
    assert "right in 65 % of cases (60 to 70; 50 is a guess)" in hole.sentence
    assert "gap" in hole.sentence


def test_an_excess_within_the_margin_is_said_with_its_number() -> None:
    assert "more than chance" in judge_set({"a": attack(0.51, 0.54)}, FOUND, 0.05, True).sentence
    assert "more than chance" in judge_set({"a": attack(0.46, 0.49)}, FOUND, 0.05, True).sentence
    assert "more than chance" not in judge_set({"a": attack(0.49, 0.53)}, FOUND, 0.05, True).sentence


WORDS = {"gan": "GAN", "gaussian": "Gaussian"}


def test_the_worst_set_answers_and_every_set_has_its_entry() -> None:
    good = judge_set({"a": attack(0.48, 0.52)}, FOUND, 0.05, True)
    bad = judge_set({"a": attack(0.6, 0.7)}, FOUND, 0.05, True)
    answer = leak_answer({"gan": bad, "gaussian": good}, {"gan": False, "gaussian": True}, WORDS, 0.05, {})
    assert (answer["outcome"], answer["margin"]) == ("leaks", 0.05)
    assert answer["number"].startswith("best attack on the GAN images: right in 65 %")
    assert "Withheld: the GAN images." in answer["sentence"]
    assert answer["sets"]["gan"]["published"] == 0
    assert answer["sets"]["gaussian"]["outcome"] == "no_sign"
    assert answer["sets"]["gaussian"]["least_found"] == {"kind": "noise", "detected": 0.5}
    fine = leak_answer({"gaussian": good}, {"gaussian": True}, WORDS, 0.05, {})
    assert (fine["outcome"], fine["answer"]) == ("no_sign", "No sign of a leak")
    nothing = leak_answer({"gan": judge_set({}, {}, 0.05, True)}, {"gan": True}, WORDS, 0.05, {})
    assert (nothing["outcome"], nothing["number"]) == (
        "cannot_tell",
        "best attack on the GAN images: none could be tried",
    )
