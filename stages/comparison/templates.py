"""The page of the report and the data card as templates, with the words and forms of numbers that they use."""

import base64
import json
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from stages.comparison.origin import CONTROLS, kind_words
from stages.comparison.power import MOST_REPLICATES
from stages.comparison.scores import MEASURES
from stages.comparison.verdict import MEASURE_NAMES, signed_points
from stages.comparison.wording import (
    ACTIONS,
    FIDELITY_MEASURES,
    FURTHER_MEASURES,
    OUTCOMES,
    check_words,
    classifier_words,
    count,
    disturbance_words,
    fidelity_value,
    markdown_cell,
    p_value,
    percent,
    sentence,
    setting_words,
    shortened,
)


def template(name: str) -> Template:
    """A template of this package, by its file's name; in HTML every name that it is given is escaped."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stages.comparison", ""),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "points": signed_points,
        "p_value": p_value,
        "count": count,
        "setting": setting_words,
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}",
        "quoted": lambda text: json.dumps(text, ensure_ascii=False),
        "cell": markdown_cell,
        "check": check_words,
        "classifier": classifier_words,
        "disturbance": disturbance_words,
        "fidelity": fidelity_value,
        "sentence": sentence,
        "action": ACTIONS.__getitem__,
        "shortened": shortened,
        "kind": kind_words,
    }
    environment.globals |= {
        "measures": MEASURES,
        "measure_names": MEASURE_NAMES,
        "outcomes": OUTCOMES,
        "further_measures": FURTHER_MEASURES,
        "fidelity_words": FIDELITY_MEASURES,
        "most_replicates": MOST_REPLICATES,
        "control_kinds": CONTROLS,
    }
    return environment
