"""What every stage does around its work: check parameters, fan out, write whole outputs, speak plainly, keep time."""

import errno
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import psutil

from stages.plumbing import code, pace, params, stale, workdir
from stages.plumbing.errors import UserError

TIMING = workdir.WORK / "timing"
LAST = "evaluate"  # the stage that answers
_DISK_TROUBLE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than allowed here",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}
Job = TypeVar("Job")
Result = TypeVar("Result")
Section = TypeVar("Section")


@dataclass
class StageRun:
    """One execution of a stage: its parameters, its code's digest, and the ways it may write.

    item: the generator or the arm that the stage runs for; "" where it runs once. preload: modules that all its
    processes get by one import. last_words: printed after all else.
    """

    name: str
    params: params.Params
    item: str = ""
    preload: Sequence[str] = ()
    cpu_seconds_of_workers: float = 0.0
    last_words: str = ""

    def __post_init__(self) -> None:
        self._code_at_start = self.code

    @property
    def label(self) -> str:
        """`stage`, or `stage@item`, as DVC names it."""
        return f"{self.name}@{self.item}" if self.item else self.name

    @property
    def code(self) -> str:
        """Digest of the stage's source files as they lie on disk now."""
        return code.digest(self._sources)

    @cached_property
    def _sources(self) -> list[Path]:
        return code.closure(Path(f"stages/{self.name}.py"), *self._kinds())

    def _kinds(self) -> list[Path]:
        """The kind of source or generator in use, which registries import by name, unseen by a closure."""
        prepare, generators = self.params.prepare, self.params.train_gan.generators
        match self.name:
            case "prepare":
                kinds = [f"sources/kinds/{source.kind}" for source in (prepare.source, prepare.shift.source)]
            case "train_gan" | "generate" if self.item in generators:
                kinds = [f"generators/kinds/{generators[self.item].kind}"]
            case _:
                kinds = []
        return [Path(f"stages/{kind}.py") for kind in kinds]

    def section(self, sections: Mapping[str, Section], key: str) -> Section:
        """The item's own section among those of `key` in params.yaml. Raises UserError when there is none."""
        if self.item not in sections:
            raise UserError(f"{self.item!r} is not in {key} ({', '.join(sections)}): name one of these")
        return sections[self.item]

    def refuse_changed_code(self) -> None:
        """DVC records the sources' hashes after the command ends, so sources edited meanwhile would lie."""
        if self.code != self._code_at_start:
            raise UserError("the stage's source files changed while it ran; nothing was written, run it again")

    def replacing(self, folder: Path) -> AbstractContextManager[Path]:
        """See `workdir.replacing`; refuses to replace when the code has changed since the start."""
        return workdir.replacing(folder, self.refuse_changed_code)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes `metrics/<stage>.json`, or `metrics/<stage>/<item>.json`."""
        self.refuse_changed_code()
        place = workdir.METRICS / self.name / self.item if self.item else workdir.METRICS / self.name
        workdir.write_json(place.with_suffix(".json"), metrics)

    def fan_out(
        self, work: Callable[[Job], Result], jobs: Sequence[Job], unit: str, show_bar: bool = True
    ) -> list[Result]:
        """The results of `work` over `jobs`, in order, from processes of one thread each (params.yaml: `parallel`).

        What the stage's jobs import is imported once for all processes.
        """
        from stages.plumbing.parallel import fan_out

        results, cpu_seconds = fan_out(work, jobs, self.params.parallel, self.label, unit, show_bar, self.preload)
        self.cpu_seconds_of_workers += cpu_seconds
        return results


def execute(name: str, work: Callable[[StageRun], None], item: str = "", preload: Sequence[str] = ()) -> None:
    """Runs a stage as a process: exit 0, or 1 after one clear message for what a user can mend, or 130 on Ctrl-C.

    `item` names one of a stage's `foreach` items. The same stage and item never run twice at once: the second waits.
    `preload`: what its jobs import.
    """
    label = f"{name}@{item}" if item else name
    # Two threads on tiny networks collapse when the machine is busy, and the number of threads changes the bytes.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # whether there is a GPU is asked before processes are split off
    if torch := sys.modules.get("torch"):  # a stage that imports it itself did so before these were set
        torch.set_num_threads(1)
    try:
        with workdir.alone(Path(label)):
            run = StageRun(name, params.load(), item, preload)
            work(run)
            if name != LAST:
                stale.remove_former_answers(name, run.params)
            _write_timing(run)
            _tell_pace(run)
            if run.last_words:
                print(run.last_words)  # noqa: T201
    except UserError as error:
        _stop(name, str(error), 1)
    except KeyboardInterrupt:
        _stop(name, "interrupted; finished replicates are kept, run it again to go on", 130)
    except OSError as error:
        trouble = _DISK_TROUBLE.get(error.errno or 0)
        if trouble is None:
            raise
        _stop(name, f"cannot write {error.filename or 'an output'}: {trouble}. Run it again once that is mended", 1)


def _stop(name: str, message: str, status: int) -> None:
    print(f"{name}: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(status)


def _write_timing(run: StageRun) -> None:
    """Seconds since the process began, its imports included; before: those of the time before."""
    seconds = time.time() - psutil.Process().create_time()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = usage.ru_utime + usage.ru_stime + run.cpu_seconds_of_workers
    record = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}
    place = TIMING / f"{run.label}.json"
    before = {"before": workdir.read_json(place)["seconds"]} if place.exists() else {}
    workdir.write_json(place, record | before)


def _tell_pace(run: StageRun) -> None:
    """One line on standard error about the whole run, where DVC runs the stage."""
    dvc = [each.create_time() for each in psutil.Process().parents() if _is_dvc(each)]
    if dvc:
        order = pace.steps(run.params.train_gan.generators, run.params.train_downstream.arms)
        forecast = workdir.read_json(workdir.FORECAST) if workdir.FORECAST.exists() else {}
        print(pace.told(order, run.label, dict(_took()), dvc[0], time.time(), forecast), file=sys.stderr)  # noqa: T201


def _is_dvc(process: psutil.Process) -> bool:
    try:
        return any(Path(part).name == "dvc" for part in process.cmdline()[:3])
    except psutil.Error:
        return False


def _took() -> Iterator[tuple[str, pace.Took]]:
    for path in TIMING.glob("*.json"):
        record = workdir.read_json(path)
        yield path.stem, pace.Took(record["seconds"], path.stat().st_mtime, record.get("before"))


def timings() -> Iterator[tuple[str, float, float]]:
    """(stage, seconds, CPU seconds) of each stage's last run."""
    for path in sorted(TIMING.glob("*.json"), key=lambda each: each.stat().st_mtime):
        record = workdir.read_json(path)
        yield path.stem, record["seconds"], record["cpu_seconds"]
