"""The answer rests on whether persons are named, by the attacker who is surest to name them."""

from dataclasses import replace
from typing import Any

import pytest

from stages.comparison import persons
from stages.comparison.leak import judge_set
from stages.comparison.publication import card_of_sets


def view(low: float, high: float, chance: float = 0.02) -> dict[str, Any]:
    rate = {"rate": (low + high) / 2, "low": low, "high": high}
    other = {"rate": 0.6, "low": 0.5, "high": 0.7}
    return {"before": other, "after": rate, "blur": other, "pixels": other, "black": other, "chance": chance}


def found(**views: dict[str, Any]) -> dict[str, Any]:
    return {"persons": 40, "images": 200, "photographs": 500, "views": {"rest": view(0.01, 0.03)} | views}


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [((0.0, 0.04), "no_sign"), ((0.03, 0.06), "no_sign"), ((0.0, 0.09), "cannot_tell"), ((0.08, 0.2), "leaks")],
)
def test_whole_intervals_beside_chance_and_margin_decide(bounds: tuple[float, float], expected: str) -> None:
    told = found(whole=view(0.0, 0.05), classifier=view(*bounds))
    outcome, sentence = persons.judge_persons(told, margin=0.05)
    assert outcome == expected
    assert sentence.endswith(persons.AT_ONCE)
    assert "outside the region" in sentence


def test_what_is_around_the_region_leaks_too() -> None:
    assert persons.judge_persons(found(rest=view(0.3, 0.5), whole=view(0, 0.03)), 0.05)[0] == "leaks"


def test_persons_decide_where_they_were_looked_for_though_the_photograph_is_always_found() -> None:
    kept = {"own_source": {"share": 1.0, "publishable": 0, "kept": 1}}
    certain = {"nearest": {"auc": 1.0, "low": 0.99, "high": 1.0}}
    told = found(whole=view(0.0, 0.03))
    assert judge_set(certain, kept, 0.05, True).outcome == "leaks"
    assert judge_set(certain, kept, 0.05, True, persons=told).outcome == "no_sign"
    unsearched = {"own_source": kept["own_source"] | {"not_searched": "nobody has a name"}}
    assert "nobody has a name" in judge_set({}, unsearched, 0.05, True).sentence


def test_the_table_names_every_attacker_and_the_first_line_the_best_one() -> None:
    told = found(whole=view(0.3, 0.5), classifier=view(0.1, 0.2))
    assert [len(shares) for _, shares, _ in persons.rows(told)] == [len(persons.COLUMNS)] * 3
    assert (
        persons.number(told, "infilled").replace("\N{NO-BREAK SPACE}", " ").startswith("the person is named in 40.0 %")
    )


def test_the_card_has_a_row_for_every_attacker_one_under_the_other(make_evidence) -> None:
    plain = make_evidence().generators["gan"]
    told = found(whole=view(0.3, 0.5), classifier=view(0.1, 0.2))
    searched = replace(plain, leak=replace(plain.leak, persons=told))
    cards = [card_of_sets(make_evidence(generators={"gan": each}), replicates=2) for each in (plain, searched)]
    assert persons.ATTACKERS["whole"] not in cards[0]
    lines = cards[1].splitlines()
    first = next(row for row, line in enumerate(lines) if line.startswith(f"| {persons.ATTACKERS['rest']} |"))
    assert [line.count("|") for line in lines[first - 2 : first + 3]] == [8] * 5
