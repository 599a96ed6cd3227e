"""Gathers what the last stage publishes from: all that the stages before it left, and what their classifiers tell."""

from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.comparison.arm_words import arm_words
from stages.comparison.evidence import Evidence, Finding, GeneratorEvidence, Outcomes
from stages.comparison.examples import captions, suspicious
from stages.comparison.leak import judge_set, withheld
from stages.comparison.origin import control_pairs, plain_rivals
from stages.comparison.params import EvaluateParams
from stages.comparison.release import kept_everywhere, manifest, published_columns
from stages.comparison.scores import Predictions, align, align_models
from stages.generators.params import FromDomainParams, InfillingParams
from stages.imaging import marks
from stages.jobs.examining import Job, examine_replicate
from stages.plumbing import images, results, workdir
from stages.plumbing.artifacts import FilterMetrics, GanMetrics, PrepareMetrics
from stages.plumbing.dataset import SEEN, SHIFTED, TEST, TRAIN, VALIDATION, Dataset
from stages.plumbing.errors import reading
from stages.plumbing.images import ImageSet
from stages.plumbing.params import Params, as_yaml
from stages.plumbing.stage import StageRun

LIBRARIES = ("torch", "numpy", "scikit-learn", "scipy")


def gather(
    run: StageRun, dataset: Dataset, synthetic: dict[str, ImageSet], fingerprint: str, has_arms: bool = True
) -> Evidence:
    """synthetic: by generator, from `synthetic_set`. fingerprint: of all that the comparison is made from. has_arms:
    whether there is a comparison at all."""
    params = run.params
    labelled = images.concatenate([dataset.role(0, role) for role in (TRAIN, VALIDATION)])
    return Evidence(
        dataset=dataset.name,
        classes=dataset.classes,
        prepared=workdir.read_json(workdir.METRICS / "prepare.json", PrepareMetrics),
        findings=_findings(dataset),
        params=params.evaluate,
        outcomes=_outcomes(run, dataset) if has_arms else _no_outcomes(dataset),
        generators={name: _generator(params, dataset, name, each) for name, each in synthetic.items()},
        real=(labelled.pixels, labelled.labels),
        seen=len(dataset.ids(0, *SEEN)),
        labelled=len(dataset.ids(0, TRAIN)),
        validation=len(dataset.ids(0, VALIDATION)),
        run={"fingerprint": fingerprint} | {library: version(library) for library in LIBRARIES},
        parameters=as_yaml(params.decisive()),
    )


def synthetic_set(dataset: Dataset, generator: str) -> ImageSet:
    """What no replicate's filter dropped."""
    kept = images.concatenate([results.kept(generator, replicate) for replicate in range(dataset.replicates)])
    return kept.take(kept_everywhere(kept.ids, results.decisions(generator)["id"].to_numpy().astype(np.str_)))


def _outcomes(run: StageRun, dataset: Dataset) -> Outcomes:
    """What all arms predicted, and what their classifiers tell when they are asked anew."""
    arms, generators, test = run.params.train_downstream.arms, run.params.train_gan.generators, dataset.role(0, TEST)
    truth, classes = dataset.test_labels(), len(dataset.classes)
    predictions = align(results.arm_tables(arms, "predictions"), truth, classes)
    jobs = [Job(replicate, run.params) for replicate in predictions.replicates]
    groups = dict(zip(test.ids.tolist(), test.groups, strict=True)) if test.groups else None
    return Outcomes(
        predictions=predictions,
        models=align_models(results.arm_tables(arms, "models"), truth, classes, predictions.replicates),
        facts=results.arm_facts(arms),
        examinations=run.fan_out(examine_replicate, jobs, "replicate"),
        groups=np.array([groups[each] or each for each in truth.index]) if groups else None,
        controls=control_pairs(arms, generators),
        plain=plain_rivals(arms, run.params.evaluate.augment),
        words={name: arm_words(arm, generators) for name, arm in arms.items()},
        shifted=run.params.prepare.shift.exists,
        unseen=run.params.prepare.shift.unseen,
    )


def _no_outcomes(dataset: Dataset) -> Outcomes:
    """Where no arm was trained."""
    nothing = Predictions({}, tuple(range(dataset.replicates)), np.empty(0, np.int64), len(dataset.classes), {})
    return Outcomes(nothing, {}, {}, [], None, [], {}, {}, shifted=False, unseen=False)


def write_sets(folder: Path, evidence: Evidence, synthetic: dict[str, ImageSet]) -> None:
    """The sets that are given away, a Parquet file for each generator in `folder`/synthetic, with marks that say so."""
    for name in evidence.published:
        told = published_columns(synthetic[name].extra, evidence.params.publish_real_images)
        says = manifest(name, evidence.generators[name].section["kind"], evidence.run["fingerprint"])
        table = marks.marked_table(images.as_table(replace(synthetic[name], extra=told), evidence.classes), says)
        images.write_table(folder / "synthetic" / f"{name}.parquet", table)


def _generator(params: Params, dataset: Dataset, name: str, synthetic: ImageSet) -> GeneratorEvidence:
    """What a generator's training, its filter and its images tell."""
    path = workdir.METRICS / "filter_memorized" / f"{name}.json"
    privacy = workdir.read_json(path, FilterMetrics)
    with reading(path):
        if privacy["classes"].keys() != set(dataset.classes):
            raise ValueError("it has other classes than the data set")
    shown = suspicious(results.decisions(name), params.evaluate.nearest_pairs)
    drawn = results.generated(name, sorted(set(shown["replicate"])), shown["id"].tolist())
    nearest = dataset.by_id(shown["nearest"].tolist())
    section, evaluate, persons = params.train_gan.generators[name], params.evaluate, None
    if isinstance(section, FromDomainParams) and params.prepare.source.kind == "drawn":
        privacy.pop("own_source", None)  # a program drew the sources: to show one shows nobody
    if isinstance(section, InfillingParams):
        # whatever the filter finds: who may see real images may see these, and nobody else
        privacy["own_source"] |= {"kept": 1, "publishable": int(evaluate.publish_real_images)}
        persons, reason = _persons(evaluate, dataset, synthetic)
        if persons is None:
            privacy["own_source"] |= {"not_searched": reason}
        else:
            may = evaluate.publish_real_images or evaluate.publish_leaking
            privacy["own_source"] |= {"searched": 1, "publishable": int(may)}
    leak = judge_set(
        _attacks(dataset, synthetic),
        privacy,
        evaluate.leak_margin,
        made_here=section.kind != "external",
        translated=dataset.shifted and "own_source" in privacy,
        persons=persons,
    )
    made = workdir.read_json(workdir.METRICS / "train_gan" / f"{name}.json", GanMetrics)
    return GeneratorEvidence(
        section=section.model_dump(mode="json"),
        candidates=params.generate.candidates if section.kind != "external" else 1,
        quality=made["replicates"],
        promise=made.get("promise"),
        privacy=privacy,
        synthetic=(synthetic.pixels, synthetic.labels),
        leak=leak,
        withheld=withheld(leak.outcome, privacy, evaluate.publish_leaking),
        emptied=_emptied(dataset, synthetic),
        pairs=(drawn.pixels, nearest.pixels, captions(shown)),
        arms=[arm for arm, each in params.train_downstream.arms.items() if name in each.generators],
    )


def _emptied(dataset: Dataset, synthetic: ImageSet) -> dict[str, int]:
    """In how many replicates there is no image of a class, by the names of such classes."""
    there = pd.DataFrame({"replicate": synthetic.extra["replicate"], "label": synthetic.labels}).drop_duplicates()
    missing = dataset.replicates - np.bincount(there["label"], minlength=len(dataset.classes))
    return {name: int(count) for name, count in zip(dataset.classes, missing, strict=True) if count}


def _attacks(dataset: Dataset, synthetic: ImageSet) -> dict[str, dict[str, float]]:
    """What attacks find on a generator's set as it is published: see `published.attack_published`."""
    from torch import from_numpy

    from stages.memorization.published import attack_published, candidates

    ids, seen, held_out = dataset.membership()
    rows = candidates(seen, held_out)
    real = dataset.by_id(ids[rows].tolist())
    drawn_in = synthetic.extra["replicate"]
    return attack_published(
        from_numpy(real.pixels),
        seen[:, rows],
        held_out[:, rows],
        [from_numpy(synthetic.pixels[drawn_in == replicate]) for replicate in range(dataset.replicates)],
        real.groups,
    )


def _persons(params: EvaluateParams, dataset: Dataset, synthetic: ImageSet) -> tuple[dict[str, Any] | None, str | None]:
    """What `reidentify` finds in images whose region was drawn anew, or why nobody can be looked for."""
    from torch import from_numpy

    from stages.imaging.backbones import open_backbone
    from stages.imaging.networks import in_batches
    from stages.memorization.reidentification import Probes, gallery, photographs, reidentify, shortfall

    ids, groups = dataset.everyone()
    rows = gallery(groups)
    real = dataset.by_id(ids[rows].tolist())
    own = photographs(
        from_numpy(real.pixels),
        from_numpy(dataset.masks_of(real.ids)),
        real.groups or [None] * len(real),
        [each.removeprefix(SHIFTED) for each in real.ids.tolist()],
    )
    sources = pd.Index(real.ids).get_indexer(pd.Index(synthetic.extra["source_id"]))
    made = synthetic.take(np.flatnonzero(sources >= 0))
    regions = dataset.masks_of(made.extra["mask_id"])
    assert regions is not None  # a kind that draws regions anew needs some
    probes = Probes(from_numpy(made.pixels), from_numpy(regions), sources[sources >= 0])
    if reason := shortfall(own, probes):
        return None, reason
    given, embed = params.backbone, None
    if given is not None:
        embed = partial(in_batches, open_backbone(given.name, given.size, given.weights))
    return reidentify(own, probes, embed), None


def _findings(dataset: Dataset) -> list[Finding]:
    """Those findings of `prepare` that are shown, with the picture and that of the image it resembles."""
    rows = [row for row in images.read_table(dataset.folder / "findings.parquet").to_pylist() if row["shown"]]
    words = ("kind", "id", "other", "action", "detail")
    pictures = [[row[name] and images.decode_png(row[name]) for name in ("image", "other_image")] for row in rows]
    return [Finding(*(row[name] for name in words), *own) for row, own in zip(rows, pictures, strict=True)]
