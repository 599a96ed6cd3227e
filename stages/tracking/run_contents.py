"""What the files say about each run, in the form in which MLflow shows it: parameters, curves, tags, a note."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from stages.plumbing import workdir
from stages.plumbing.dataset import Dataset

MOST_POINTS = 200
_ARM_FACTS = ("labels_used", "trained_on_labels", "synthetic_images", "pseudo_labels", "steps")
_MEASURES = ("accuracy", "balanced_accuracy", "macro_f1", "validation")

Json = Mapping[str, Any]
# metric -> its points (step, value)
Curves = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Content:
    """What a run holds beside its artifacts. Parameters are logged as text."""

    params: Mapping[str, Any] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFacts:
    """A data set that a run used. digest: at most 36 characters; context: `real` or `synthetic`."""

    name: str
    path: str
    digest: str
    context: str
    profile: Mapping[str, Any]


def flatten(tree: Json, separator: str = ".") -> dict[str, Any]:
    """Nested keys joined by the separator; lists become JSON."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}{separator}{inner}": leaf for inner, leaf in flatten(value, separator).items()}
        else:
            flat[key] = json.dumps(value) if isinstance(value, list) else value
    return flat


def curves(history: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[int, float]]]:
    """Records {step, metric: value, ...} as a curve per metric, of at most MOST_POINTS points, the last one kept."""
    stride = -(-len(history) // MOST_POINTS) or 1
    kept = list(history[::-1][::stride])[::-1]
    names = dict.fromkeys(name for record in kept for name in record if name != "step")
    return {name: [(int(record["step"]), record[name]) for record in kept if name in record] for name in names}


def mean_history(histories: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Mean records over the replicates, of the steps and, at each, the metrics that every replicate has."""
    by_step = [{record["step"]: record for record in history} for history in histories]
    shared = sorted(set.intersection(*map(set, by_step))) if by_step else []
    at_each = [[records[step] for records in by_step] for step in shared]
    return [
        {
            name: fmean(record[name] for record in records)
            for name in records[0]
            if all(name in each for each in records)
        }
        for records in at_each
    ]


def points(values: Mapping[Any, Any]) -> Curves:
    """Single numbers as curves of one point; what is no finite number is left out."""
    return {
        name: [(0, float(value))]
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def gan_replicate(replicate: int, gan: Json) -> Content:
    """One replicate's GAN, from its gan.json."""
    return Content({"replicate": replicate}, _gan_curves(gan["history"], gan["curve"], gan["quality"]))


def gan_parent(params: Json, gans: Sequence[Json]) -> Content:
    """All replicates' GANs: mean curves and mean quality."""
    history, curve = (mean_history([gan[name] for gan in gans]) for name in ("history", "curve"))
    quality = pd.DataFrame([gan["quality"] for gan in gans]).mean().to_dict()
    note = (
        f"GANs of {len(gans)} replicates, one nested run each; the curves and figures here are their means. "
        "`snapshots/...` are the scores of the snapshots that there was to choose from, the same names without it "
        "those of the snapshot that was kept."
    )
    return Content(flatten({"train_gan": params}), _gan_curves(history, curve, quality), {"mlflow.note.content": note})


def _gan_curves(
    history: Sequence[Mapping[str, float]], curve: Sequence[Mapping[str, float]], quality: Mapping[Any, Any]
) -> Curves:
    """Losses by step, snapshots' scores by step, and single numbers; a measure with a curve needs no single number."""
    snapshots = {f"snapshots/{name}": values for name, values in curves(curve).items()}
    return {**points(quality), **snapshots, **curves(history)}


def comparison_parent(
    params: Json, numbers: Json, scores: pd.DataFrame, privacy: Json, seconds: Mapping[str, float]
) -> Content:
    """The comparison as a whole.

    params: all sections of params.yaml; numbers, privacy: metrics/evaluate.json and metrics/filter_memorized.json;
    scores: a row per arm and replicate; seconds: per stage.
    """
    measure = params["evaluate"]["contrast"]["measure"]
    values: dict[str, Any] = {}
    for arm, rival, difference in _differences(numbers, measure):
        for statistic, value in difference.items():
            heading = "difference" if statistic == "mean" else f"difference_{statistic}"
            values[f"{heading}/{arm}_vs_{rival}"] = value
    for arm, measures in numbers["arms"].items():
        for name, summary in measures.items():
            values[f"{name}/{arm}"] = summary["mean"]
    values |= {f"validation/{arm}": score for arm, score in scores.groupby("arm")["validation"].mean().items()}
    values |= flatten({key: numbers[key] for key in ("replicates", "labels_used")}, "/")
    values |= flatten({"filter_memorized": _of_all_classes(privacy)}, "/")
    values |= {f"seconds/{stage.replace('@', '/')}": spent for stage, spent in seconds.items()}
    tags = {
        "understudy.verdict": numbers["verdict"]["outcome"],
        "mlflow.note.content": comparison_note(numbers, measure),
    }
    return Content(flatten(params), points(values), tags)


def _of_all_classes(privacy: Json) -> dict[str, Any]:
    """Without the numbers of single classes: a class may have a name that no metric can have."""
    kept = ((key, value) for key, value in privacy.items() if key not in ("classes", "copied"))
    return {key: _of_all_classes(value) if isinstance(value, Mapping) else value for key, value in kept}


def comparison_child(arm: str, params: Json, facts: Json, score: Mapping[Any, Any]) -> Content:
    """One arm and replicate. params: the arm's own; facts: its arm.json; score: its row of metrics/scores.csv."""
    replicate = int(score["replicate"])
    own = {name: facts[name] for name in _ARM_FACTS}
    policy = {name: value for name, value in params.items() if name != "settings"}
    setting = facts["settings"][facts["chosen"]]
    return Content(
        flatten({"arm": arm, "replicate": replicate, **policy, **setting, **own}),
        {**curves(facts["history"][str(replicate)]), **points({name: score[name] for name in _MEASURES})},
    )


def comparison_note(numbers: Json, measure: str) -> str:
    """The verdict and the tables behind it, in Markdown; shares as percentages, differences as percentage points."""
    name = measure.replace("_", " ")
    lines = [numbers["verdict"]["sentence"], "", f"| arm | {name}, % | deviation |", "|---|---|---|"]
    for arm, measures in numbers["arms"].items():
        summary = measures[measure]
        lines.append(f"| {arm} | {100 * summary['mean']:.1f} | {_times_100(summary.get('std'), '.1f')} |")
    lines += ["", f"| difference in {name} | points | from | to | p (Holm) |", "|---|---|---|---|---|"]
    for arm, rival, difference in _differences(numbers, measure):
        low, high = (_times_100(difference.get(end), "+.1f") for end in ("low", "high"))
        p = f"{difference['p_holm']:.3f}" if "p_holm" in difference else "exploratory"
        lines.append(f"| {arm} against {rival} | {100 * difference['mean']:+.1f} | {low} | {high} | {p} |")
    return "\n".join([*lines, "", "Artifacts: `report.html` is the whole report, `scores.csv` has every replicate."])


def best_classifier(scores: pd.DataFrame) -> tuple[str, int] | None:
    """Arm with the best mean validation score and its replicate with the best one; None where nothing was validated."""
    validated = scores.dropna(subset="validation")
    if validated.empty:
        return None
    arm = str(validated.groupby("arm", sort=False)["validation"].mean().idxmax())
    rows = validated[validated["arm"] == arm]
    return arm, int(rows["replicate"].to_numpy()[rows["validation"].argmax()])


def dvc_hashes(lock: Path) -> dict[str, str]:
    """Hash by path of what the stages before `evaluate` left in data/, from dvc.lock; empty without one.

    DVC records a stage's outputs after its command has ended, so `evaluate` cannot know its own.
    """
    if not lock.is_file():
        return {}
    stages = YAML(typ="safe", pure=True).load(lock.read_text(encoding="utf-8")).get("stages", {})
    outs = [out for name, stage in stages.items() if name != "evaluate" for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith("data/") and "md5" in out}


def real_data(dataset: Dataset, hashes: Mapping[str, str]) -> DataFacts:
    """The prepared real images."""
    files = [dataset.folder / "images.parquet"]
    profile = {"classes": len(dataset.classes), "shape": list(dataset.shape), "replicates": dataset.replicates}
    return _data_facts(dataset.name, dataset.folder, files, "real", profile, hashes)


def synthetic_data(dataset: Dataset, hashes: Mapping[str, str]) -> DataFacts:
    """The synthetic images that the filter kept, of all replicates."""
    folder = workdir.DATA / "filter_memorized"
    files = [folder / f"{replicate}.parquet" for replicate in range(dataset.replicates)]
    return _data_facts(f"{dataset.name}-synthetic", folder, files, "synthetic", {}, hashes)


def _data_facts(
    name: str, folder: Path, files: Iterable[Path], context: str, profile: Json, hashes: Mapping[str, str]
) -> DataFacts:
    files = list(files)
    digest = hashes.get(str(folder)) or workdir.fingerprint(*files)[:36]
    images = sum(pq.read_metadata(path).num_rows for path in files)
    return DataFacts(name, str(folder), digest, context, {"images": images, **profile})


def _differences(numbers: Json, measure: str) -> Iterator[tuple[str, str, Json]]:
    for arm, rivals in numbers["differences"].items():
        for rival, measures in rivals.items():
            yield arm, rival, measures[measure]


def _times_100(value: float | None, layout: str) -> str:
    return "" if value is None else format(100 * value, layout)
