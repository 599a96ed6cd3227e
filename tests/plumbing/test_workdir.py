from pathlib import Path

import numpy as np
import pytest
import torch

from stages.plumbing import workdir


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_fingerprint_tells_values_types_shapes_and_order_apart() -> None:
    array = np.arange(6)
    parts = [(array,), (array.reshape(2, 3),), (array.astype(np.int32),), (array + 1,), ("a", "b"), ("ab",), ("b", "a")]
    prints = [workdir.fingerprint(*part) for part in parts]
    assert len(set(prints)) == len(prints)
    assert workdir.fingerprint({"x": 1, "y": 2}) == workdir.fingerprint({"y": 2, "x": 1})
    assert workdir.fingerprint(array[::2]) == workdir.fingerprint(np.array([0, 2, 4]))


def test_replacing_swaps_whole_folders() -> None:
    old = Path("data/x")
    old.mkdir(parents=True)
    (old / "stale").write_text("old")
    with workdir.replacing(old) as folder:
        (folder / "fresh").write_text("new")
        assert (old / "stale").read_text() == "old"
    assert [path.name for path in old.iterdir()] == ["fresh"]
    assert [path.name for path in Path("data").iterdir()] == ["x"]


def test_a_failure_leaves_the_old_folder_and_the_next_try_starts_clean() -> None:
    with workdir.replacing(Path("x")) as folder:
        (folder / "first").write_text("1")
    with pytest.raises(FileNotFoundError), workdir.replacing(Path("x")) as folder:
        (folder / "second").rename(folder / "missing" / "second")
    assert [path.name for path in Path("x").iterdir()] == ["first"]
    with workdir.replacing(Path("x")) as folder:
        assert list(folder.iterdir()) == []


def test_before_swap_can_refuse() -> None:
    def refuse() -> None:
        raise PermissionError

    with workdir.replacing(Path("x")) as folder:
        (folder / "first").write_text("1")
    with pytest.raises(PermissionError), workdir.replacing(Path("x"), refuse) as folder:
        (folder / "second").write_text("2")
    assert [path.name for path in Path("x").iterdir()] == ["first"]


def test_finished_units_are_built_once_and_half_built_ones_again() -> None:
    calls = []

    def build(folder: Path) -> None:
        calls.append(1)
        (folder / "result").write_text("whole")
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workdir.finished("stage", "key", build)
    folders = [workdir.finished("stage", "key", build) for _ in range(3)]
    assert len(calls) == 2
    assert (folders[-1] / "result").read_text() == "whole"


def test_units_no_longer_used_are_forgotten() -> None:
    for key in ("one", "two", "three"):
        workdir.finished("stage", key, lambda folder: (folder / "result").touch())
    workdir.forget_others("stage", ["two"])
    assert [path.name for path in (workdir.WORK / "stage").iterdir()] == ["two"]
    workdir.forget_others("never ran", [])


def test_a_checkpoint_comes_back_as_saved_last_and_a_damaged_one_not_at_all() -> None:
    file = workdir.CheckpointFile.of("stage", "key")
    assert file.load() is None
    for step in (1, 2):
        file.save({"step": step, "weights": torch.arange(3.0), "history": [{"loss": 0.5}]})
    state = file.load()
    assert state is not None
    assert state["step"] == 2
    assert state["weights"].tolist() == [0, 1, 2]
    assert [path.name for path in file.path.parent.iterdir()] == ["state.pt"]
    content = file.path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"nonsense"):
        file.path.write_bytes(damaged)
        assert file.load() is None
    workdir.forget_others("stage", [])
    assert not file.path.exists()


def test_json_has_sorted_keys_and_refuses_nan() -> None:
    workdir.write_json(Path("m.json"), {"b": 1, "a": 2})
    assert workdir.read_json(Path("m.json")) == {"a": 2, "b": 1}
    assert Path("m.json").read_text().index('"a"') < Path("m.json").read_text().index('"b"')
    with pytest.raises(ValueError, match="JSON"):
        workdir.write_json(Path("m.json"), {"a": float("nan")})
    assert workdir.read_json(Path("m.json")) == {"a": 2, "b": 1}
