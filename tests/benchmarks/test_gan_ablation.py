"""Each change is made, and is gone afterwards."""

from typing import Any

import pytest

from benchmarks import gan_ablation
from benchmarks.gan_ablation import CHANGES, DEFAULT, _fits
from benchmarks.gan_sets import GanSet
from benchmarks.reference_generators import Sampler
from stages.generators import adversarial, refining
from stages.generators.two_judges import TwoJudges
from tests.benchmarks.toy import make_set


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each fit was asked for, and what it found in the code."""
    noted: list[dict[str, Any]] = []

    def ours(kind: str, **changes: Any) -> Any:
        def fit(_: GanSet, seed: int) -> tuple[Sampler, int]:
            code = {"together": TwoJudges.together, "measure": adversarial.measure, "blocks": refining.BLOCKS}
            noted.append({"kind": kind} | code | changes)
            return lambda _count, _seed: (None, None), seed

        return fit

    monkeypatch.setattr(gan_ablation, "ours", ours)
    return noted


@pytest.mark.parametrize("kind", CHANGES)
def test_no_two_changes_are_the_same_and_none_outlasts_its_training(kind: str, seen: list[dict[str, Any]]) -> None:
    before = TwoJudges.together, adversarial.measure, refining.BLOCKS
    fits = _fits(kind, {"steps": 100})
    for fit in fits.values():
        fit(make_set(), 0)
    assert (TwoJudges.together, adversarial.measure, refining.BLOCKS) == before
    assert next(iter(fits)) == DEFAULT
    default = seen[0]
    assert default == {"kind": kind, "steps": 100} | dict(zip(("together", "measure", "blocks"), before, strict=True))
    assert len({str(sorted(each.items(), key=str)) for each in seen}) == len(seen)


def test_steps_are_changed_from_those_asked_for(seen: list[dict[str, Any]]) -> None:
    fits = _fits("refined_gaussian", {"steps": 100})
    for name in ("half the steps", "twice the steps"):
        fits[name](make_set(), 0)
    assert [each["steps"] for each in seen] == [50, 200]
