"""What the code must never do to something from outside: unpickle it, run it, unpack it; and where it may listen."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCES = sorted([*ROOT.glob("stages/**/*.py"), *ROOT.glob("benchmarks/*.py")])
# Run what they read, or unpack it wherever it says.
FORBIDDEN_MODULES = {"cloudpickle", "cPickle", "dill", "jsonpickle", "marshal", "shelve", "tarfile", "yaml", "zipfile"}
FORBIDDEN_CALLS = {
    *("compile", "eval", "exec", "os.popen", "os.system", "shutil.unpack_archive"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "pandas.read_pickle", "pd.read_pickle"),
    *("torch.hub.load", "torch.jit.load"),
}
# What passes between the processes of a cluster is pickled: whoever reaches a worker of dask runs code on it anyway.
EXCEPTIONS = {"stages/plumbing/cluster.py": {"cloudpickle", "pickle.loads"}}
DEMANDED_OPTIONS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "YAML": ("typ", "safe"),
    "Environment": ("autoescape", None),
}


def offences(source: str) -> Iterator[str]:
    """The name of each forbidden import or call."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & FORBIDDEN_CALLS
            if (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
                yield node.module or ""
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {option.arg: option.value for option in node.keywords}
            if called in FORBIDDEN_CALLS or _is_shell(options) or not _has_demanded(called, options):
                yield called


def _is_shell(options: dict[str | None, ast.expr]) -> bool:
    return "shell" in options and ast.unparse(options["shell"]) != "False"


def _has_demanded(called: str, options: dict[str | None, ast.expr]) -> bool:
    if called not in DEMANDED_OPTIONS:
        return True
    name, value = DEMANDED_OPTIONS[called]
    return name in options and (value is None or ast.unparse(options[name]) == repr(value))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle; pickle.load(file)",
        "from pickle import loads",
        "import dill",
        "import zipfile",
        "from tarfile import open",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "YAML(pure=True).load(text)",
        "YAML(typ='unsafe').load(text)",
        "import yaml; yaml.load(text)",
        "eval(text)",
        "exec(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "joblib.load(path)",
        "Environment(loader=loader)",
    ],
)
def test_what_is_forbidden_is_found(source: str) -> None:
    assert list(offences(source))


def test_what_is_demanded_is_allowed() -> None:
    source = "torch.load(p, weights_only=True); np.load(p, allow_pickle=False); YAML(typ='safe').load(t); model.eval()"
    assert not list(offences(source))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_from_outside_is_unpickled_run_or_unpacked(path: Path) -> None:
    source = path.read_text(encoding="utf-8").replace("YAML().dump(", "dump(")  # writing is harmless
    assert set(offences(source)) <= EXCEPTIONS.get(path.relative_to(ROOT).as_posix(), set())


def test_nothing_listens_beyond_loopback() -> None:
    texts = [ROOT / "Makefile", ROOT / "README.md", *SOURCES, *ROOT.glob("docs/*.md"), *ROOT.glob("stages/**/*.j2")]
    texts += [ROOT / "Dockerfile", *ROOT.glob(".devcontainer/*"), *ROOT.glob(".github/**/*.yml")]
    texts.remove(ROOT / "docs/cluster.md")  # a cluster listens on a private network, by commands of the user's own
    for path in texts:
        text = path.read_text(encoding="utf-8")
        assert "0.0.0.0" not in text, path  # noqa: S104
        assert not re.search(r"--host[ =](?!127\.0\.0\.1|localhost)", text), path
    assert '"--host", "127.0.0.1"' in (ROOT / "stages/tracking/ui.py").read_text(encoding="utf-8")
