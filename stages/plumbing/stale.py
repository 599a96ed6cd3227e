"""Answers that are none to this run: a clone brings those about the digits, and `evaluate` comes last.

Until it has run, they would pass for the answers to whatever is being run.
"""

import shutil

from pydantic import BaseModel

from stages.plumbing import workdir
from stages.plumbing.errors import UserError
from stages.plumbing.params import Params

MARK = "made_from"  # in metrics/evaluate.json
_NUMBERS = workdir.METRICS / "evaluate.json"
_ANSWERS = [workdir.METRICS / name for name in ("report.html", "figures", "scores.csv", "evaluate_summary.json")]
_OF_GENERATORS = [workdir.METRICS / stage for stage in ("train_gan", "generate", "filter_memorized")]


class _Marked(BaseModel):
    made_from: dict[str, str]


def made_from(params: Params) -> dict[str, str]:
    """Digests of what the answers are about: the prepared images, and the parameters that decide results."""
    prepared = [workdir.DATA / "prepare" / name for name in ("dataset.json", "images.parquet", "roles.parquet")]
    return {"images": workdir.fingerprint(*prepared), "parameters": workdir.fingerprint(params.decisive())}


def remove_former_answers(stage: str, params: Params) -> None:
    """Removes the answers to other images or parameters, once a stage before `evaluate` has ended well, and says so.

    What generators tell of other images goes, too. DVC sees by what is missing that it must be made.
    """
    if not _NUMBERS.is_file():
        return
    former, now = _mark(), made_from(params)
    if former == now:
        return
    of_others = stage == "prepare" and former.get("images") != now["images"]
    for path in (*_ANSWERS, *(_OF_GENERATORS if of_others else ()), _NUMBERS):  # the mark goes last
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    about = "images" if of_others else "parameters"
    print(f"{stage}: removed metrics/report.html, which was about other {about}; `evaluate` writes a new one")  # noqa: T201


def _mark() -> dict[str, str]:
    """What the answers were made from; empty where they are damaged or do not say."""
    try:
        return dict(workdir.read_json(_NUMBERS, _Marked)[MARK])
    except UserError:
        return {}
