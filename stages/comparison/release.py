"""Which synthetic images make up the set that is published."""

import numpy as np
from numpy.typing import NDArray


def kept_everywhere(kept: NDArray[np.str_], judged: NDArray[np.str_]) -> NDArray[np.int64]:
    """Rows into `kept`, ascending, of the images that passed the filter of every replicate that judged them, each once.

    kept, judged: ids of the images that each replicate's filter kept and was given, those of all replicates in one
    array. A GAN's images are judged by their own replicate alone; images made elsewhere by every one of them,
    and one that is a copy of what any replicate trained on must not be published.
    """
    ids, first, times_kept = np.unique(kept, return_index=True, return_counts=True)
    known, times_judged = np.unique(judged, return_counts=True)
    everywhere = times_kept == times_judged[np.searchsorted(known, ids)]
    return np.sort(first[everywhere])
