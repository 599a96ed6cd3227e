"""A replicate's teacher, whom all generators share."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from stages.downstream.params import ClassicParams
from stages.jobs.replicate import guess_pool
from stages.labelling.data import ReplicateData
from stages.labelling.soft_labels import MEMBERS, Teacher, build_member, fit_teacher
from stages.plumbing import code, workdir
from stages.plumbing.dataset import Dataset

UNIT = "teachers"


def open_teacher(dataset: Dataset, replicate: int, data: ReplicateData, strengths: ClassicParams, seed: int) -> Teacher:
    """The teacher of the replicate, fitted once for all generators and for all shards of what they draw.

    It depends on the replicate's images, its code, the strengths of `classic`, the seed, and the device.
    """
    device = data.images.device
    digest = code.digest(code.closure(Path("stages/labelling/soft_labels.py")))
    made_from = (digest, dataset.fingerprint(replicate), strengths, seed)
    stage, key = f"{UNIT}/{replicate}-{device.type}", workdir.fingerprint(*made_from)

    def build(folder: Path) -> None:
        teacher = fit_teacher(data, strengths, seed, guess_pool(dataset, replicate, data))
        state = nn.ModuleList(teacher.members).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "members.safetensors")
        workdir.write_json(folder / "temperature.json", teacher.temperature)

    unit = workdir.finished(stage, key, build)
    workdir.forget_others(stage, [key])
    channels, size = data.images.shape[1:3]
    with torch.random.fork_rng(devices=[]):  # first weights, which the learned ones replace
        members = [build_member(channels, size, data.classes) for _ in range(MEMBERS)]
    nn.ModuleList(members).to(device).eval().load_state_dict(load_file(unit / "members.safetensors", str(device)))
    return Teacher(members, workdir.read_json(unit / "temperature.json"))
