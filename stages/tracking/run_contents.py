"""What the files say about each run, in the form in which MLflow shows it: parameters, curves, tags, data sets."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
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

QUESTIONS = {
    "augment": "Do added images help?",
    "stand_in": "Can they stand in for real ones?",
    "leak": "Do they leak?",
}
# Parameters by which people tell one comparison from another; the artifact params.yaml has all of them.
_COMPARED = (
    "prepare.source.kind",
    "prepare.image.size",
    "prepare.labels_per_class*",
    "prepare.validation_per_class",
    "prepare.unlabelled.share",
    "prepare.imbalance_factor",
    "prepare.replicates",
    "train_gan.generators.*.kind",
    "train_gan.generators.*.layers",
    "train_gan.generators.*.width",
    "train_gan.generators.*.steps",
    "generate.plan.*",
    "filter_memorized.alpha",
    "train_downstream.classifier.kind",
    "train_downstream.classifier.width",
    "train_downstream.classifier.steps",
    "evaluate.measure*",
    "evaluate.augment.*",
    "evaluate.stand_in.*",
    "evaluate.margin",
)
_LEGEND = (
    "`usual`, `added`, `alone`: mean of the first rival, with generated images added, and of these alone, in percent. "
    "`gain`, `edge`: how far `added` lies above the first and above the strongest rival, `lag`: `alone` above its "
    "strongest, in points. `leak`: AUC of the attack farthest from a guess (0.5). `copy`: generated images dropped as "
    "copies, in percent. Artifacts: `report.html` is the whole report, `params.yaml` has all parameters."
)

Json = Mapping[Any, Any]
Curves = dict[str, list[tuple[int, float]]]  # metric -> its points (step, value)


@dataclass(frozen=True)
class Content:
    """What a run holds beside its artifacts."""

    params: Mapping[str, str] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def flatten(tree: Json, separator: str = ".") -> dict[str, Any]:
    """Nested keys joined by the separator."""
    import pandas as pd

    return {
        str(key): value for key, value in pd.json_normalize(dict(tree), sep=separator).to_dict("records")[0].items()
    }


def texts(tree: Json) -> dict[str, str]:
    """Nested parameters under their dotted keys, as short as a table wants them: lists with commas. What is nested in
    lists, or not set, is left out."""
    found = {}
    for key, value in flatten(tree).items():
        parts = value if isinstance(value, list | tuple) else [value]
        if value is not None and not any(isinstance(part, Mapping | list | tuple) for part in parts):
            found[key] = ", ".join(map(str, parts))
    return found


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


def title(dataset: str, answers: Json) -> str:
    """What a comparison is called: its data set and what came out, as in "digits: no better than pseudo-labels"."""
    answer = next(iter(_asked(answers).values()))["answer"]
    return f"{dataset}: {answer[:1].lower()}{answer[1:]}"


def _asked(answers: Json) -> dict[str, Json]:
    """Those to questions that are asked, in one order."""
    return {name: answers[name] for name in QUESTIONS if answers[name]["outcome"] != "not_asked"}


def comparison(params: Json, numbers: Json, summary: Mapping[str, float], measure: str) -> Content:
    """What a reader sees first of a comparison, and compares with others: few parameters, few metrics, the answers.

    params: all sections of params.yaml; numbers: metrics/evaluate.json; summary: metrics/evaluate_summary.json;
    measure: key of what the answers rest on.
    """
    compared = {key: text for key, text in texts(params).items() if any(fnmatch(key, each) for each in _COMPARED)}
    tags = {f"understudy.{question}": answer["outcome"] for question, answer in numbers["answers"].items()}
    return Content(compared, points(summary), tags | {"mlflow.note.content": _note(numbers, measure)})


def _note(numbers: Json, measure: str) -> str:
    """The three answers, and every arm's mean, as Markdown."""
    asked = _asked(numbers["answers"])
    lines = [f"- {QUESTIONS[name]} **{each['answer']}**; {each['number']}" for name, each in asked.items()]
    lines += [f"- {warning}" for warning in numbers["warnings"]]
    lines += ["", f"| arm | {measure.replace('_', ' ')}, % |", "|---|---|"]
    lines += [f"| {arm} | {100 * measures[measure]['mean']:.1f} |" for arm, measures in numbers["arms"].items()]
    return "\n".join([*lines, "", _LEGEND])


def details(numbers: Json, measure: str, scores: "pd.DataFrame", privacy: Json, seconds: Mapping[str, float]) -> Curves:
    """All else that was measured, under names of several parts, which MLflow's pages group by the first.

    scores: a row per arm and replicate; privacy: of each generator what metrics/filter_memorized has; seconds: per
    stage.
    """
    shown: dict[str, Any] = {
        "difference": {
            f"{arm}_vs_{rival}": measures[measure]
            for arm, rivals in numbers["differences"].items()
            for rival, measures in rivals.items()
        },
        "validation": scores.groupby("arm")["validation"].mean().to_dict(),
        "labels_used": numbers["labels_used"],
        "filter_memorized": {generator: _of_all_classes(found) for generator, found in privacy.items()},
        "seconds": {stage.replace("@", "/"): spent for stage, spent in seconds.items()},
    }
    for arm, measures in numbers["arms"].items():
        for name, summary in measures.items():
            shown.setdefault(name, {})[arm] = summary["mean"]
    return points(flatten(shown, "/"))


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
        texts({"arm": arm, "replicate": replicate, **policy, **setting, **own}),
        {**curves(facts["history"][str(replicate)]), **points({name: score[name] for name in _MEASURES})},
    )


def best_classifier(scores: "pd.DataFrame", measure: str) -> tuple[str, int, float]:
    """(arm, replicate, its score on test): of the arm with the best mean on test, over all replicates, the replicate
    that was best on validation, or the first where nothing was validated.

    Arms are chosen on test, since validation images were trained on by those that had nothing to choose; a mean over
    replicates is not lucky, and no replicate is chosen by its own score.
    """
    arm = str(scores.groupby("arm", sort=False)[measure].mean().idxmax())
    rows = scores[scores["arm"] == arm]
    best = rows.iloc[0 if rows["validation"].isna().all() else int(rows["validation"].argmax())]
    return arm, int(best["replicate"]), float(best[measure])


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
