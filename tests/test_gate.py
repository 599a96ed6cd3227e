import json
from pathlib import Path
from typing import Any

import pytest

from stages import gate
from tests.conftest import DEFAULT_PARAMS, ROOT, edit_params, read_params


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default parameters, and made-up metrics that meet their demands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes(DEFAULT_PARAMS.read_bytes())
    params = read_params(tmp_path)
    question, demands = params["evaluate"]["augment"], params["gate"]
    rivals = {"rivals": {rival: {"mean": 0.03} for rival in question["rivals"]}}
    answers = {
        "augment": {"outcome": "helps", "arms": dict.fromkeys(question["arms"], rivals)},
        "stand_in": {"outcome": "stands_in"},
        "leak": {"outcome": "no_sign", "sets": {"gan": {"attacks": {"nearest": {"auc": 0.5}}}}},
    }
    write(tmp_path, "evaluate", {"answers": answers})
    filtered = {
        "dropped_share": 0.0,
        "planted": {kind: {"detected": 1.0} for kind in demands["least_detection"]},
    }
    for name in params["train_gan"]["generators"]:
        write(tmp_path, f"filter_memorized/{name}", filtered)
    return tmp_path


def write(folder: Path, stage: str, numbers: dict[str, Any]) -> None:
    path = folder / f"metrics/{stage}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers))


def test_met_demands_exit_0_and_are_told(folder: Path, run_in) -> None:
    before = sorted(folder.rglob("*"))
    done = run_in("python -m stages.gate", folder, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert "all met" in done.stdout
    assert "greatest_copy_rate: share of the images of gaussian dropped as copies: 0, demanded at most" in done.stdout
    assert sorted(folder.rglob("*")) == before


def test_failed_demands_exit_1_and_only_they_are_named(folder: Path, run_in) -> None:
    edit_params(folder, {"gate.least_gain": 0.2, "gate.least_detection": {"exact": 0.9, "flip": 0.5}})
    done = run_in("python -m stages.gate", folder, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    head, *named = done.stdout.splitlines()
    assert head.startswith("gate: 3 of ")
    assert [line.split(":")[0].strip() for line in named] == ["least_gain", *["least_detection.flip"] * 2]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("metrics/evaluate.json", None, "metrics/evaluate.json is missing: `dvc repro` makes it"),
        ("metrics/filter_memorized/gan.json", "{", "metrics/filter_memorized/gan.json is damaged"),
        ("params.yaml", "gate: {}", "params.yaml is not valid"),
    ],
)
def test_what_cannot_be_read_exits_1_in_words(
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, content: str | None, words: str
) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    assert gate.main() == 1
    assert words in capsys.readouterr().err
