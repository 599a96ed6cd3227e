"""How far a run has come, and how long the rest may take, told from how long its steps took so far and before. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

PER_GENERATOR = ("train_gan", "generate", "filter_memorized")


@dataclass(frozen=True)
class Took:
    """How long a step took when it last ran, and the time before that, if any; ended: seconds since the epoch."""

    seconds: float
    ended: float
    before: float | None = None


def steps(generators: Iterable[str], arms: Iterable[str]) -> list[str]:
    """All steps of a run in the order in which DVC runs them: `stage`, or `stage@item`."""
    generators = list(generators)
    of_generators = [f"{stage}@{generator}" for stage in PER_GENERATOR for generator in generators]
    return ["prepare", *of_generators, *(f"train_downstream@{arm}" for arm in arms), "evaluate"]


def seconds_left(order: Sequence[str], done: str, took: Mapping[str, Took], started: float) -> float | None:
    """Seconds that the steps behind `done` would take if all of them ran; None where that cannot be told.

    A step that ever ran is expected to take what it took, and as much longer as those of its stage take in this run;
    another one the mean of those of its stage, in this run if there are any. `evaluate`, where it never ran, is taken
    for one arm's training, about what it costs by default. Of a stage that never ran nothing can be told, for what one
    takes says nothing of another.

    took: of all steps that ever ran. started: when this run began, since the epoch.
    """
    expected = [_expected(step, took, started) for step in order[order.index(done) + 1 :]]
    return None if None in expected else sum(each for each in expected if each is not None)


def _expected(step: str, took: Mapping[str, Took], started: float) -> float | None:
    stage = step.partition("@")[0]
    if step in took:
        again = [each for each in _peers(stage, took) if each.before and each.ended > started]
        slower = sum(each.seconds for each in again) / sum(each.before or 0 for each in again) if again else 1
        return took[step].seconds * slower
    peers = _peers("train_downstream" if stage == "evaluate" else stage, took)
    peers = [each for each in peers if each.ended > started] or peers
    return fmean(each.seconds for each in peers) if peers else None


def _peers(stage: str, took: Mapping[str, Took]) -> list[Took]:
    """The stage's steps."""
    return [each for step, each in took.items() if step.partition("@")[0] == stage]


def told(order: Sequence[str], done: str, took: Mapping[str, Took], started: float, now: float) -> str:
    """One line on how far a run has come; no estimate before its second minute."""
    place, so_far = f"step {order.index(done) + 1} of {len(order)}", duration(now - started)
    line = f"{done}: {duration(took[done].seconds)}; {place}, {so_far} so far"
    if done == order[-1]:
        return line
    left = seconds_left(order, done, took, started)
    if left is None:
        return f"{line}, no estimate yet of the rest"
    return f"{line}, about {duration(left)} to go if all others run" if now - started >= 60 else line


def duration(seconds: float) -> str:
    """38 s, 4 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
