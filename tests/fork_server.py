"""Commands of the project without their start: one process imports what they need, and splits off a copy for each.

`python -m stages.train_gan gan` spends five seconds on importing torch and its like, and one on its work where the work
is tiny; tests of the whole pipeline run some fifty such commands. Libraries alone are imported beforehand: the project's
code is read anew by each command. Drills, and tests that kill, start processes as people do.
"""

import array
import contextlib
import importlib
import json
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
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
    "statsmodels.stats.multitest",
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
_DESCRIPTORS = array.array("i", [0, 1, 2])
# The shell's `python` and `dvc`: what the server knows goes to it, everything else to Python.
_COMMAND = """#!/bin/sh
exec {python} -IS {server} {address} {name} "$@"
"""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """A server, and the folder of commands that ask it, for PATH. It imports nothing before the first asks."""
    address, commands = folder / "server", folder / "commands"
    commands.mkdir(parents=True)
    for name in ("python", "dvc"):
        words = {"python": sys.executable, "server": __file__, "address": str(address), "name": name}
        (commands / name).write_text(_COMMAND.format(**{key: shlex.quote(word) for key, word in words.items()}))
        (commands / name).chmod(0o755)
    with subprocess.Popen([sys.executable, __file__, str(address)]) as server:  # noqa: S603
        try:
            yield commands
        finally:
            server.terminate()


def ask(address: str, module: str, arguments: list[str]) -> int:
    """Has the server run a module here, with this process's variables and terminal; its exit status."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        request = json.dumps([module, arguments, str(Path.cwd()), dict(os.environ)]).encode()
        client.sendmsg([b"%20d" % len(request)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTORS)])
        client.sendall(request)
        status = client.makefile().read()
    return int(status or 1)


def serve(address: str) -> tuple[str, list[str]]:
    """Answers until it is ended; in each process that was split off, returns the module that it is to run."""
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        listener.settimeout(1)
        imported = False
        while os.getppid() == parent:  # the tests may have been killed
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
                    listener.close()
                    return _become(client)
    sys.exit()


def _import_libraries() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            importlib.import_module(library)


def _become(client: socket.socket) -> tuple[str, list[str]]:
    """Waits for a copy of this process and tells how it ended; in the copy, returns what it is to run."""
    client.settimeout(None)
    head, (rights,), *_ = client.recvmsg(20, socket.CMSG_SPACE(_DESCRIPTORS.itemsize * 3))
    descriptors = array.array("i", rights[2])
    request = client.makefile("rb").read(int(head))
    worker = os.fork()
    if worker:
        for descriptor in descriptors:
            os.close(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
        client.sendall(str(status if status >= 0 else 128 - status).encode())
        os._exit(0)
    client.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for own, descriptor in enumerate(descriptors):
        os.dup2(descriptor, own)
        os.close(descriptor)
    module, arguments, folder, variables = json.loads(request)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.path[:1] = [folder, *filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [module, *arguments]
    return module, arguments


if __name__ == "__main__":
    if len(sys.argv) == 2:  # noqa: PLR2004
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true")
        os.environ.update(DVC_NO_ANALYTICS="1", PYTORCH_NVML_BASED_CUDA_CHECK="1")
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        runpy.run_module(serve(sys.argv[1])[0], run_name="__main__", alter_sys=True)
    else:
        _, server, program, *words = sys.argv
        if program == "dvc":
            words = ["-m", "dvc", *words]
        if words[:1] == ["-m"] and words[1].split(".")[0] in ("dvc", "stages"):
            sys.exit(ask(server, words[1], words[2:]))
        os.execv(sys.executable, [sys.executable, *words])  # noqa: S606
