"""Commands of the project without their start: one process imports what they need, and splits off a copy for each.

`python -m stages.train_gan gan` spends five seconds on importing torch and its like, and one on its work where that is
tiny; tests of the whole pipeline run some fifty such commands. Libraries alone are imported beforehand: the project's
code is read anew by each command. A command is killed by its process group, which must be of this session.
"""

import array
import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = (
    "dvc.cli",
    "dvc.repo",
    "dvc.commands.repro",
    "dvc_data.index",
    "torch._dynamo",
    "torch.optim.swa_utils",
    "torchvision.transforms.v2",
    "mlflow.pyfunc",
    "mlflow.tracking",
    "mlflow.models",
    "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.linear_model",
    "sklearn.datasets",
    "sklearn.neighbors",
    "sklearn.ensemble",
    "sklearn.semi_supervised",
    "sklearn.pipeline",
    "scipy.stats",
    "statsmodels.stats.nonparametric",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "jinja2",
    "joblib.externals.loky",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "ruamel.yaml",
    "safetensors.torch",
    "tqdm",
)
_DESCRIPTORS = array.array("i", [1, 2])
# The shell's `python` and `dvc`: what the server knows goes to it, everything else to Python.
_COMMAND = """#!/bin/sh
exec {python} -IS {server} {address} {name} "$@"
"""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[None]:
    """A server, and `commands` that ask it, for PATH, in a folder. It imports nothing before the first asks."""
    address, commands = folder / "server", folder / "commands"
    commands.mkdir()
    for name in ("python", "dvc"):
        words = {"python": sys.executable, "server": __file__, "address": str(address), "name": name}
        (commands / name).write_text(_COMMAND.format(**{key: shlex.quote(word) for key, word in words.items()}))
        (commands / name).chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        command = [sys.executable, __file__, str(listener.fileno())]
        with subprocess.Popen(command, pass_fds=[listener.fileno()]) as server:  # noqa: S603
            try:
                yield
            finally:
                server.terminate()


def ask(address: str, module: str, arguments: list[str]) -> int:
    """Has the server run a module here, with this process's variables, outputs and process group; its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whom it concerns is of the same process group
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        request = json.dumps([module, arguments, str(Path.cwd()), dict(os.environ), os.getpgrp()]).encode()
        client.sendmsg([b"%20d" % len(request)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTORS)])
        client.sendall(request)
        status = client.makefile().read()
    return int(status or 1)


def serve(descriptor: int) -> None:
    """Answers until it is ended, or the tests are gone."""
    parent = os.getppid()
    with socket.socket(fileno=descriptor) as listener:
        listener.settimeout(1)
        imported = False
        while os.getppid() == parent:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            if not imported:
                _import_libraries()
                imported = True
            with client:
                if os.fork() == 0:
                    _answer(client)
                    os._exit(0)


def _import_libraries() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            importlib.import_module(library)
    gc.collect()
    gc.freeze()  # or each copy would go through all that was imported


def _answer(client: socket.socket) -> None:
    """Runs what is asked for in a copy of this process, and tells how it ended."""
    client.settimeout(None)
    head, ((_, _, sent),), *_ = client.recvmsg(20, socket.CMSG_SPACE(_DESCRIPTORS.itemsize * len(_DESCRIPTORS)))
    module, arguments, folder, variables, group = json.loads(client.makefile("rb").read(int(head)))
    for own, descriptor in zip(_DESCRIPTORS, array.array("i", sent), strict=True):
        os.dup2(descriptor, own)
        os.close(descriptor)
    os.setpgid(0, group)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.path[:1] = [folder, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [module, *arguments]
    copy = multiprocessing.get_context("fork").Process(target=_run, args=(module,))
    copy.start()
    copy.join()
    assert copy.exitcode is not None
    client.sendall(str(copy.exitcode if copy.exitcode >= 0 else 128 - copy.exitcode).encode())


def _run(module: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:  # as an interpreter ends, which ends loky's workers; multiprocessing would wait for them first
        threading._shutdown()
        atexit._run_exitfuncs()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true")
        os.environ.update(DVC_NO_ANALYTICS="1", PYTORCH_NVML_BASED_CUDA_CHECK="1")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve(int(sys.argv[1]))
    else:
        _, server, program, *words = sys.argv
        if program == "dvc":
            words = ["-m", "dvc", *words]
        if words[:1] == ["-m"] and words[1].split(".")[0] in ("dvc", "pytest", "stages"):
            sys.exit(ask(server, words[1], words[2:]))
        os.execv(sys.executable, [sys.executable, *words])  # noqa: S606
