"""Which synthetic images make up a set that is published, and what of them is told."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

# For the arms alone: what a discriminator knows of an image may tell what it was trained on.
INTERNAL = ("realness", "latent_norm")
NAMING = ("source_id", "mask_id")  # of real images
SOFTWARE = "Understudy"
# IPTC's "Digital Source Type" of what a network made from training data, and of a real image in which it made a part.
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SOURCE_TYPES = {
    "infilling": {"digitalSourceType": _IPTC + "compositeWithTrainedAlgorithmicMedia"},
    "external": {},  # whether a network made these is not known here
}
_TRAINED = {"digitalSourceType": _IPTC + "trainedAlgorithmicMedia"}


def kept_everywhere(kept: NDArray[np.str_], judged: NDArray[np.str_]) -> NDArray[np.int64]:
    """Rows into `kept`, ascending, of the images that passed the filter of every replicate that judged them, each once.

    kept, judged: ids of the images that each replicate's filter kept and was given, those of all replicates in one
    array. Images drawn here are judged by their own replicate alone; images made elsewhere by every one of them,
    and one that is a copy of what any replicate trained on must not be published.
    """
    ids, first, times_kept = np.unique(kept, return_index=True, return_counts=True)
    known, times_judged = np.unique(judged, return_counts=True)
    everywhere = times_kept == times_judged[np.searchsorted(known, ids)]
    return np.sort(first[everywhere])


def published_columns(columns: Mapping[str, NDArray[Any]], name_real_images: bool) -> dict[str, NDArray[Any]]:
    """What is told of each synthetic image: all but what is internal.

    `source_id` and `mask_id` name real images: that which one was drawn from, and that whose region was drawn anew.
    Unless real images may be named they are empty: they would say that this very file, and perhaps this patient, was
    among the data.
    """
    published = {name: column for name, column in columns.items() if name not in INTERNAL}
    for name in NAMING:
        if name in published and not name_real_images:
            published[name] = np.full_like(published[name], "")
    return published


def manifest(generator: str, kind: str, run: str) -> dict[str, Any]:
    """What the mark of a published set says. run: its fingerprint."""
    made_by = {"claim_generator": SOFTWARE, "generator": generator, "kind": kind, "run": run}
    return {"generated": True} | made_by | _SOURCE_TYPES.get(kind, _TRAINED)
