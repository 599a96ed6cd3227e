"""The memorization filter's benchmark: fair splits, rivals as published, and verdicts that can come out either way."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import betabinom
from sklearn.neighbors import NearestNeighbors

from benchmarks import memorization
from benchmarks.memorization import FALSE_POSITIVES, OURS, Originals
from stages.plumbing.errors import UserError


@pytest.fixture(autouse=True)
def few_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorization, "COPIES", 10)


def make_images(count: int = 240, channels: int = 1, side: int = 8, seed: int = 0) -> torch.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    return torch.from_numpy(pixels)


def make_table(**found: list[float]) -> pd.DataFrame:
    """Of two kinds and the false positives, with columns of both of ours and two rivals."""
    return pd.DataFrame(found, index=["exact", "mix", FALSE_POSITIVES])


def as_bytes(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_split_shares_no_image_and_leaves_none_out() -> None:
    images = make_images()
    parts = Originals(images, flip_ok=False).split(seed=3)
    assert [len(part) for part in parts] == [120, 40, 80]
    assert set.union(*map(as_bytes, parts)) == as_bytes(images)


def test_split_is_capped_and_fixed_by_its_seed() -> None:
    originals = Originals(make_images(3000, side=4), flip_ok=False)
    parts = originals.split(0)
    assert [len(part) for part in parts] == [memorization.SEEN, memorization.CALIBRATION, memorization.FRESH]
    assert torch.equal(parts[0], originals.split(0)[0])
    assert as_bytes(parts[0]) != as_bytes(originals.split(1)[0])


def test_rivals_are_those_of_their_papers() -> None:
    seen, images = make_images(70, 3), torch.cat([make_images(10, 3, seed=1), make_images(70, 3)[:1]])
    scores = memorization.rivals(seen, images)
    flat = seen.flatten(1).double().numpy()
    search = NearestNeighbors(algorithm="brute").fit(flat)
    distances, index = search.kneighbors(images.flatten(1).double().numpy(), 50)
    apart = search.kneighbors(flat, 2)[0][:, 1]
    expected = {
        "dcr": distances[:, 0],
        "nndr": distances[:, 0] / distances[:, 1],
        "carlini": distances[:, 0] / distances.mean(axis=1),
        "authenticity": distances[:, 0] / apart[index[:, 0]],
    }
    assert scores.keys() == expected.keys()
    for method, wanted in expected.items():
        np.testing.assert_allclose(scores[method], wanted, rtol=1e-9, atol=1e-6)
        assert scores[method][-1] == 0  # the copy, without rounding


@pytest.mark.parametrize("flip_ok", [True, False])
def test_detection_finds_exact_copies_by_every_method(flip_ok: bool) -> None:
    table = memorization.detection(Originals(make_images(), flip_ok), memorization.settings(), seed=0)
    assert set(table.columns) == {*OURS, "dcr", "nndr", "carlini", "authenticity"}
    assert (table.loc["exact"] == 1).all()
    assert ("flip" in table.index) == flip_ok
    assert (table.loc[FALSE_POSITIVES] < 0.3).all()


def test_detection_is_fixed_by_its_seed() -> None:
    originals = Originals(make_images(), flip_ok=False)
    first, again, other = (memorization.detection(originals, memorization.settings(), seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


@pytest.mark.parametrize(("mode", "shape"), [("L", (1, 6, 5)), ("RGB", (3, 6, 5))])
def test_load_reads_each_different_image_once(mode: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    for name, grey in {"a/1": 10, "a/2": 20, "b/1": 10}.items():
        file = tmp_path / "rbc_chula11" / "train" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (5, 6), (grey,) * 3 if mode == "RGB" else grey).save(file)
    assert memorization.available(tmp_path) == ["digits", "red_cells"]
    originals = memorization.load("red_cells", tmp_path)
    assert originals.flip_ok
    assert originals.images.shape == (2, *shape)
    assert sorted(originals.images.unique().tolist()) == [10, 20]


def test_load_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unpack the set there"):
        memorization.load("fashion", tmp_path)
    with pytest.raises(UserError, match="no set 'cells'"):
        memorization.load("cells", tmp_path)


def test_rank_names_the_kinds_where_a_rival_leads_on_average() -> None:
    tables = {
        "one": make_table(ours=[1, 0.8, 0], ours_blurred=[1, 0.95, 0], dcr=[1, 0.9, 1], nndr=[0, 0, 1]),
        "two": make_table(ours=[0.99, 0.9, 0], ours_blurred=[1, 0.95, 0], dcr=[1, 1, 1], nndr=[0, 0, 1]),
    }
    assert memorization.rank("ours", tables).endswith("not for mix 0.850 (dcr 0.950)")
    assert memorization.rank("ours_blurred", tables).endswith("for every kind")


def test_surely_found_looks_at_every_set_and_at_these_kinds_alone() -> None:
    tables = {
        "one": make_table(ours=[0.95, 0, 0], ours_blurred=[1, 0, 0]),
        "two": make_table(ours=[0.94, 0, 0], ours_blurred=[1, 0, 0]),
    }
    assert memorization.surely_found("ours", tables).endswith("not two exact 0.940")
    assert memorization.surely_found("ours_blurred", tables).endswith("all 2 cases")
    assert memorization.surely_found("ours", {}).endswith("there is none")


def test_calibration_accepts_what_the_law_gives_and_nothing_else() -> None:
    originals = Originals(make_images(), flip_ok=False)  # 40 calibrate, 80 are fresh, the 2nd score is the threshold
    counts = betabinom(80, 2, 39).rvs(2000, random_state=0)
    text = memorization.calibration(counts.tolist(), originals)
    assert "holds\n" in text
    within, belong, own, expected = (int(share) for share in re.findall(r"(\d+) ?%", text))
    assert within >= belong == 95
    assert own == pytest.approx(expected, abs=3)
    assert "does NOT hold" in memorization.calibration((counts + 3).tolist(), originals)


def test_figures_are_ratios_over_rivals_and_over_alpha() -> None:
    table = make_table(ours=[1, 0.6, 0.04], ours_blurred=[1, 1, 0.05], dcr=[1, 0, 1], nndr=[0.5, 0.3, 1])
    assert memorization.figures(table) == {
        "ours": {"dcr": 1.6, "nndr": 2.0, "false positives / alpha": 0.8},
        "ours_blurred": {"dcr": 2.0, "nndr": 2.5, "false positives / alpha": 1.0},
    }


def test_prints_tables_verdicts_and_one_line_of_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(memorization, "load", lambda _name, _folder: Originals(make_images(), flip_ok=False))
    arguments = ["--data", str(tmp_path), "--splits", "1", "--calibration-splits", "2", "--jobs", "1"]
    monkeypatch.setattr("sys.argv", ["memorization", *arguments])
    memorization.main()
    *text, last = capsys.readouterr().out.splitlines()
    assert any(line.startswith(FALSE_POSITIVES) for line in text)
    assert any("over 2 splits of the digits" in line for line in text)
    assert json.loads(last)["digits"].keys() == set(OURS)
