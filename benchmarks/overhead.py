"""What each stage costs beside its own work: start-up, reading, writing, tracking.

Every stage runs with one replicate and one step, in a copy of the project, and is held against a bare `import torch` in
the same run: `python -m benchmarks.overhead`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import parameters

ROOT = Path(__file__).parents[1]
ROUNDS = 3
PER_GENERATOR = ("train_gan", "generate", "filter_memorized")
STAGES = (
    "prepare",
    *(f"{stage} {name}" for name in ("gan", "gaussian") for stage in PER_GENERATOR),
    *(f"train_downstream {arm}" for arm in parameters.TWO_ARMS["train_downstream.arms"]),
    "evaluate",
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = _project(Path(folder) / "project")
        reference = min(_seconds(project, "-c", "import torch") for _ in range(ROUNDS))
        rows = {stage: _stage_seconds(project, stage) for stage in STAGES}
    print(f"{'':<32}{'seconds':>9}{'ratio':>8}")
    print(f"{'import torch':<32}{reference:>9.2f}{1:>8.2f}")
    for stage, seconds in rows.items():
        print(f"{stage:<32}{seconds:>9.2f}{seconds / reference:>8.2f}")
    print(json.dumps({stage: round(seconds / reference, 3) for stage, seconds in rows.items()}))


def _project(folder: Path) -> Path:
    """The project's code with parameters that leave a stage almost nothing to do."""
    for name in ("stages", "data/raw/digits", "data/raw/none"):
        shutil.copytree(ROOT / name, folder / name)
    changes = parameters.TWO_ARMS | {
        "prepare.replicates": 1,
        "train_gan.generators.gan.steps": 1,
        "train_downstream.classifier.steps": 1,
        "evaluate.bootstrap": 100,
        "parallel.jobs": 1,
    }
    (folder / "params.yaml").write_text(parameters.text(changes), encoding="utf-8")
    return folder


def _stage_seconds(project: Path, stage: str) -> float:
    """The best of several runs, with nothing kept from run to run but the artifacts."""
    seconds = []
    for _ in range(ROUNDS):
        shutil.rmtree(project / ".work", ignore_errors=True)
        seconds.append(_seconds(project, "-m", *f"stages.{stage}".split()))
    return min(seconds)


def _seconds(project: Path, *arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=project, check=True, capture_output=True)  # noqa: S603
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
