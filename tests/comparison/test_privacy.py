import pytest

from stages.comparison.privacy import FARTHER, GUESS, KINDS, NEARER, privacy_section
from stages.memorization import planted

CLASSES = ["cat", "dog"]


@pytest.fixture
def section(make_privacy):
    def make(**changes):
        return privacy_section(make_privacy(CLASSES) | changes, None)

    return make


@pytest.fixture
def bare(make_privacy):
    """With nothing that may be absent."""
    optional = ("false_positive_rate", "false_positive_rate_blurred", "planted", "attacks", "set_level")
    return {name: value for name, value in make_privacy(CLASSES).items() if name not in optional}


def test_every_kind_of_planted_copy_has_words_of_its_own():
    assert list(KINDS) == list(planted.KINDS)
    assert len(set(KINDS.values())) == len(KINDS)


def test_planted_copies_come_in_the_order_of_their_words_and_those_missed_are_named(section):
    shown = section()
    assert shown.planted == [
        (KINDS["exact"], {"detected": 1.0, "copies": 640, "auc": 1.0}),
        (KINDS["mix"], {"detected": 0.625, "copies": 640, "auc": 0.875}),
    ]
    assert shown.often_missed == shown.planted[1:]
    unknown = section(planted={"inside_out": {"detected": 0.95, "copies": 3}})
    assert [words for words, _ in unknown.planted] == ["inside out"]
    assert unknown.often_missed == []


@pytest.mark.parametrize(
    ("dropped_share", "memorised", "words"),
    [
        (0.05, False, "no more often"),
        (0.1, False, "somewhat more often"),
        (0.11, False, "more than twice as often"),
        (0.5, False, "more than twice as often"),
        (0.51, True, "The generator has memorised"),
    ],
)
def test_the_share_dropped_is_put_into_words(section, dropped_share, memorised, words):
    shown = section(dropped_share=dropped_share)
    assert shown.memorised == memorised
    assert words in shown.outcome


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, ("on average", "4.98%", "200 calibration images"), ("full conformal", "confidence")),
        ({"with_confidence": 1}, ("unluckiest 5%",), ("full conformal",)),
        ({"calibration": 0}, ("full conformal", "at most 5.00% on average"), ("calibration images",)),
        ({"per_class": 1}, ("at least 19 calibration images", "on average"), ("4.98%", "95%")),
        ({"per_class": 1, "with_confidence": 1}, ("at least 59 calibration images", "95% confidence"), ("average",)),
    ],
)
def test_the_promise_is_that_of_the_mode_and_never_about_copies(section, changes, said, unsaid):
    promise = section(**changes).promise
    assert all(words in promise for words in (*said, "no promise that every copy"))
    assert not any(words in promise for words in unsaid)


def test_a_rate_above_the_promise_is_told_by_its_interval(section):
    assert section(false_positive_rate={"rate": 0.08, "low": 0.049, "high": 0.12}).keeps_promise
    assert not section(false_positive_rate={"rate": 0.08, "low": 0.051, "high": 0.12}).keeps_promise
    assert section(false_positive_rate={"rate": 0.0, "low": 0.0, "high": 0.02}).keeps_promise


def attack(low: float, high: float) -> dict[str, float]:
    return {"auc": (low + high) / 2, "low": low, "high": high}


@pytest.mark.parametrize(
    ("bounds", "reading", "summary"),
    [
        ((0.51, 0.6), NEARER, "still tells something"),
        ((0.4, 0.49), FARTHER, "the filter drops too much"),
        ((0.4, 0.6), GUESS, "None of these attacks"),
    ],
)
def test_attacks_are_read_by_their_intervals(section, bounds, reading, summary):
    shown = section(attacks={"before": {"domias": attack(0.4, 0.6)}, "after": {"domias": attack(*bounds)}})
    ((_, before, after),) = shown.attacks
    assert (before["reading"], after["reading"]) == (GUESS, reading)
    assert summary in shown.attack_summary


def test_attacks_that_disagree_are_both_told(section):
    found = {"domias": attack(0.6, 0.7), "distance": attack(0.3, 0.4)}
    shown = section(attacks={"before": found, "after": found})
    assert [after["reading"] for _, _, after in shown.attacks] == [FARTHER, NEARER]
    assert "still tells something" in shown.attack_summary
    assert "not the filter's doing" in shown.attack_summary


@pytest.mark.parametrize(
    ("low", "high", "reading"),
    [(-6.0, -0.1, "nearer than fresh"), (-6.0, 0.1, "as near as fresh"), (0.1, 6.0, "farther than fresh")],
)
def test_the_data_copying_test_is_read_by_its_interval(section, low, high, reading):
    copying = {"data_copying_z": (low + high) / 2, "data_copying_low": low, "data_copying_high": high}
    tests = copying | {"authentic": 0.5, "authentic_fresh": 0.6, "copied": {"cat": 0.25}}
    shown = section(set_level={"before": tests, "after": tests})
    assert reading in shown.before["reading"]
    assert shown.after["authentic"] == 0.5


def test_what_was_not_measured_is_absent_and_not_zero(bare):
    shown = privacy_section(bare, None)
    assert (shown.fresh, shown.fresh_blurred, shown.before, shown.after) == (None,) * 4
    assert (shown.planted, shown.attacks, shown.attack_summary, shown.own_source) == ([], [], "", "")


@pytest.mark.parametrize(("publishable", "words"), [(1, "rare enough to give the set away"), (0, "therefore withheld")])
def test_likeness_to_the_own_source_is_told_with_what_follows_from_it(section, publishable, words):
    own = {"images": 2000, "resembling": 80, "share": 0.04, "low": 0.03, "high": 0.05, "publishable": publishable}
    told = section(own_source=own).own_source.replace("\N{NO-BREAK SPACE}", " ")
    assert "80 of 2 000 resemble it as a copy would (4.0 %, 95 % interval 3.0 % to 5.0 %)" in told
    assert words in told


@pytest.mark.parametrize(("publishable", "words"), [(0, "therefore withheld"), (1, "So may this set")])
def test_a_set_that_keeps_real_pixels_is_withheld_whatever_the_filter_counts(section, publishable, words):
    own = {"images": 9, "resembling": 0, "share": 0.0, "low": 0.0, "high": 0.3, "publishable": publishable, "kept": 1}
    told = section(own_source=own).own_source
    assert "nothing of it may be published unless the real images themselves may" in told
    assert words in told


@pytest.mark.parametrize(("publishable", "words"), [(0, "therefore withheld"), (1, "Somebody said so")])
def test_that_persons_were_looked_for_in_it_promises_nothing(section, publishable, words):
    own = {"images": 9, "resembling": 0, "share": 0.0, "low": 0.0, "high": 0.3, "publishable": publishable, "kept": 1}
    told = section(own_source=own | {"searched": 1}).own_source
    assert "promises nothing" in told
    assert "evaluate.publish_leaking" in told
    assert words in told
