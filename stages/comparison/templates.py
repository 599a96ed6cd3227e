"""The page of the report and the data card as templates, with the words and forms of numbers that they use."""

import base64
import json
from functools import cache
from inspect import getmembers, isfunction

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from stages.comparison import persons, wording
from stages.comparison.origin import CONTROLS, kind_words
from stages.comparison.privacy import attack_words
from stages.comparison.scores import MEASURES
from stages.comparison.wording import MEASURE_NAMES, signed_points


def template(name: str) -> Template:
    """A template of this package, by its file's name; in HTML every name that it is given is escaped."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    """Every function of `wording` is a filter by its own name."""
    environment = Environment(
        loader=PackageLoader("stages.comparison", ""),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= dict(getmembers(wording, isfunction)) | {
        "attack_words": attack_words,
        "person_rows": persons.rows,
        "points": signed_points,
        "kind_words": kind_words,
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}",
        "quoted": lambda text: json.dumps(text, ensure_ascii=False),
    }
    environment.globals |= {
        "wording": wording,
        "measures": MEASURES,
        "measure_names": MEASURE_NAMES,
        "control_kinds": CONTROLS,
        "person_columns": list(persons.COLUMNS.values()),
    }
    return environment
