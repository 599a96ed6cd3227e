"""What the files say about each run, in the form in which MLflow shows it: parameters, curves, tags, data sets."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from stages.plumbing import workdir

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import DatasetInput

MOST_POINTS = 200
_ARM_FACTS = ("labels_used", "trained_on_labels", "synthetic_images", "pseudo_labels", "steps")
_MEASURES = ("accuracy", "balanced_accuracy", "macro_f1", "validation")

Json = Mapping[Any, Any]
Curves = dict[str, list[tuple[int, float]]]  # metric -> its points (step, value)


@dataclass(frozen=True)
class Content:
    """What a run holds beside its artifacts. Parameters are logged as text."""

    params: Mapping[str, Any] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def flatten(tree: Json, separator: str = ".") -> dict[str, Any]:
    """Nested keys joined by the separator."""
    import pandas as pd

    return {
        str(key): value for key, value in pd.json_normalize(dict(tree), sep=separator).to_dict("records")[0].items()
    }


def curves(*histories: Sequence[Json]) -> Curves:
    """Records {step, measure: value, ...} as a curve for each measure, of at most MOST_POINTS points up to the last.

    Of several histories it is the mean, at the steps and of the measures that all of them have. Values that are no
    finite numbers are left out.
    """
    tables = [
        {(name, record["step"]): value for record in history for name, value in record.items() if _is_number(value)}
        for history in histories
    ]
    found: Curves = {}
    for name, step in sorted(set.intersection(*map(set, tables)), key=lambda each: each[1]):
        if name != "step":
            found.setdefault(name, []).append((step, fmean(table[name, step] for table in tables)))
    return {name: values[:: -len(values) // MOST_POINTS][::-1] for name, values in found.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def points(values: Json) -> Curves:
    """Single numbers as curves of one point."""
    return curves([{"step": 0, **values}])


def training(*histories: Json) -> Curves:
    """One replicate's history.json, or the means of several: losses by step, measures of samples by step, quality.

    A measure with a curve needs no single number.
    """
    losses, samples = (curves(*(each[name] for each in histories)) for name in ("history", "curve"))
    quality = curves(*([{"step": 0, **each["quality"]}] for each in histories))
    return {**quality, **{f"samples/{name}": values for name, values in samples.items()}, **losses}


def comparison(
    params: Json, numbers: Json, scores: "pd.DataFrame", privacy: Json, seconds: Mapping[str, float]
) -> Content:
    """The comparison as a whole.

    params: all sections of params.yaml; numbers: metrics/evaluate.json; privacy: of each generator what
    metrics/filter_memorized has; scores: a row per arm and replicate; seconds: per stage.
    """
    measure = params["evaluate"]["measure"]
    measure = measure if isinstance(measure, str) else "sensitivity_at_specificity"
    shown: dict[str, Any] = {
        "difference": {
            f"{arm}_vs_{rival}": measures[measure]
            for arm, rivals in numbers["differences"].items()
            for rival, measures in rivals.items()
        },
        "validation": scores.groupby("arm")["validation"].mean().to_dict(),
        "replicates": numbers["replicates"],
        "labels_used": numbers["labels_used"],
        "filter_memorized": {generator: _of_all_classes(found) for generator, found in privacy.items()},
        "seconds": {stage.replace("@", "/"): spent for stage, spent in seconds.items()},
    }
    for arm, measures in numbers["arms"].items():
        for name, summary in measures.items():
            shown.setdefault(name, {})[arm] = summary["mean"]
    answers = numbers["answers"]
    note = [
        *(f"{each['answer']}. {each['sentence']}" for each in answers.values()),
        "",
        f"| arm | {measure.replace('_', ' ')}, % |",
        "|---|---|",
    ]
    note += [f"| {arm} | {100 * measures[measure]['mean']:.1f} |" for arm, measures in numbers["arms"].items()]
    note += ["", "Artifacts: `report.html` is the whole report, `scores.csv` has every replicate."]
    tags = {f"understudy.{name}": each["outcome"] for name, each in answers.items()}
    tags |= {"mlflow.note.content": "\n".join(note)}
    return Content(flatten(params), points(flatten(shown, "/")), tags)


def _of_all_classes(privacy: Json) -> dict[str, Any]:
    """Without the numbers of single classes: a class may have a name that no metric can have."""
    kept = ((key, value) for key, value in privacy.items() if key not in ("classes", "copied"))
    return {key: _of_all_classes(value) if isinstance(value, Mapping) else value for key, value in kept}


def arm_replicate(arm: str, params: Json, facts: Json, score: Json) -> Content:
    """One arm and replicate. params: the arm's own; facts: its arm.json; score: its row of metrics/scores.csv."""
    replicate = int(score["replicate"])
    policy = {name: value for name, value in params.items() if name != "settings"}
    own = {name: facts[name] for name in _ARM_FACTS}
    setting = facts["settings"][facts["chosen"]]
    return Content(
        flatten({"arm": arm, "replicate": replicate, **policy, **setting, **own}),
        {**curves(facts["history"][str(replicate)]), **points({name: score[name] for name in _MEASURES})},
    )


def best_classifier(scores: "pd.DataFrame") -> tuple[str, int] | None:
    """Arm with the best mean validation score and its replicate with the best one; None where nothing was validated."""
    validated = scores.dropna(subset="validation")
    if validated.empty:
        return None
    arm = str(validated.groupby("arm", sort=False)["validation"].mean().idxmax())
    rows = validated[validated["arm"] == arm]
    return arm, int(rows["replicate"].to_numpy()[rows["validation"].argmax()])


def dvc_hashes() -> dict[str, str]:
    """Hash by path of what the stages before `evaluate` left in data/, from dvc.lock; empty without one.

    DVC records a stage's outputs after its command has ended, so `evaluate` cannot know its own.
    """
    from ruamel.yaml import YAML

    lock = Path("dvc.lock")
    stages = YAML(typ="safe", pure=True).load(lock.read_text(encoding="utf-8"))["stages"] if lock.is_file() else {}
    outs = [out for name, stage in stages.items() if name != "evaluate" for out in stage.get("outs", [])]
    return {out["path"]: out["md5"] for out in outs if out["path"].startswith("data/") and "md5" in out}


def data_set(name: str, folder: Path, files: str, hashes: Mapping[str, str]) -> "DatasetInput":
    """Parquet files that a run used, by DVC's hash of the folder where there is one. files: pattern of their names."""
    import pyarrow.parquet as pq
    from mlflow.entities import Dataset, DatasetInput, InputTag

    paths = sorted(folder.glob(files))
    digest = hashes.get(str(folder)) or workdir.fingerprint(*paths)[:36]  # MLflow allows no more characters
    images = sum(pq.read_metadata(path).num_rows for path in paths)
    entity = Dataset(name, digest, "local", json.dumps({"uri": str(folder)}), profile=json.dumps({"images": images}))
    return DatasetInput(entity, [InputTag("mlflow.data.context", folder.name)])
