"""Where tensors live: on a GPU where there is one, and with the same bytes in every run where that is asked for."""

import os
from typing import Literal

import torch

from stages.plumbing.errors import UserError


def choose(wanted: Literal["auto", "cpu", "cuda"], section: str, deterministic: bool = False) -> torch.device:
    """The device that params.yaml asks for in this section.

    On a CPU one thread gives the same bytes in every run. On a GPU PyTorch promises that only where its deterministic
    algorithms are switched on, for the whole process; they are slower, and an operation that has none raises.

    Raises:
        UserError: a GPU is asked for where PyTorch finds none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"{section}.device is cuda, but there is no GPU here that PyTorch can use: set it to auto or cpu"
        )
    device = torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
    if deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return device


def key_on(key: str, wanted: Literal["auto", "cpu", "cuda"], section: str) -> str:
    """What work is known by on the device of `choose`: `auto` is another one elsewhere, with other results."""
    return f"{key}-{choose(wanted, section).type}"
