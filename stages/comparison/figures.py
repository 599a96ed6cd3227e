"""Figures of the comparison as PNG bytes: same input, same bytes; no global plotting state is changed.

Colours are those of Okabe and Ito (2008), "Color Universal Design", which colour-blind readers tell apart.
"""

import io
import json
from collections.abc import Mapping, Sequence
from textwrap import fill, shorten
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from PIL import Image

from stages.comparison.evidence import Pixels
from stages.comparison.params import EvaluateParams
from stages.comparison.scores import Scores
from stages.comparison.statistics import paired_differences
from stages.comparison.wording import MEASURE_NAMES, classifier_words, signed_points

# An image (C, H, W) and the one to see beside it; None where there is no such picture.
PicturePair = tuple[Pixels | None, Pixels | None]

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
RIVAL, OTHER, INK = "#404040", "#9A9A9A", "#222222"
# Arms differ by their mark too: colours are not all that tells them apart.
MARKS = ("D", "^", "s", "v", "P", "X", "<", ">", "p")
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8A8A8A",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.left": False,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
}
DPI = 200
MORE = " \N{HORIZONTAL ELLIPSIS}"  # after words that are too many for a label
WIDTH = 4.8  # inches; on a phone some 340 pixels, so that letters of 11 points have 11 pixels
# Side of an image in a grid, in pixels of the figure: small images are enlarged to about it, large ones reduced.
TILE = 96
GAP = 8
MOST_ROWS = 20
MOST_LETTERS = 20  # of names that stand beside each other


def _png(figure: Figure) -> bytes:
    """Without the metadata that would name a version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    """With a legend below, to which the figure's height is added: many arms leave the axes theirs."""
    _, names = axes.get_legend_handles_labels()
    columns = 1 if max(map(len, names)) > MOST_LETTERS else 2
    figure.set_figheight(figure.get_figheight() + 0.21 * -(-len(names) // columns))
    figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    return figure


def arms_figure(scores: Scores, params: EvaluateParams, words: Mapping[str, str]) -> bytes:
    """The scores of the arms and rivals named on the answers' measure, each name above its dots.

    scores: arm -> measure -> (R,); words: arm -> what people call it.
    """
    arms, rivals = params.arms, params.rivals
    rows = [(arm, 100 * scores[arm][params.measure_key]) for arm in (*rivals, *arms)]
    colours = _colours([arm for arm, _ in rows], params)
    with style.context(["default", STYLE]):
        figure, axes = _panel(_height(params, words))
        for row, (arm, percent) in enumerate(rows):
            _draw_dots(axes, percent, row + 0.22, colours[arm], spread=0.12)
            axes.plot(percent.mean(), row + 0.22, "D", ms=8, color=colours[arm], mec="white", mew=1.2, zorder=4)
            _write(
                axes,
                row - 0.24,
                shorten(words[arm], 50, placeholder=MORE),
                colours[arm] if arm in arms else INK,
                weight="normal",
            )
            _note(axes, row + 0.22, f"{percent.mean():.1f}")
        _without_names(axes, len(rows))
        _title(figure, "Test scores", f"{MEASURE_NAMES[params.measure_key]} in %; a dot is one replicate")
        return _png(figure)


def comparison_figure(
    scores: Scores, answers: Mapping[str, Any], params: EvaluateParams, words: Mapping[str, str]
) -> bytes:
    """Paired differences of every arm in question from its rivals, with intervals.

    scores, words: as for `arms_figure`; answers: those of metrics/evaluate.json, `augment` and `stand_in`.
    """
    measure, row, labels, has_interval = params.measure_key, 0, {}, False
    colours = _colours(params.arms, params)
    with style.context(["default", STYLE]):
        figure, axes = _panel(_height(params, words))
        axes.axvspan(-100 * params.margin, 100 * params.margin, color="#56B4E9", alpha=0.18, lw=0, zorder=0)
        axes.axvline(0, color=INK, lw=1, zorder=1)
        for arm, rivals in _questions(answers):
            _write(
                axes,
                row,
                f"{shorten(words[arm], 44, placeholder=MORE)} minus",
                colours[arm],
                weight="bold",
                place="figure fraction",
            )
            for rival, entry in rivals.items():
                row += 1
                labels[row] = words[rival]
                differences = paired_differences(scores[arm][measure], scores[rival][measure])
                _draw_dots(axes, 100 * differences, row, colours[arm], spread=0.2)
                if "low" in entry:
                    has_interval = True
                    axes.plot([100 * entry["low"], 100 * entry["high"]], [row, row], color=colours[arm], lw=3, zorder=3)
                axes.plot(100 * entry["mean"], row, "D", ms=8, color=colours[arm], mec="white", mew=1.2, zorder=4)
                _note(axes, row, signed_points(entry["mean"]))
            row += 1
        _without_names(axes, row)
        axes.set_yticks(list(labels), [_wrapped(each) for each in labels.values()])
        spread = f"; bars: {100 * params.confidence:g} % intervals" if has_interval else ""
        _title(figure, "Differences in points", f"blue band: within \N{PLUS-MINUS SIGN}{100 * params.margin:g}{spread}")
        return _png(figure)


def _questions(answers: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Mapping[str, float]]]]:
    """(arm, rival -> its contrast) of the two questions that rest on arms."""
    arms = [pair for name in ("augment", "stand_in") for pair in answers[name]["arms"].items()]
    return [(arm, each["rivals"]) for arm, each in arms]


def _height(params: EvaluateParams, words: Mapping[str, str]) -> float:
    """Inches, the same for both panels, which stand side by side: what the one with more rows needs."""
    contrasts = sum(len(each.arms) * (1 + len(each.rivals)) for each in (params.augment, params.stand_in))
    row = 0.36 if any("\n" in _wrapped(words[rival]) for rival in params.rivals) else 0.24
    return max(0.42 * (len(params.arms) + len(params.rivals)), row * contrasts) + 0.8


def _panel(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    return figure, figure.subplots()


def _title(figure: Figure, title: str, legend: str) -> None:
    """The title above everything, the legend below it, both from the figure's left edge."""
    figure.suptitle(title, x=0.01, ha="left", weight="bold", size=12.5)
    figure.supxlabel(legend, x=0.01, ha="left", size=10.5)


def _write(axes: Axes, row: float, text: str, colour: str, weight: str, place: str = "axes fraction") -> None:
    """A line of text from the left edge of the axes, or that of the figure."""
    line = axes.annotate(
        text, (0.01, row), xycoords=(place, "data"), va="center", color=colour, weight=weight, zorder=5
    )
    line.set_in_layout(False)


def _without_names(axes: Axes, rows: int) -> None:
    axes.set_yticks([])
    axes.set_ylim(rows - 0.4, -0.6)


def _wrapped(name: str) -> str:
    """In two lines at most; the whole stands in the other panel or in the text."""
    return fill(name, width=24, max_lines=2, placeholder=MORE)


def _colours(arms: Sequence[str], params: EvaluateParams) -> dict[str, str]:
    """Arms of the contrast in colours, their rivals dark, all others light."""
    named = {arm: OKABE_ITO[i % len(OKABE_ITO)] for i, arm in enumerate(params.arms)}
    return {arm: named.get(arm, RIVAL if arm in params.rivals else OTHER) for arm in arms}


def _all_coloured(arms: Sequence[str], params: EvaluateParams) -> dict[str, str]:
    """Every arm in a colour, those of the contrast in the one that they have in all figures."""
    order = _contrast_first(arms, params)
    return {arm: OKABE_ITO[order.index(arm) % len(OKABE_ITO)] for arm in arms}


def _contrast_first(arms: Sequence[str], params: EvaluateParams) -> list[str]:
    return [*params.arms, *(arm for arm in arms if arm not in params.arms)]


def _draw_dots(axes: Axes, values: NDArray[np.float64], row: float, colour: str, spread: float) -> None:
    """One dot per replicate, as far as `spread` off the row in the order of replicates, so that none hides."""
    offsets = np.linspace(-spread, spread, len(values)) if len(values) > 1 else np.zeros(1)
    axes.scatter(values, row + offsets, s=18, color=colour, alpha=0.45, lw=0, zorder=2)


def _note(axes: Axes, row: float, text: str) -> None:
    """A number to the right of its row, outside the axes."""
    axes.annotate(
        text, (1, row), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points", va="center"
    )


def _name_rows(axes: Axes, labels: Sequence[str], colours: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    for label, colour in zip(axes.get_yticklabels(), colours, strict=True):
        label.set_color(colour)


def learning_curve_figure(numbers: Mapping[str, Any], params: EvaluateParams, words: Mapping[str, str]) -> bytes | None:
    """Score against labels per class without synthetic images, and the contrast's arms at their own number of labels.

    numbers: as metrics/evaluate.json: `learning_curve`, of two budgets or more, else there is None, and `worth`, which
    says how many labels per class an arm has. Bars are deviations over replicates.
    """
    measure, worth = params.measure_key, numbers.get("worth", {})
    curve = sorted((int(budget), score) for budget, score in numbers.get("learning_curve", {}).items())
    if len(curve) < 2:
        return None
    arms = {arm: worth[arm]["labels_per_class"] for arm in params.arms if arm in worth}
    labels = [budget for budget, _ in curve]
    ticks = sorted({*labels, *arms.values()})
    colours, marks, ratio = _colours(list(arms), params), _marks(list(arms), params), ticks[-1] / ticks[0]
    with style.context(["default", STYLE | {"axes.grid.axis": "both"}]):
        figure = Figure(figsize=(WIDTH, 3.2), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        _draw_scores(
            axes, labels, [score for _, score in curve], fmt="o-", color=RIVAL, label="without synthetic images"
        )
        for place, (arm, own) in enumerate(arms.items(), 1):
            score = numbers["arms"][arm][measure]
            axes.axhline(100 * score["mean"], color=colours[arm], lw=1, ls=":", zorder=1)
            # arms of the same number of labels stand side by side, the same way apart whatever the axis spans
            _draw_scores(
                axes, [own * ratio ** (0.035 * place)], [score], fmt=marks[arm], color=colours[arm], label=words[arm]
            )
        axes.set_xscale("log")
        axes.set_xlim(ticks[0] * ratio**-0.1, ticks[-1] * ratio ** (0.1 + 0.035 * len(arms)))
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_title("What more labels bring")
        axes.set_xlabel("labelled images per class")
        axes.set_ylabel(f"test {MEASURE_NAMES[measure]}, %")
        return _png(_with_legend(figure, axes))


def _marks(arms: Sequence[str], params: EvaluateParams) -> dict[str, str]:
    """A mark for every arm, one of the contrast's having the same one in every figure."""
    order = _contrast_first(arms, params)
    return {arm: MARKS[order.index(arm) % len(MARKS)] for arm in arms}


def _draw_scores(
    axes: Axes, places: Sequence[float], scores: Sequence[Mapping[str, float]], sideways: bool = False, **looks: Any
) -> None:
    """Means (shares) in percent, with their deviations where there are any; sideways: scores along the x axis."""
    means = [100 * score["mean"] for score in scores]
    deviations = [100 * score["std"] for score in scores] if all("std" in score for score in scores) else None
    points: dict[str, Any] = {"x": places, "y": means, "yerr": deviations}
    if sideways:
        points = {"x": means, "y": places, "xerr": deviations}
    axes.errorbar(**points, ms=7, mec="white", mew=1, elinewidth=1.2, **looks)


def model_arms(models: Mapping[str, Mapping[str, Any]], params: EvaluateParams) -> list[str]:
    """Arms to compare model by model: `real`, the first rival and the contrast's arms, where there are scores of them.

    models: classifier -> arm -> its score.
    """
    wanted = ("real", params.rivals[0], *params.arms)
    return [arm for arm in dict.fromkeys(wanted) if any(arm in arms for arms in models.values())]


def models_figure(numbers: Mapping[str, Any], params: EvaluateParams, words: Mapping[str, str]) -> bytes | None:
    """One row per classifier, one mark per arm of `model_arms`; bars are deviations over replicates.

    numbers: as metrics/evaluate.json. None where `models` has fewer than two classifiers or none of the arms.
    """
    models = numbers.get("models", {})
    arms = model_arms(models, params)
    if len(models) < 2 or not arms:
        return None
    colours, marks, spacing = _colours(arms, params), _marks(arms, params), 0.72 / len(arms)
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(WIDTH, len(models) * (0.17 * len(arms) + 0.14) + 1.2), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        for place, arm in enumerate(arms):
            rows = {row: each[arm] for row, each in enumerate(models.values()) if arm in each}
            heights = [row + spacing * (place - (len(arms) - 1) / 2) for row in rows]
            looks = {"fmt": marks[arm], "color": colours[arm], "label": words[arm]}
            _draw_scores(axes, heights, list(rows.values()), sideways=True, **looks)
        for row in range(1, len(models)):
            axes.axhline(row - 0.5, color="#E4E4E4", lw=0.8)
        _name_rows(axes, [classifier_words(name) for name in models], [INK] * len(models))
        axes.set_title("Real and synthetic, model by model")
        axes.set_xlabel(f"test {MEASURE_NAMES[params.measure_key]}, %")
        return _png(_with_legend(figure, axes))


def settings_figure(
    facts: Mapping[str, Mapping[str, Any]], params: EvaluateParams, words: Mapping[str, str]
) -> bytes | None:
    """Mean validation score against the share of real images in a batch, for arms that chose among several shares.

    facts: arm -> `settings`, `validation` (their mean scores, shares) and `chosen`, the number of the setting that it
    took, which is ringed. Settings alike but for the share are joined. None where no arm had two shares to choose from.
    """
    choosers = {arm: each for arm, each in facts.items() if len({*_synthetic_shares(each).values()}) > 1}
    if not choosers:
        return None
    colours, marks = _all_coloured(list(choosers), params), _marks(list(choosers), params)
    with style.context(["default", STYLE | {"axes.grid.axis": "both"}]):
        figure = Figure(figsize=(WIDTH, 3.2), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        for arm, each in choosers.items():
            for place, curve in enumerate(_share_curves(each)):
                real, scores = 100 * np.array(curve).T
                label = None if place else words[arm]
                axes.plot(real, scores, f"{marks[arm]}-", ms=7, mec="white", color=colours[arm], lw=1.4, label=label)
            share = _synthetic_shares(each)[each["chosen"]]
            chosen = (100 * (1 - share), 100 * each["validation"][each["chosen"]])
            axes.plot(*chosen, "o", ms=15, mfc="none", mec=colours[arm], mew=1.6)
        axes.plot([], [], "o", ms=12, mfc="none", mec=INK, label="chosen")
        axes.margins(x=0.1, y=0.15)
        axes.set_title("Settings tried")
        axes.set_xlabel("share of real images in a batch, %")
        axes.set_ylabel("mean validation\nbalanced accuracy, %")
        return _png(_with_legend(figure, axes))


def _synthetic_shares(facts: Mapping[str, Any]) -> dict[int, float]:
    """Number of each setting of an arm that states one -> its share of synthetic images."""
    settings = enumerate(facts["settings"])
    return {number: each["synthetic_share"] for number, each in settings if "synthetic_share" in each}


def _share_curves(facts: Mapping[str, Any]) -> list[list[tuple[float, float]]]:
    """(share of real images, mean validation score), by share, for each group of settings alike but for the share."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for number, share in _synthetic_shares(facts).items():
        rest = {name: value for name, value in facts["settings"][number].items() if name != "synthetic_share"}
        point = (1 - share, facts["validation"][number])
        curves.setdefault(json.dumps(rest, sort_keys=True), []).append(point)
    return [sorted(curve) for curve in curves.values()]


def confusion_figure(counts: NDArray[np.int64], class_names: Sequence[str], title: str) -> bytes:
    """Share of each true class (row) that is predicted as each class (column), in percent.

    counts: (K, K) as `scores.confusion` returns them. Cells carry numbers up to 12 classes.
    """
    K = len(class_names)
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(0.34 * K + 1.4, 3.6), 9.0)
    with style.context(["default", STYLE | {"axes.grid": False}]):
        figure = Figure(figsize=(side + 0.5, side), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        if K <= 12:
            for true, predicted in np.argwhere(percent >= 0.5):
                value = percent[true, predicted]
                colour = "white" if value > 55 else INK
                axes.text(predicted, true, f"{value:.0f}", ha="center", va="center", color=colour, size=10)
        names = [_short(name) for name in class_names]
        rotation = 0 if max(map(len, names)) <= 2 else 45
        axes.set_xticks(range(K), names, rotation=rotation, ha="right" if rotation else "center")
        axes.set_yticks(range(K), names)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.set_title(title)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return _png(figure)


def sample_grid(
    generated: Pixels,
    generated_labels: NDArray[np.int64],
    class_names: Sequence[str],
    per_class: int,
    real: tuple[str, Pixels, NDArray[np.int64]] | None = None,
) -> bytes:
    """One row per class: its first `per_class` real images (if given), beside as many generated ones.

    Images are uint8 (N, C, H, W), C 1 or 3. real: what they are in words, images and labels. A class with fewer images
    leaves places blank; at most the first 20 classes are shown.
    """
    blocks = [("generated", generated, generated_labels)]
    if real is not None:
        blocks.insert(0, real)
    names = [_short(name) for name in class_names[:MOST_ROWS]]
    width, height = _tile_size(next((images for _, images, _ in blocks if len(images)), generated))
    left, top, step = 24 + 14 * max(map(len, names)), 48, width + GAP
    block_width = per_class * step + 40
    page = np.full((top + len(names) * (height + GAP), left + len(blocks) * block_width - 40, 3), 255, np.uint8)
    texts = []
    for b, (title, images, labels) in enumerate(blocks):
        x = left + b * block_width
        texts.append((x, 22, title, "left"))
        for row in range(len(names)):
            for i, image in enumerate(images[labels == row][:per_class]):
                _paste(page, image, x + i * step, top + row * (height + GAP))
    rows = [(left - 12, top + row * (height + GAP) + height // 2, n, "right") for row, n in enumerate(names)]
    return _page_png(page, texts + rows, font_size=8.5)


def nearest_pairs(generated: Pixels, real: Pixels, captions: Sequence[str], columns: int = 4) -> bytes:
    """Each generated image (left) beside the real image nearest to it (right), a caption beneath each pair.

    generated and real: uint8 (P, C, H, W), P at least 1; captions: P short texts, of about 18 characters at most.
    """
    pairs: list[PicturePair] = list(zip(generated, real, strict=True))
    return _pair_page(pairs, captions, ("generated", "real"), columns)


def finding_pairs(pictures: Sequence[PicturePair], captions: Sequence[str], columns: int = 4) -> bytes:
    """Images in which a check found something, each beside the one that it resembles, if any, over its caption.

    pictures: at least one, all images of one shape; captions: as many short texts, of about 18 characters at most.
    """
    return _pair_page(pictures, captions, ("image", "like"), columns)


def _pair_page(pairs: Sequence[PicturePair], captions: Sequence[str], titles: tuple[str, str], columns: int) -> bytes:
    """Pairs in rows of `columns`, each over its caption, and the titles above the first row."""
    width, height = _tile_size(next(image for pair in pairs for image in pair if image is not None)[None])
    columns = min(columns, len(pairs))
    step_x, step_y, top = 2 * width + 4 + 48, height + 54, 42
    rows = -(-len(pairs) // columns)
    page = np.full((top + rows * step_y, columns * step_x, 3), 255, np.uint8)
    texts = []
    for i, (pair, caption) in enumerate(zip(pairs, captions, strict=True)):
        x, y = 24 + (i % columns) * step_x, top + (i // columns) * step_y
        shown = [(image, title) for image, title in zip(pair, titles, strict=True) if image is not None]
        left = x + (2 - len(shown)) * (width + 4) // 2  # an image alone stands in the middle
        for place, (image, title) in enumerate(shown):
            _paste(page, image, left + place * (width + 4), y)
            if i < columns:
                texts.append((left + place * (width + 4) + width // 2, 22, title, "center"))
        texts.append((x + width + 2, y + height + 22, caption, "center"))
    return _page_png(page, texts, font_size=7)


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}\N{HORIZONTAL ELLIPSIS}"


def _tile_size(images: Pixels) -> tuple[int, int]:
    """Width and height of an image on a page: a whole multiple where it is small, so that pixels stay square."""
    height, width = images.shape[2:]
    scale: float = max(TILE // max(height, width), 1)
    scale = min(scale, TILE / max(height, width)) if max(height, width) > TILE else scale
    return max(round(width * scale), 1), max(round(height * scale), 1)


def _paste(page: Pixels, image: Pixels, x: int, y: int) -> None:
    """Put an image (C, H, W) on a page (height, width, 3), its upper left corner at (x, y)."""
    size = _tile_size(image[None])
    pixels = np.repeat(image, 3, axis=0) if len(image) == 1 else image
    enlarge = size[0] >= image.shape[2]
    method = Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS
    page[y : y + size[1], x : x + size[0]] = np.asarray(Image.fromarray(pixels.transpose(1, 2, 0)).resize(size, method))


def _page_png(page: Pixels, texts: Sequence[tuple[int, int, str, str]], font_size: float) -> bytes:
    """A page of pixels with texts (x, y, text, alignment), one pixel of the page being one of the PNG."""
    height, width = page.shape[:2]
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        figure.figimage(page)
        for x, y, text, align in texts:
            figure.text(x / width, 1 - y / height, text, ha=align, va="center", fontsize=font_size, parse_math=False)
        return _png(figure)
