"""How far a run has come, and how long the rest may take, told from how long its steps took so far and before. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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


def seconds_left(
    order: Sequence[str], done: str, took: Mapping[str, Took], started: float, forecast: Mapping[str, float]
) -> float | None:
    """Seconds that the steps behind `done` would take if all of them ran; None where that cannot be told.

    A step that ever ran is expected to take what it took, and as much longer as those of its stage take in this run;
    another one what was forecast, and as much longer as the steps of this run took than theirs.

    took: of all steps that ever ran. started: when this run began, since the epoch. forecast: seconds by step.
    """
    run = [(took[step].seconds, forecast[step]) for step in took.keys() & forecast if took[step].ended > started]
    slower = sum(seconds for seconds, _ in run) / sum(seconds for _, seconds in run) if run else 1
    rest = order[order.index(done) + 1 :]
    expected = [
        _again(step, took, started) if step in took else forecast[step] * slower if step in forecast else None
        for step in rest
    ]
    return None if None in expected else sum(each for each in expected if each is not None)


def _again(step: str, took: Mapping[str, Took], started: float) -> float:
    stage = step.partition("@")[0]
    peers = [each for other, each in took.items() if other.partition("@")[0] == stage]
    again = [each for each in peers if each.before and each.ended > started]
    slower = sum(each.seconds for each in again) / sum(each.before or 0 for each in again) if again else 1
    return took[step].seconds * slower


def told(
    order: Sequence[str],
    done: str,
    took: Mapping[str, Took],
    started: float,
    now: float,
    forecast: Mapping[str, float],
) -> str:
    """One line on how far a run has come; no estimate before its second minute."""
    place, so_far = f"step {order.index(done) + 1} of {len(order)}", duration(now - started)
    line = f"{done}: {duration(took[done].seconds)}; {place}, {so_far} so far"
    if done == order[-1]:
        return line
    left = seconds_left(order, done, took, started, forecast)
    if left is None:
        return f"{line}, no estimate yet of the rest"
    return f"{line}, about {duration(left)} to go if all others run" if now - started >= 60 else line


def duration(seconds: float) -> str:
    """38 s, 4 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
