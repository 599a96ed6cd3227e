"""The GPU's benchmark in miniature, on a CPU."""

import pytest
import torch

from benchmarks import gpu

CPU = torch.device("cpu")


def test_a_resumed_training_and_what_is_drawn_are_checked() -> None:
    found = gpu.check("refined_gaussian", 8, 2, CPU)
    assert found["levels_from_a_cpu"] == 0
    assert found["drawn_per_second"] > 0


def test_a_training_that_resumes_to_other_weights_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    load = gpu.Remembered.load

    def forgetful(self: gpu.Remembered) -> dict[str, object] | None:
        saved = load(self)
        return saved and saved | {"random": torch.Generator().manual_seed(5).get_state()}

    monkeypatch.setattr(gpu.Remembered, "load", forgetful)
    with pytest.raises(AssertionError, match="weights of a resumed training differ"):
        gpu.check("refined_gaussian", 8, 2, CPU)
