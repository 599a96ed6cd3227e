"""Stage 6: scores the predictions, compares the arms, and writes verdict, figures, report and the synthetic set."""

import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from stages.comparison import figures
from stages.comparison.examples import suspicious
from stages.comparison.report import CardContent, ReportContent, render_card, render_report
from stages.comparison.scores import Predictions, Scores, align, class_recall, confusion, score, score_table
from stages.comparison.verdict import compare
from stages.plumbing import images, params, tracking, workdir
from stages.plumbing.dataset import TRAIN, Dataset
from stages.plumbing.images import ImageSet
from stages.plumbing.stage import StageRun, execute

DATA = workdir.DATA / "evaluate"
ARMS = workdir.DATA / "train_downstream"
FILTERED = workdir.DATA / "filter_memorized"
LIBRARIES = ("torch", "scikit-learn", "scipy", "numpy")


def main(run: StageRun) -> None:
    dataset, settings = Dataset.open(), run.params.evaluate
    arms = list(run.params.train_downstream.arms)
    _remove_other_arms(arms)
    facts = {arm: workdir.read_json(ARMS / arm / "arm.json") for arm in arms}
    tables = {arm: images.read_table(ARMS / arm / "predictions.parquet").to_pandas() for arm in arms}
    predictions = align(tables, dataset.test_labels(), len(dataset.classes))
    scores = score(predictions)
    numbers = compare(predictions, scores, {arm: facts[arm]["labels_used"] for arm in arms}, settings)
    privacy = workdir.read_json(workdir.METRICS / "filter_memorized.json")
    synthetic = images.concatenate([images.read(FILTERED / f"{r}.parquet") for r in range(dataset.replicates)])
    pictures = _figures(run, dataset, synthetic, predictions, scores, numbers)
    provenance = _provenance(run)
