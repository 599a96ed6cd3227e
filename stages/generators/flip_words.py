"""What `flips.check` found, in words for the terminal."""

from collections.abc import Iterator, Mapping, Sequence


def told(qualities: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """A line for each replicate whose translation swaps classes, or cannot be told from chance.

    qualities: by replicate, what is told of its generator.
    """
    for replicate, quality in enumerate(qualities):
        if reason := _reason(quality):
            yield (
                f"replicate {replicate}: {reason}: of the labelled target images a quick classifier that learned from "
                f"translated images gets {quality['target_hits']:.0%} right, and one that learned from the same images "
                f"untranslated {quality['source_hits']:.0%}"
            )


def _reason(quality: Mapping[str, float]) -> str | None:
    if quality.get("flipped"):
        return (
            "the translation swaps classes, so do not use its images; range: local, which cannot redraw what an image "
            "shows, or fewer steps may help"
        )
    if quality.get("above_chance") == 0:
        return (
            "translated images teach nothing that the labelled target images bear out clearly; the translation may "
            "have failed, or prepare.validation_per_class is too small to tell"
        )
    return None
