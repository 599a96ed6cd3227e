"""The search's benchmark, on sets so small that only its form can be checked."""

import json

import pytest

from benchmarks import neighbours


def test_prints_a_ratio_for_every_shape(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(neighbours, "SHAPES", {"small": (60, 50, 1, 8), "coloured": (20, 40, 3, 8)})
    monkeypatch.setattr(neighbours, "ALIGNED", (30, 40, 1, 8))
    monkeypatch.setattr(neighbours, "_peak_of_process", float)
    monkeypatch.setattr("sys.argv", ["neighbours"])
    neighbours.main()
    *table, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[1:3]] == ["small", "coloured"]
    figures = json.loads(last)
    assert all(figures["bare/search"][name] > 0 for name in ("small", "coloured"))
    assert all(figures["per alignment"][count] > 0 for count in ("9", "18"))
    assert figures["memory"] == {"few": 20_000, "many": 200_000}
