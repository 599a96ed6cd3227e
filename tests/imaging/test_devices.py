"""Which device a section of params.yaml gets, and what `deterministic` switches on."""

import os
from collections.abc import Iterator

import pytest
import torch

from stages.imaging.devices import choose, key_on
from stages.plumbing.errors import UserError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def _is_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch's switch and cuBLAS's variable are off before a test, and after it as they were."""
    before = torch.are_deterministic_algorithms_enabled()
    monkeypatch.setenv(CUBLAS, "")  # so that what a test sets is taken back
    monkeypatch.delenv(CUBLAS)
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(params=[False, True], ids=["no GPU", "GPU"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether PyTorch says that it has a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    return bool(request.param)


def test_auto_takes_a_gpu_where_there_is_one_and_cpu_never_does(gpu: bool) -> None:
    assert choose("auto", "generate").type == ("cuda" if gpu else "cpu")
    assert choose("cpu", "generate").type == "cpu"


def test_work_is_known_by_the_device_it_runs_on_and_not_by_what_was_asked_for(gpu: bool) -> None:
    assert key_on("k", "auto", "train_gan") == ("k-cuda" if gpu else "k-cpu")
    assert key_on("k", "cpu", "train_gan") == "k-cpu"


@pytest.mark.parametrize("section", ["train_gan", "evaluate"])
def test_cuda_is_had_or_refused_in_words_that_name_section_and_remedy(gpu: bool, section: str) -> None:
    if gpu:
        assert choose("cuda", section).type == "cuda"
    else:
        with pytest.raises(UserError, match=rf"^{section}\.device is cuda, but .* set it to auto or cpu$"):
            choose("cuda", section)


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_deterministic_switches_pytorchs_algorithms_on_for_a_gpu_alone(
    gpu: bool, wanted: str, deterministic: bool
) -> None:
    device = choose(wanted, "train_gan", deterministic)
    on = deterministic and gpu and wanted == "auto"
    assert (device.type == "cuda") == (gpu and wanted == "auto")
    assert torch.are_deterministic_algorithms_enabled() == on
    assert (CUBLAS in os.environ) == on, "cuBLAS needs a workspace of fixed size, or its products raise"


def test_a_workspace_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    choose("cuda", "train_gan", deterministic=True)
    assert os.environ[CUBLAS] == ":4096:8"
    monkeypatch.setenv(CUBLAS, ":16:8")
    choose("cuda", "train_gan", deterministic=True)
    assert os.environ[CUBLAS] == ":16:8"
