from stages.sources.findings import KINDS, Finding, as_numbers, examples


def test_numbers_hold_every_kind_and_count_what_was_dropped_or_skipped() -> None:
    numbers = as_numbers(
        [
            Finding("duplicate", "b", "a", "dropped", ""),
            Finding("duplicate", "c", "a", "kept", ""),
            Finding("empty", "d", "", "skipped", "no bytes"),
            Finding("empty", "e", "", "skipped", "no bytes"),
            Finding("class_too_small", "", "", "kept", "class 'x' has 0 different images"),
        ]
    )
    assert set(numbers) == set(KINDS)
    assert numbers["duplicate"] == {"images": 2, "dropped": 1}
    assert numbers["empty"] == {"images": 2, "dropped": 2}
    assert numbers["class_too_small"] == numbers["leak"] == {"images": 0, "dropped": 0}


def test_examples_show_each_pair_once_and_no_more_than_asked_for() -> None:
    findings = [
        Finding("near_duplicate", "a", "b", "kept", ""),
        Finding("near_duplicate", "b", "a", "kept", ""),
        Finding("near_duplicate", "c", "d", "kept", ""),
        Finding("near_duplicate", "e", "f", "kept", ""),
        Finding("leak", "a", "b", "dropped", ""),
        Finding("truncated", "g", "", "skipped", ""),
        Finding("class_too_small", "", "", "kept", ""),
    ]
    assert examples(findings, 2) == [findings[0], findings[2], findings[4], findings[5]]
