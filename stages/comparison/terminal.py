"""What the terminal says at the end of a run: the three answers, and where the report lies."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from stages.comparison.wording import QUESTIONS, notices

_WIDTH = 100


def closing(numbers: Mapping[str, Any], report: Path) -> str:
    """Question, answer and number of each question, what must be heeded, and the report's path, in lines of at most
    100 characters.

    numbers: as metrics/evaluate.json.
    """
    answers = numbers["answers"]
    lines = [_answer(question, answers[name]) for name, question in QUESTIONS.items()]
    warned = [fill(f"! {notice}", _WIDTH, subsequent_indent="  ") for notice in notices(numbers)]
    return "\n".join(["", *lines, *warned, f"report: {report}"])


def _answer(question: str, answer: Mapping[str, Any]) -> str:
    number = "" if answer["outcome"] == "no_answer" else f"  ({answer['number']})"
    return fill(f"{question:<42}{answer['answer']}{number}", _WIDTH, subsequent_indent=" " * 42)
