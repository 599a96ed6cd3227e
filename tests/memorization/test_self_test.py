from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from stages.memorization.filtering import MemorizationFilter, Originals
from stages.memorization.planted import KINDS, MIRRORED, blur, planted
from stages.memorization.self_test import SelfTest, run_self_test
from tests.memorization.toy import PARAMS, make, random_images


def self_test(digits: torch.Tensor, seed: int = 0, replicate: int = 0) -> SelfTest:
    """Of few digits, so that luck decides much."""
    return run_self_test(make(digits[:100], digits[600:660], alpha=0.1, seed=seed), replicate)


def test_planted_copies_are_found(digits: torch.Tensor) -> None:
    result = run_self_test(make(digits[:600], digits[600:800], flip_ok=True), replicate=0)
    assert set(result.planted) == set(KINDS)
    assert all(detection.copies == 20 for detection in result.planted.values())
    for kind in ("exact", "shift", "flip", "contrast", "flip_contrast"):
        assert result.planted[kind].detected == 20
        assert result.planted[kind].auc == pytest.approx(1, abs=2e-3)
    assert result.planted["exact"].auc == 1
    for kind in ("noise", "brightness", "jpeg", "blur", "rotation", "mix"):
        assert result.planted[kind].detected >= 16
        assert 0.9 < result.planted[kind].auc <= 1
    assert result.calibration == 200


def test_mirrored_copies_are_planted_only_where_they_count() -> None:
    result = run_self_test(make(random_images(30, 3), random_images(40, 4)), replicate=0)
    assert set(result.planted) == set(KINDS) - set(MIRRORED)


def test_of_few_seen_images_all_are_planted_and_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []

    def recording(images: torch.Tensor, *rest: Any) -> dict[str, torch.Tensor]:
        chosen.append(images)
        return planted(images, *rest)

    monkeypatch.setattr("stages.memorization.self_test.planted", recording)
    different = random_images(12, 5)
    result = run_self_test(make(different.repeat(3, 1, 1, 1), random_images(40, 6)), replicate=0)
    assert {detection.copies for detection in result.planted.values()} == {12}
    assert sorted(map(bytes, chosen[0].numpy())) == sorted(map(bytes, different.numpy()))


def test_detections_never_outnumber_copies_and_areas_are_shares(digits: torch.Tensor) -> None:
    planted = self_test(digits).planted
    for detection in planted.values():
        assert 0 <= detection.detected <= detection.copies == 20
        assert 0.5 < detection.auc <= 1
    assert min(detection.auc for detection in planted.values()) < 1


def test_the_same_seed_and_replicate_give_the_same_test_and_others_another(digits: torch.Tensor) -> None:
    first = self_test(digits)
    assert self_test(digits) == first
    for others in (
        [self_test(digits, seed=each) for each in (1, 2)],
        [self_test(digits, replicate=each) for each in (1, 2)],
    ):
        assert all(other.planted != first.planted for other in others)
        assert any(other.false_positives != first.false_positives for other in others)


def test_the_threshold_that_judges_copies_is_the_filters_own(digits: torch.Tensor) -> None:
    """At an alpha this small only what scores below all calibration images is dropped."""
    filter_ = make(digits[:200], digits[600:700], alpha=0.01, planted_copies=50)
    planted = run_self_test(filter_, replicate=0).planted
    assert planted["exact"].detected == 50
    lenient = run_self_test(make(digits[:200], digits[600:700], alpha=0.2, planted_copies=50), replicate=0).planted
    assert all(planted[kind].detected <= lenient[kind].detected for kind in planted)
    assert sum(each.detected for each in planted.values()) < sum(each.detected for each in lenient.values())
    assert {kind: each.auc for kind, each in planted.items()} == {kind: each.auc for kind, each in lenient.items()}


def test_negatives_are_dropped_as_often_as_thresholds_that_they_did_not_set_allow() -> None:
    """Over splits; each image is judged by four fifths of the others: at most floor(.1 * 65) / 65 of them."""
    false, trials = 0, 0
    for split in range(20):
        rng = np.random.default_rng((1, split))
        images = torch.from_numpy(rng.integers(0, 256, (130, 1, 6, 6), dtype=np.uint8))
        result = run_self_test(make(images[:50], images[50:], alpha=0.1, planted_copies=2, shift_pixels=0), split)
        assert set(result.false_positives) == {"fresh", "fresh_blurred"}
        false, trials = false + result.false_positives["fresh"], trials + result.calibration
    assert trials == 1600
    assert binomtest(false, trials, 0.1, alternative="greater").pvalue > 0.001
    assert binomtest(false, trials, 6 / 65).pvalue > 0.001


def test_blurred_negatives_are_judged_by_the_sharp_images_of_other_folds(digits: torch.Tensor) -> None:
    """Blurred they are more suspicious, which would not show if blurred images set the threshold."""
    seen, calibration = digits[:300], digits[600:700]
    filter_ = make(seen, calibration, alpha=0.1)
    result = run_self_test(filter_, replicate=2)
    folds, _ = np.random.SeedSequence((0, 2)).spawn(2)
    sharp = filter_.calibration_scores
    soft = filter_.likeness.of(blur(calibration, np.random.default_rng(0))).score
    expected = 0
    for fold in np.array_split(np.random.default_rng(folds).permutation(100), 5):
        threshold = np.sort(np.delete(sharp, fold))[7]  # floor(.1 * 81) = 8 ranks may be dropped
        expected += int((soft[fold] < threshold).sum())
    assert result.false_positives["fresh_blurred"] == expected
    assert expected != result.false_positives["fresh"]


def test_negatives_are_judged_by_their_own_class_where_the_filter_does_so() -> None:
    """Class 0 is half copied from what was seen: where all classes share a threshold, it takes all drops."""
    seen, labels = random_images(60, 7), np.repeat([0, 1], 60)
    near = seen // 2 + random_images(60, 8) // 2
    originals = Originals(seen, torch.cat([near, random_images(60, 9)]), False, None, None, labels)
    filter_ = MemorizationFilter(originals, PARAMS.model_copy(update={"alpha": 0.1, "thresholds": "per_class"}))
    folds, _ = np.random.SeedSequence((0, 5)).spawn(2)
    scores, expected = filter_.calibration_scores, 0
    for fold in np.array_split(np.random.default_rng(folds).permutation(120), 5):
        for label in (0, 1):
            own = np.sort(scores[np.setdiff1d(np.flatnonzero(labels == label), fold)])
            rank = (len(own) + 1) // 10
            expected += int((scores[fold[labels[fold] == label]] < own[rank - 1]).sum())
    assert run_self_test(filter_, replicate=5).false_positives["fresh"] == expected
    assert expected > 0


def test_of_grouped_calibration_images_those_that_calibrate_are_counted() -> None:
    groups = [str(row // 3) for row in range(120)]
    originals = Originals(random_images(30, 10), random_images(120, 11), False, None, groups)
    result = run_self_test(MemorizationFilter(originals, PARAMS), replicate=0)
    assert result.calibration == 40
    assert max(result.false_positives.values()) <= 40


def test_under_full_conformal_prediction_copies_are_tested_and_no_false_positives_measured(
    digits: torch.Tensor,
) -> None:
    result = run_self_test(make(digits[:100], digits[800:810], too_few="full_conformal"), replicate=0)
    assert result.calibration == 0
    assert result.false_positives == {}
    assert all(detection.auc is None for detection in result.planted.values())
    for kind in ("exact", "shift", "contrast"):
        assert result.planted[kind].detected == 20
