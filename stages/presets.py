"""Puts a complete parameter set, with its comments, in params.yaml: `python -m stages.presets NAME`.

presets/base.yaml is a whole params.yaml, two spaces to a level. Any other preset is an overlay: a leading block of
comment lines that says when to use it, then a flat mapping from dotted keys to the values that take the place of the
base's. A line `preset: NAME` after the comment lays it over that preset instead. The preset `my_folder` then looks at
the folder (`--folder PATH`, or that which it names) and takes what fits. `--quick` makes any preset run in little time.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from ruamel.yaml import YAML

from stages.downstream.params import ArmParams
from stages.fit import fit
from stages.generators.params import SteppedParams
from stages.overlays import compose, did_you_mean, noted, without
from stages.plumbing import params, workdir
from stages.plumbing.errors import UserError
from stages.plumbing.params import PARAMS_FILE, Params
from stages.sources.params import TorchvisionParams

PRESETS = Path("presets")
_BASE = "base"
_WRITTEN = workdir.WORK / "preset.yaml"  # what this last wrote
_LOOKS = "my_folder"  # the preset that is made to fit the user's folder
_NEED_NO_FOLDER = ("digits", "drawn", "drawn_faces", "none", "planted")
_OTHER = r"^preset: (?P<name>\w+)\n"  # the preset that an overlay lies over, if not the base
# What lies over a preset to make it quick, beside the generators' steps
_QUICK_HEAD = (
    "# Quick: 2 replicates and few steps, to see every stage run. It decides nothing; the same without QUICK does.\n"
)
_QUICK = (
    ("prepare.replicates", "2", "quick: enough to see it run, and too few to decide anything"),
    ("filter_memorized.planted_copies", "5", ""),
    ("filter_memorized.shift_pixels", "0", ""),
    ("filter_memorized.blurred_view", "false", ""),
    ("train_downstream.classifier.steps", "40", ""),
    ("train_downstream.scikit_learn.classifiers", "[nearest_neighbours]", ""),
    ("evaluate.learning_curve", "[]", ""),
    ("evaluate.bootstrap", "200", ""),
    ("parallel.jobs", "1", "quick: another process would take longer to begin than the little work there is"),
)
_QUICK_STEPS = "50"  # of each generator


def read(name: str) -> str:
    """The text of params.yaml that the preset stands for. Raises UserError, naming the file that is wrong."""
    path = PRESETS / f"{name}.yaml"
    try:
        overlay = _text(path)
        other = re.search(_OTHER, overlay, re.MULTILINE)
        if other is None:
            return compose(_text(PRESETS / f"{_BASE}.yaml"), overlay)
        return compose(read(other["name"]).split("\n\n", 1)[1], overlay.replace(other[0], "", 1))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run this from the project's root") from None


def put(
    name: str,
    folder: Path | None = None,
    by_names: bool = False,
    is_quick: bool = False,
    left_out: Sequence[str] = (),
) -> tuple[Params, list[str]]:
    """Makes the preset the project's params.yaml; returns what it says, and lines about the folder that it fits.

    Raises UserError, leaving params.yaml as it is, when there is no such preset, when params.yaml holds changes that
    git has no copy of, when the preset is not valid, and when nothing fits the folder.
    """
    names = sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem != _BASE)
    if name not in names:
        hint = did_you_mean(get_close_matches(name, names))
        raise UserError(f"there is no preset {name!r}{hint}\n{_listing(names)}" if name else _listing(names))
    if (folder or by_names or left_out) and name != _LOOKS:
        raise UserError(
            f"FOLDER, GROUPS and LEAVE_OUT are for the preset {_LOOKS} alone: others name their data themselves"
        )
    _refuse_to_overwrite(names)
    partial = PARAMS_FILE.with_name(f"{PARAMS_FILE.name}.partial")
    try:
        text, lines = _fitted(read(name), folder, by_names, left_out) if name == _LOOKS else (read(name), [])
        partial.write_text(quick(text) if is_quick else text, encoding="utf-8")
        loaded = params.load(partial)
        workdir.write_bytes(_WRITTEN, partial.read_bytes())
        partial.replace(PARAMS_FILE)
    except UserError as error:
        raise UserError(f"the preset {name} cannot be used: {error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return loaded, lines


def _fitted(text: str, folder: Path | None, by_names: bool, left_out: Sequence[str]) -> tuple[str, list[str]]:
    """The preset for the folder, which is looked at where it is there; else as it is."""
    if folder is None:
        folder = Path(YAML(typ="safe", pure=True).load(text)["prepare"]["source"]["path"])
        if not folder.exists():
            return text, [f"{folder} is not there yet: put your images there, and call this again to have it looked at"]
    return fit(text, folder, by_names, left_out)


def quick(text: str) -> str:
    """The same parameters with so few replicates and steps that every stage runs in seconds, and nothing is decided.

    Each question keeps its first arm and its first rival, each of these its first setting; other arms are left out, and
    generators that no arm trains on: each takes seconds to begin.
    """
    loaded = Params.model_validate(YAML(typ="safe", pure=True).load(text))
    arms, generators = loaded.train_downstream.arms, loaded.train_gan.generators
    first = {name: (each.arms[0], each.rivals[0]) for name, each in loaded.evaluate.questions.items()}
    kept = list(dict.fromkeys(arm for both in first.values() for arm in both))
    drawing = {name for arm in kept for name in arms[arm].generators[:1]}
    for name in arms.keys() - set(kept):
        text = without(text, f"train_downstream.arms.{name}")
    for name in generators.keys() - drawing:
        text = without(text, f"train_gan.generators.{name}")
    learning = [name for name in generators if name in drawing and isinstance(generators[name], SteppedParams)]
    steps = [(f"train_gan.generators.{name}.steps", _QUICK_STEPS, "") for name in learning]
    return _QUICK_HEAD + noted(text, [*_asking(first), *_with_first_setting(arms, kept), *steps, *_QUICK])


def _asking(first: Mapping[str, tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """What makes each question ask of one arm and one rival, as `noted` takes it."""
    for name, both in first.items():
        for role, each in zip(("arms", "rivals"), both, strict=True):
            yield f"evaluate.{name}.{role}", f"[{each}]", ""


def _with_first_setting(arms: Mapping[str, ArmParams], kept: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """What leaves these arms one setting each, as `noted` takes it."""
    for name in kept:
        if len(arms[name].settings) > 1:
            alone = arms[name].model_copy(update={"settings": arms[name].settings[:1]})
            yield f"train_downstream.arms.{name}", json.dumps(alone.model_dump(mode="json", exclude_unset=True)), ""


def _listing(names: list[str]) -> str:
    """All presets, each with the first line of its comment."""
    width = max(map(len, names), default=0)
    first = {name: _text(PRESETS / f"{name}.yaml").split("\n", 1)[0].lstrip("# ") for name in names}
    return "\n".join(["choose one with `make preset NAME=...`:", *(f"  {n:<{width}}  {first[n]}" for n in names)])


def _refuse_to_overwrite(names: list[str]) -> None:
    """What a preset wrote and nobody changed may be overwritten. Where git cannot answer, any other file that is no
    preset counts as the user's own work."""
    if not PARAMS_FILE.exists() or (_WRITTEN.exists() and _WRITTEN.read_bytes() == PARAMS_FILE.read_bytes()):
        return
    changed = _uncommitted()
    remedy = "a preset would overwrite: commit them, or rename the file, and try again"
    if changed:
        raise UserError(f"{PARAMS_FILE} has changes that are not committed, which {remedy}")
    if changed is None and _text(PARAMS_FILE) not in map(read, names):
        raise UserError(f"{PARAMS_FILE} differs from every preset and git keeps no copy of its values, which {remedy}")


def _uncommitted() -> bool | None:
    """Whether git sees changes in params.yaml, or sees it untracked; None when it cannot say."""
    command = ["git", "status", "--porcelain", "--", str(PARAMS_FILE)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    return bool(answer.stdout.strip()) if answer.returncode == 0 else None


def _next_step(loaded: Params) -> str:
    sources = (loaded.prepare.source, loaded.prepare.shift.source)
    downloads = [source.path for source in sources if isinstance(source, TorchvisionParams) and source.download]
    folders = [source.path for source in sources if source.kind not in _NEED_NO_FOLDER and source.path not in downloads]
    for folder in downloads:
        Path(folder).mkdir(parents=True, exist_ok=True)  # a stage of DVC wants what it depends on to be there
    if not folders:
        return f"Now `make repro`{', which downloads its data' if downloads else ''}."
    missing = [folder for folder in folders if not Path(folder).exists()]
    note = f" ({' and '.join(missing)} is not there yet)" if missing else ""
    return f"Its data must lie in {' and '.join(folders)}{note}; then `make repro`."


def main() -> None:
    """Puts the preset named on the command line in params.yaml, or lists them all with exit status 1.

    Where `prepare` will download a set, the folder for it is made.
    """
    parser = argparse.ArgumentParser(prog="python -m stages.presets", description=__doc__)
    parser.add_argument("name", nargs="*", help="of the preset; none lists them all")
    parser.add_argument("--folder", type=Path, help=f"of images, for {_LOOKS}")
    parser.add_argument("--groups", choices=["names"], help="its files' names tell patients, speakers or slides")
    parser.add_argument("--leave-out", default="", help="classes that play no role, with commas between them")
    parser.add_argument("--quick", action="store_true", help="two replicates and few steps, which decide nothing")
    asked = parser.parse_args()
    name = " ".join(asked.name)
    try:
        left_out = [each.strip() for each in asked.leave_out.split(",") if each.strip()]
        loaded, lines = put(name, asked.folder, asked.groups == "names", asked.quick, left_out)
    except UserError as error:
        sys.exit(f"preset: {error}")
    for line in lines:
        print(f"preset: {line}")  # noqa: T201
    which = f"the preset {name}{', made quick: it shows that all works, and decides nothing' if asked.quick else ''}"
    print(f"{PARAMS_FILE} now holds {which}. {_next_step(loaded)}")  # noqa: T201


if __name__ == "__main__":
    main()
