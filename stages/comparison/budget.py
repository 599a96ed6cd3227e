"""What is said of a privacy budget: what it promises of a whole set that is given away, and to whom."""

from collections.abc import Mapping
from typing import Any

from stages.comparison.wording import percent

UNKEPT = (
    "Their noise can be computed again from the seed, so that their privacy budget promises nothing: set noise: secret "
    "and run again."
)


def budget_words(promise: Mapping[str, Any]) -> str:
    """A few sentences of `promise` in metrics/train_gan/<generator>.json."""
    if not promise["kept"]:
        return UNKEPT
    protected = "an image" if promise["protects"] == "image" else "a group, such as a patient,"
    together = ""
    if promise["times"] > 1:
        together = (
            f" They come from several generators, each with an epsilon of {promise['epsilon']:g}, of which up to "
            f"{promise['times']} learned from the same {promise['protects']}."
        )
    alone = ""
    if promise["protects"] == "image" and promise["largest_group"] > 1:
        alone = (
            f" A group, such as a patient, has up to {promise['largest_group']} of the images and is protected less: "
            "set protects: group to protect it."
        )
    return (
        f"They keep a privacy budget: epsilon {promise['published_epsilon']:.3g} at delta {promise['delta']:g} for all "
        f"of them together.{together} It protects {protected} that was learned from.{alone} Whoever guesses from them "
        f"whether it was, by whatever attack, is right at most {percent(promise['advantage'])} more often than wrong."
    )


def kept_epsilon(promise: Mapping[str, Any] | None) -> float | None:
    """The epsilon of the whole set; None where nothing is promised."""
    return float(promise["published_epsilon"]) if promise and promise["kept"] else None
