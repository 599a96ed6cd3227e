"""How `prepare` copes with many images: images per second beside plain PIL decoding, and memory of all its processes.

Photographs stand in as smooth random textures of 64x64 RGB, in a folder for each of ten classes. `python
-m benchmarks.prepare_scale` takes 20,000 images; `--images 200000` takes as many as the design asks for, and some time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from joblib import Parallel, delayed
from PIL import Image

from benchmarks import parameters

ROOT = Path(__file__).parents[1]
CLASSES, SIDE = 10, 64
PIL_SAMPLE = 5000  # images that plain decoding is timed on
SAMPLING_SECONDS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        project = _project(Path(folder).resolve(), count)
        plain = _plain_decoding(project / "data/raw/many")
        rows: dict[str, tuple[float, float | None]] = {"plain PIL, one process": (plain, None)}
        for name, distance in (("prepare, exact copies alone", 0.0), ("prepare, near copies too", 0.08)):
            _write_params(project, distance)
            rows[name] = _prepare(project, count)
    print(f"{count} images of {SIDE}x{SIDE} RGB, {psutil.cpu_count()} cores")
    print(f"{'':<30}{'images/s':>10}{'ratio':>8}{'peak GiB':>10}")
    for name, (rate, peak) in rows.items():
        print(f"{name:<30}{rate:>10.0f}{rate / plain:>8.2f}" + (f"{peak:>10.2f}" if peak else ""))
    measured = {name: {"ratio": round(rate / plain, 3), "peak_gib": peak} for name, (rate, peak) in rows.items()}
    print(json.dumps({"images": count} | measured))


def _project(folder: Path, count: int) -> Path:
    """The project's code and a source of `count` images."""
    (folder / "stages").symlink_to(ROOT / "stages")
    (folder / "data/raw/none").mkdir(parents=True)
    Parallel(n_jobs=-1)(delayed(_write_class)(folder / "data/raw/many", label, count) for label in range(CLASSES))
    return folder


def _write_class(root: Path, label: int, count: int) -> None:
    random = np.random.default_rng(label)
    folder = root / f"class {label}"
    folder.mkdir(parents=True)
    for index in range(count // CLASSES):
        texture = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        texture.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{index:06d}.png")


def _write_params(folder: Path, distance: float) -> None:
    changes = {
        "prepare.source": {"kind": "folder", "path": "data/raw/many"},
        "prepare.image.size": SIDE,
        "prepare.image.channels": "rgb",
        "prepare.near_duplicate_distance": distance,
        "parallel.jobs": psutil.cpu_count(),
    }
    (folder / "params.yaml").write_text(parameters.text(changes), encoding="utf-8")


def _plain_decoding(source: Path) -> float:
    """Images per second that one process opens and decodes, and does nothing with."""
    paths = sorted(source.rglob("*.png"))[:PIL_SAMPLE]
    started = time.perf_counter()
    for path in paths:
        with Image.open(path) as image:
            np.asarray(image.convert("RGB"))
    return len(paths) / (time.perf_counter() - started)


def _prepare(project: Path, count: int) -> tuple[float, float]:
    """Images per second of the whole stage, and the greatest memory of its processes together, in GiB."""
    started = time.perf_counter()
    stage = psutil.Popen([sys.executable, "-m", "stages.prepare"], cwd=project)
    peak = 0
    while stage.poll() is None:
        peak = max(peak, _memory(stage))
        time.sleep(SAMPLING_SECONDS)
    if stage.returncode:
        raise subprocess.CalledProcessError(stage.returncode, "stages.prepare")
    return count / (time.perf_counter() - started), round(peak / 2**30, 3)


def _memory(stage: psutil.Process) -> int:
    """Bytes that the process and its children have for themselves; what they share counts in part (PSS)."""
    total = 0
    for process in (stage, *stage.children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


if __name__ == "__main__":
    main()
