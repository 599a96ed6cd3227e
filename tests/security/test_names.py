"""Names and links from outside: shown, never obeyed; and no file outside the source is read."""

import io
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stages.comparison.card import render_card
from stages.comparison.evidence import Finding, Outcomes
from stages.comparison.numbers import all_numbers
from stages.comparison.report import ReportContent, render_report
from stages.comparison.scores import align
from stages.imaging.decoding import BadItem
from stages.plumbing.errors import UserError
from stages.sources.kinds import folder, parquet
from stages.sources.params import FolderParams, ParquetParams
from tests.comparison.conftest import (
    FACTS,
    checks,
    findings,
    make_evidence,
    make_generator,
    make_params,
    make_privacy,
    make_tables,
)

__all__ = ["checks", "findings", "make_evidence", "make_generator", "make_params", "make_privacy", "make_tables"]
Render = Callable[[str], tuple[str, str]]
HOSTILE = "".join(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</title></style></pre><iframe src=//x>",
        "{{ 7 * 7 }}{% include 'x' %}",
        "[x](javascript:alert(1))|```|![y](//z)",
        "<!-- ",
    ]
)


class Tags(HTMLParser):
    """Every tag of a page with the names of its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attributes)))


@pytest.fixture
def rendered(make_evidence: Any, make_generator: Any, make_params: Any, make_tables: Any, checks: Any) -> Render:
    """The report and the data card with this text wherever a name may stand."""

    def render(text: str) -> tuple[str, str]:
        tables, truth = make_tables({"classic": 0.6, "gan": 0.9, text: 0.5}, replicates=3, images=30)
        chosen = {"settings": [{text: text}, {"filter": {text: text}}], "chosen": 1, "validation": [0.7, 0.8]}
        facts = dict.fromkeys(tables, FACTS | chosen)
        classes = [text, "one", "two"]
        generator = make_generator("gan", classes)
        section = generator.section | {text: {text: text}}  # its name and kind are held to a pattern by the schema
        evidence = make_evidence(
            dataset=text,
            classes=classes,
            prepared={"read": 9, "images": 8, "notes": [text], "checks": checks | {text: {"images": 1, "dropped": 0}}},
            findings=[Finding("constant", text, text, "kept", text, None, None)],
            params=make_params(licence=text),
            outcomes=Outcomes(
                predictions=align(tables, truth, 3),
                models={},
                facts=facts,
                examinations=[],
                groups=None,
                controls=[("gan", text)],
                plain={"gan": "classic"},
                words={arm: arm for arm in tables},
                shifted=False,
                unseen=False,
            ),
            generators={"gan": replace(generator, section=section)},
            run={text: text},
            parameters=text,
        )
        numbers, _ = all_numbers(evidence)
        names = ("arms", "comparison", "learning_curve", "models", "settings", "findings")
        pictures = dict.fromkeys((*names, "samples_gan", "pairs_gan", "confusion_gan"), b"png")
        return render_report(ReportContent(evidence, numbers, pictures, True)), render_card(evidence, numbers)

    return render


def test_no_name_changes_the_page_or_the_card(rendered: Callable[[str], tuple[str, str]]) -> None:
    (plain_report, plain_card), (report, card) = rendered("plain"), rendered(HOSTILE)
    assert Tags(report).found == Tags(plain_report).found
    assert report.count("<!--") == plain_report.count("<!--")
    body = card.split("---\n", 2)[2]
    assert not any(sign in body.replace("```python", "").replace("\n```\n", "") for sign in ("<", "](", "```"))
    assert body.count("|") == plain_card.split("---\n", 2)[2].count("|")


def test_a_name_that_steers_a_terminal_is_refused_as_an_escape(tmp_path: Path) -> None:
    for name in ("a\n2.png", "\x1b[2J.png", "\x9b2J.png", "\u2028.png"):
        root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        for file in ("a/1.png", "b/1.png", f"a/{name}"):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
        with pytest.raises(UserError, match=r"name with control characters or not valid UTF-8, 'a/") as caught:
            folder.find(FolderParams(kind="folder", path=str(root)))
        assert str(caught.value).isprintable()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "PNG")
    return buffer.getvalue()


def params_of(path: Path) -> ParquetParams:
    fields = {"image_column": "image", "label_column": "label", "group_column": None}
    return ParquetParams.model_validate({"kind": "parquet", "path": str(path)} | fields)


@pytest.mark.parametrize("column", ["label", "id"])
def test_such_a_name_in_parquet_is_refused_too(tmp_path: Path, column: str) -> None:
    columns = {"image": [png()] * 2, "label": ["a", "b"]} | {column: ["\x1b[2J", "b"]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"'\\x1b\[2J': rename it"):
        parquet.find(params_of(tmp_path))


def test_paths_beside_the_bytes_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "set").mkdir()
    paths = ["../secret.png", str(tmp_path / "secret.png"), "file:///etc/passwd", "http://127.0.0.1:9/x.png"]
    column = pa.array([{"bytes": png(), "path": paths[0]}, *({"bytes": None, "path": path} for path in paths)])
    pq.write_table(pa.table({"image": column, "label": [0, 1, 0, 1, 0]}), tmp_path / "set" / "a.parquet")
    params = params_of(tmp_path / "set")
    listing = parquet.find(params)
    assert listing.ids.tolist() == [f"a:{row}" for row in range(5)]
    first, *others = parquet.read(params, listing.locators)
    assert isinstance(first, Image.Image)
    assert [each.fault for each in others if isinstance(each, BadItem)] == ["empty"] * 4


def test_a_parquet_file_linked_from_outside_is_refused(tmp_path: Path) -> None:
    table = pa.table({"image": [png()] * 2, "label": [0, 1]})
    for name in ("outside", "source"):
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "a.parquet")
    link = tmp_path / "source" / "b.parquet"
    link.symlink_to("a.parquet")
    assert len(parquet.find(params_of(tmp_path / "source"))) == 4
    link.unlink()
    link.symlink_to("../outside/a.parquet")
    with pytest.raises(UserError, match=f"{link} is a symbolic link out of the folder: put the file itself"):
        parquet.find(params_of(tmp_path / "source"))
