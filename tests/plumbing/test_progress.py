from pathlib import Path

import numpy as np

from stages.plumbing import images, progress


def test_every_record_of_every_worker_arrives_once_and_in_order(tmp_path: Path) -> None:
    folders = [tmp_path / str(worker) for worker in range(3)]
    heard: list[tuple[int, int]] = []
    with progress.following(folders, 50, "test", lambda worker, record: heard.append((worker, record["step"]))):
        for step in range(1, 51):
            for folder in folders:
                progress.say(folder, step, {})
    for worker in range(3):
        assert [step for who, step in heard if who == worker] == list(range(1, 51))


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text('{"step": 1}\n{"st')
    records, offset = progress._new_records(path, 0)
    assert records == [{"step": 1}]
    with path.open("a") as lines:
        lines.write('ep": 2}\n')
    assert progress._new_records(path, offset)[0] == [{"step": 2}]


def test_what_an_earlier_run_left_is_neither_heard_nor_kept(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    folder.mkdir()
    progress.say(folder, 99, {}, np.zeros((1, 2, 2), np.uint8))
    heard: list[int] = []
    with progress.following([folder], 1, "test", lambda _, record: heard.append(record["step"])):
        progress.say(folder, 1, {})
    assert heard == [1]
    assert not (folder / progress.picture_name(99)).exists()


def test_a_record_says_where_its_picture_lies(tmp_path: Path) -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    progress.say(tmp_path, 7, {"loss": 0.5}, picture)
    (record,), _ = progress._new_records(tmp_path / "progress.jsonl", 0)
    assert record["measures"] == {"loss": 0.5}
    assert np.array_equal(images.decode_png(Path(record["picture"]).read_bytes()), picture)
