"""What the last stage publishes from is gathered as it lies there."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from stages.gather import _emptied


def test_a_class_is_missing_in_as_many_replicates_as_have_no_image_of_it() -> None:
    dataset: Any = SimpleNamespace(classes=["cat", "dog", "owl"], replicates=3)
    replicates, labels = [0, 0, 0, 1, 1, 2], [0, 0, 1, 0, 1, 0]
    synthetic = SimpleNamespace(extra={"replicate": np.array(replicates)}, labels=np.array(labels))
    assert _emptied(dataset, cast(Any, synthetic)) == {"dog": 1, "owl": 3}
