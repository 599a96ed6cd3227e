import json
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from stages.memorization import audit
from stages.memorization.attacks import Attack, evenly_spaced
from stages.memorization.audit import Audit, Exposure, expose, summarise
from stages.memorization.filtering import MemorizationFilter, Originals
from stages.memorization.intervals import Estimate
from stages.memorization.planted import noise, shift
from stages.memorization.self_test import Detection, SelfTest
from stages.memorization.set_level import SetLevel
from tests.memorization.toy import PARAMS, random_images

CLASSES = [str(digit) for digit in range(10)]
ALL_DETECTED = Detection(copies=10, detected=10, auc=1.0)


def audited(
    seen: torch.Tensor, calibration: torch.Tensor, generated: torch.Tensor, labels: NDArray[np.int64]
) -> tuple[pd.DataFrame, Audit]:
    """What the stage does with the generated images of one replicate."""
    filter_ = MemorizationFilter(Originals(seen, calibration, False), PARAMS)
    decisions = table(labels, filter_.decide(generated).dropped)
    ids = np.array([f"i{row}" for row in range(len(calibration))])
    return decisions, audit.audit(filter_, ids, generated, decisions, 0)


def table(labels: object, dropped: object, own_source: object = False, source_id: object = "") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": np.array(labels),
            "reason": np.where(dropped, "memorized", ""),
            "own_source": own_source,
            "source_id": source_id,
        }
    )


def exposure(auc: float, detected: float | None, authentic: float, copied: dict[int, float]) -> Exposure:
    estimate = Estimate(auc, auc - 0.125, auc + 0.125)
    rate = None if detected is None else Estimate(detected, detected / 2, detected * 2)
    return Exposure({"distance": Attack(estimate, rate)}, SetLevel(-4 * auc, authentic, 0.75, copied))


def an_audit(
    false_positives: Mapping[str, int] | None = None,
    detected: Detection = ALL_DETECTED,
    exposures: Mapping[str, Exposure] | None = None,
    first: int = 0,
) -> Audit:
    """Of 100 calibration images from i<first>; of full conformal prediction without `false_positives`."""
    self_test = SelfTest(100 if false_positives else 0, false_positives or {}, {"exact": detected}, 0.25)
    ids = frozenset(f"i{row}" for row in range(first, first + self_test.calibration))
    return Audit(ids, self_test, exposures or {})


def test_the_summary_adds_up_over_replicates() -> None:
    audits = [
        an_audit(
            {"fresh": 4, "fresh_blurred": 9},
            Detection(10, 10, 1.0),
            {
                "before": exposure(0.75, 0.5, 0.25, {0: 0.5, 1: 0.25}),
                "after": exposure(0.5, None, 0.75, {0: 0.0, 1: 0.25}),
            },
        ),
        an_audit(
            {"fresh": 6, "fresh_blurred": 15},
            Detection(10, 7, 0.5),
            {"before": exposure(0.25, 0.25, 0.5, {0: 0.25, 1: 0.75}), "after": exposure(0.5, 0.5, 0.5, {0: 0.125})},
            first=20,  # 80 of the first replicate's images calibrate this one too
        ),
    ]
    decisions = table([0, 0, 1, 1, 0], [True, False, False, True, True])
    summary = summarise(decisions, audits, ["cat", "dog", "eel"], PARAMS)
    plain, blurred = (binomtest(count, 120).proportion_ci(0.95, method="exact") for count in (6, 14))

    def t_interval(name: str, *values: float, least: float = 0.0, most: float = 1.0) -> dict[str, float]:
        reach = 12.7062 * np.std(values, ddof=1) / np.sqrt(2)  # Student's t with one degree of freedom
        ends = {"low": np.mean(values) - reach, "high": np.mean(values) + reach}
        return {f"{name}{end}": pytest.approx(np.clip(value, least, most), rel=1e-4) for end, value in ends.items()}

    copying = t_interval("data_copying_", -3, -1, least=-99, most=99)
    assert json.loads(json.dumps(summary)) == {
        "alpha": 0.05,
        "with_confidence": 0,
        "per_class": 0,
        "calibration": 100,
        "near_twins": 0.25,
        "labels_used": 0,
        "generated": 5,
        "dropped": 3,
        "dropped_share": 0.6,
        "classes": {
            "cat": {"generated": 3, "dropped": 2, "dropped_share": pytest.approx(2 / 3)},
            "dog": {"generated": 2, "dropped": 1, "dropped_share": 0.5},
            "eel": {"generated": 0, "dropped": 0, "dropped_share": 0.0},
        },
        "false_positive_rate": {"rate": 0.05, "low": pytest.approx(plain.low), "high": pytest.approx(plain.high)},
        "false_positive_rate_blurred": {
            "rate": 0.12,
            "low": pytest.approx(blurred.low),
            "high": pytest.approx(blurred.high),
        },
        "planted": {"exact": {"detected": 0.85, "copies": 20, "auc": 0.75}},
        "attacks": {
            "before": {
                "distance": {"auc": 0.5, "detected": 0.375, **t_interval("", 0.75, 0.25)}
                | t_interval("detected_", 0.5, 0.25)
            },
            "after": {
                "distance": {"auc": 0.5, "low": 0.5, "high": 0.5}
            },  # one replicate has no share: a mean over the others would be about less
        },
        "set_level": {
            "before": {
                "data_copying_z": -2.0,
                **copying,
                "authentic": 0.375,
                "authentic_fresh": 0.75,
                "copied": {"cat": 0.375, "dog": 0.5},
            },
            "after": {
                "data_copying_z": -2.0,
                "data_copying_low": -2.0,
                "data_copying_high": -2.0,
                "authentic": 0.625,
                "authentic_fresh": 0.75,
                "copied": {"cat": 0.0625, "dog": 0.25},
            },
        },
    }


def test_of_a_single_replicate_its_own_intervals_are_told() -> None:
    both = {when: exposure(0.75, 0.5, 0.25, {0: 0.5}) for when in ("before", "after")}
    summary = summarise(
        table([0], [False]), [an_audit({"fresh": 4, "fresh_blurred": 9}, exposures=both)], ["cat"], PARAMS
    )
    attack = {"auc": 0.75, "low": 0.625, "high": 0.875, "detected": 0.5, "detected_low": 0.25, "detected_high": 1.0}
    assert summary["attacks"]["after"]["distance"] == attack
    level = summary["set_level"]["after"]
    assert [level[f"data_copying_{end}"] for end in ("low", "high")] == pytest.approx([-4.96, -1.04])


def test_the_summary_names_the_mode() -> None:
    params = PARAMS.model_copy(update={"guarantee": "with_confidence", "thresholds": "per_class"})
    summary = summarise(table([0], [False]), [an_audit({"fresh": 1, "fresh_blurred": 1})], ["cat"], params)
    assert (summary["with_confidence"], summary["per_class"], summary["labels_used"]) == (1, 1, 100)


def test_what_a_replicate_could_not_measure_is_left_out_of_the_summary() -> None:
    """The second replicate had too few calibration images: no rate, no area, no attack."""
    both = {"before": exposure(0.75, 0.5, 0.25, {0: 0.5}), "after": exposure(0.5, 0.5, 0.5, {0: 0.5})}
    measured = an_audit({"fresh": 4, "fresh_blurred": 9}, exposures=both)
    full_conformal, decisions = an_audit(None, Detection(10, 8, None)), table([0, 0, 0], [True, False, False])
    summary = summarise(decisions, [measured, full_conformal], ["cat"], PARAMS)
    assert summary["calibration"] == 0
    assert summary["planted"] == {"exact": {"detected": 0.9, "copies": 20, "auc": 1.0}}
    assert not {"false_positive_rate", "false_positive_rate_blurred", "attacks", "set_level"} & set(summary)
    alone = summarise(decisions, [full_conformal], ["cat"], PARAMS)
    assert alone["planted"] == {"exact": {"detected": 0.8, "copies": 10}}


@pytest.mark.parametrize(("resembling", "publishable"), [(2, 1), (6, 1), (10, 1), (12, 0), (40, 0)])
def test_likeness_to_the_own_source_is_counted_among_images_that_have_one(resembling: int, publishable: int) -> None:
    """80 images of 40 sources: the interval is that of 40 images, and clearly above alpha are 6 of these."""
    own, ids = np.arange(100) < resembling, [f"s{row // 2}" for row in range(80)] + [""] * 20
    decisions = table(np.zeros(100, dtype=int), np.zeros(100, dtype=bool), own, ids)
    found = summarise(decisions, [an_audit()], ["cat"], PARAMS)["own_source"]
    interval = binomtest(round(resembling / 2), 40).proportion_ci(0.95, method="exact")
    assert json.loads(json.dumps(found)) == {
        "images": 80,
        "resembling": resembling,
        "share": resembling / 80,
        "low": pytest.approx(interval.low),
        "high": pytest.approx(interval.high),
        "publishable": publishable,
    }
    assert "own_source" not in summarise(decisions[80:], [an_audit()], ["cat"], PARAMS)


def test_copies_of_members_give_them_away_until_they_are_dropped(
    labelled_digits: tuple[torch.Tensor, NDArray[np.int64]],
) -> None:
    images, labels = labelled_digits
    seen, calibration = images[:300], images[300:450]
    generated, classes = torch.cat([seen[:150], images[450:750]]), np.concatenate([labels[:150], labels[450:750]])
    decisions, result = audited(seen, calibration, generated, classes)
    assert (decisions["reason"][:150] != "").all()
    assert result.calibrated_by == {f"i{row}" for row in range(150)}
    before, after = result.exposure["before"], result.exposure["after"]
    for name in ("distance", "domias"):
        assert before.attacks[name].auc.value > after.attacks[name].auc.value
    assert before.attacks["distance"].auc.low > 0.5
    assert before.attacks["distance"].detected.value > after.attacks["distance"].detected.value
    assert before.set_level.data_copying_z < min(after.set_level.data_copying_z, -3)
    assert before.set_level.authentic < after.set_level.authentic
    assert all(before.set_level.copied[label] > after.set_level.copied[label] for label in range(10))


def test_a_gan_overfitted_to_fifty_images_is_caught_and_the_summary_says_so(
    labelled_digits: tuple[torch.Tensor, NDArray[np.int64]],
) -> None:
    """Nine in ten of its images are what it saw, moved or noisy; the others are fresh."""
    images, labels = labelled_digits
    rng, memorised = np.random.default_rng(0), np.arange(180) % 50
    copies = images[torch.from_numpy(memorised)]
    slightly = (copies + torch.from_numpy(rng.normal(0, 8, copies.shape))).round().clamp(0, 255).to(torch.uint8)
    generated = torch.cat([slightly[:60], shift(copies[60:120], rng), noise(copies[120:], rng), images[800:820]])
    classes = np.concatenate([labels[memorised], labels[800:820]])
    decisions, result = audited(images[:50], images[300:500], generated, classes)
    dropped = decisions["reason"] != ""
    assert dropped[:120].all()
    assert dropped[120:180].mean() > 0.7
    assert dropped[180:].mean() <= 0.2
    summary = summarise(decisions, [result], CLASSES, PARAMS)
    assert summary["generated"] == 200
    assert summary["dropped_share"] > 0.8
    assert min(numbers["dropped_share"] for numbers in summary["classes"].values()) > 0.5
    assert summary["planted"]["exact"] == {"detected": 1.0, "copies": 20, "auc": 1.0}
    before, after = (summary["attacks"][when]["distance"] for when in ("before", "after"))
    assert before["auc"] > 0.9
    assert after["auc"] < before["auc"]
    assert summary["set_level"]["before"]["data_copying_z"] < -5
    _check_numbers(json.loads(json.dumps(summary)))


def _check_numbers(values: object) -> None:
    """Nested dictionaries of finite numbers, so that `dvc metrics diff` can read them."""
    if isinstance(values, dict):
        for value in values.values():
            _check_numbers(value)
    else:
        assert isinstance(values, int | float)
        assert np.isfinite(values)


def test_the_same_seed_and_replicate_expose_the_same() -> None:
    filter_ = MemorizationFilter(Originals(random_images(40, 0), random_images(30, 1), False), PARAMS)
    generated, labels, dropped = random_images(50, 2), np.zeros(50, dtype=np.int64), np.arange(50) < 5
    first = expose(filter_, generated, labels, dropped, 3)
    assert expose(filter_, generated, labels, dropped, 3) == first
    other = expose(filter_, generated, labels, dropped, 4)
    assert other["before"].attacks["domias"] != first["before"].attacks["domias"]
    assert other["before"].attacks["distance"] == first["before"].attacks["distance"]


def test_where_nothing_is_dropped_before_is_after() -> None:
    filter_ = MemorizationFilter(Originals(random_images(40, 3), random_images(30, 4), False), PARAMS)
    labels = np.arange(50) % 2
    found = expose(filter_, random_images(50, 5), labels, np.zeros(50, dtype=bool), 0)
    assert set(found) == {"before", "after"}
    assert found["before"] == found["after"]


def test_of_two_domains_the_target_is_attacked_alone() -> None:
    seen, held_out, generated = random_images(40, 3), random_images(30, 4), random_images(50, 5)
    both = torch.cat([255 - random_images(40, 6), seen])
    of_source = np.arange(80) < 40
    labels, dropped = np.arange(50) % 2, np.zeros(50, dtype=bool)
    one, two, mixed = (
        expose(
            MemorizationFilter(Originals(own, held_out, False, of_source=mask), PARAMS), generated, labels, dropped, 0
        )
        for own, mask in ((seen, None), (both, of_source), (both, None))
    )
    assert one["before"].attacks == two["before"].attacks != mixed["before"].attacks


@pytest.mark.parametrize(("held_out", "attacked"), [(0, False), (19, False), (20, True)])
def test_too_few_calibration_images_expose_nothing(held_out: int, attacked: bool) -> None:
    params = PARAMS.model_copy(update={"too_few": "full_conformal", "alpha": 0.04})
    filter_ = MemorizationFilter(Originals(random_images(60, 6), random_images(held_out, 7), False), params)
    found = expose(filter_, random_images(30, 8), np.zeros(30, dtype=np.int64), np.zeros(30, dtype=bool), 0)
    assert bool(found) == attacked


def test_many_frames_of_few_groups_expose_nothing() -> None:
    groups = [str(row // 5) for row in range(95)]
    originals = Originals(random_images(40, 9), random_images(95, 10), False, None, groups)
    filter_ = MemorizationFilter(originals, PARAMS)
    assert expose(filter_, random_images(30, 11), np.zeros(30, dtype=np.int64), np.zeros(30, dtype=bool), 0) == {}


def test_where_all_is_dropped_nothing_is_attacked() -> None:
    seen = random_images(40, 12)
    filter_ = MemorizationFilter(Originals(seen, random_images(30, 13), False), PARAMS)
    assert expose(filter_, seen, np.zeros(40, dtype=np.int64), np.ones(40, dtype=bool), 0) == {}


def test_of_many_images_those_at_equal_distances_are_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, calibration, generated = random_images(59, 14), random_images(49, 15), random_images(40, 16)
    labels, dropped = np.zeros(40, dtype=np.int64), np.arange(40) < 10
    few = MemorizationFilter(Originals(seen[::2], calibration[::2], False), PARAMS)
    expected = expose(few, generated, labels, dropped, 0)
    monkeypatch.setattr(audit, "MOST_MEMBERS", 30)
    monkeypatch.setattr(audit, "MOST_NON_MEMBERS", 25)
    many = MemorizationFilter(Originals(seen, calibration, False), PARAMS)
    assert expose(many, generated, labels, dropped, 0) == expected


@given(count=st.integers(0, 3000), most=st.integers(2, 500))
def test_evenly_spaced_indices_are_as_many_as_allowed_at_equal_distances_from_first_to_last(
    count: int, most: int
) -> None:
    indices = evenly_spaced(count, most)
    assert len(indices) == min(count, most)
    if count <= most:
        assert indices.tolist() == list(range(count))
    else:
        assert (indices[0], indices[-1]) == (0, count - 1)
        gaps = np.diff(indices)
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1
