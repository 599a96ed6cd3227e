from pathlib import Path

from stages.plumbing import progress


def test_every_record_of_every_worker_arrives_once_and_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{worker}.jsonl" for worker in range(3)]
    heard: list[tuple[int, int]] = []
    with progress.following(paths, 50, "test", lambda worker, record: heard.append((worker, record["step"]))):
        for step in range(1, 51):
            for path in paths:
                progress.say(path, {"step": step})
    for worker in range(3):
        assert [step for who, step in heard if who == worker] == list(range(1, 51))


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    path.write_text('{"step": 1}\n{"st')
    records, offset = progress._new_records(path, 0)
    assert records == [{"step": 1}]
    with path.open("a") as lines:
        lines.write('ep": 2}\n')
    assert progress._new_records(path, offset)[0] == [{"step": 2}]


def test_what_an_earlier_run_said_is_not_heard_again(tmp_path: Path) -> None:
    path = tmp_path / "0.jsonl"
    path.write_text('{"step": 99}\n')
    heard: list[int] = []
    with progress.following([path], 1, "test", lambda _, record: heard.append(record["step"])):
        progress.say(path, {"step": 1})
    assert heard == [1]
