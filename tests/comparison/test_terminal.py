"""The last lines of a run: the answers, what must be heeded, and where the report lies."""

from pathlib import Path

from stages.comparison.numbers import all_numbers
from stages.comparison.terminal import closing
from stages.comparison.wording import QUESTIONS

REPORT = Path("metrics/report.html")


def test_it_ends_with_the_three_answers_and_the_path(make_evidence):
    numbers, _ = all_numbers(make_evidence())
    said = closing(numbers | {"warnings": ["Beware: of this."]}, REPORT)
    flat = " ".join(said.split())
    for name, question in QUESTIONS.items():
        assert f"{question} {numbers['answers'][name]['answer']}" in flat
        assert numbers["answers"][name]["number"] in flat
    assert said.splitlines()[-2:] == ["! Beware: of this.", "report: metrics/report.html"]
    assert max(map(len, said.splitlines())) <= 100


def test_where_nothing_can_be_concluded_no_number_is_shown(make_evidence):
    numbers, _ = all_numbers(make_evidence())
    dead = numbers["answers"]["augment"] | {"outcome": "no_answer", "sentence": "Nothing can be concluded: it guesses."}
    said = closing(numbers | {"answers": numbers["answers"] | {"augment": dead}}, REPORT)
    assert numbers["answers"]["augment"]["number"] not in " ".join(said.split())
    assert "! Nothing can be concluded: it guesses." in said
