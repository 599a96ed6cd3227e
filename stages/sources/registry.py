"""Where images come from, by `prepare.source.kind`."""

from stages.plumbing.images import ImageSet
from stages.sources import digits
from stages.sources.params import SourceParams

_SOURCES = {"digits": (digits.load, digits.CLASS_NAMES)}


def load(source: SourceParams) -> tuple[ImageSet, list[str]]:
    """All images of the source, and its class names in the order of the labels."""
    load_images, class_names = _SOURCES[source.kind]
    return load_images(), class_names
