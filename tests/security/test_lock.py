"""Every dependency is one version of known content, and no file says where from it must come."""

import re
import tomllib

import pytest

from tests.conftest import ROOT

LOCKS = ["requirements.lock", "requirements-all.lock"]
every_lock = pytest.mark.parametrize("lock", LOCKS)


def entries(lock: str) -> list[list[str]]:
    """Of each requirement its lines, the first with name and version."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / lock).read_text()).strip()
    of_each = re.split(r"\n(?=[A-Za-z0-9])", text)
    return [[line.strip().rstrip(" \\") for line in entry.splitlines()] for entry in of_each]


@every_lock
def test_every_requirement_has_one_version_and_hashes(lock: str) -> None:
    found = entries(lock)
    assert len(found) > 100
    for first, *rest in found:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+( ; .+)?", first), first
        assert rest, first
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in rest), first


@every_lock
def test_the_lock_names_no_index_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.search(r"(?m)^\s*(-|--)(i|e|f|index-url|extra-index-url|find-links|trusted-host)\b", text)
    assert "://" not in text
    assert " @ " not in text


def test_the_main_job_installs_a_part_of_all_and_no_extra() -> None:
    few, all_of_them = ({first.partition("==")[0]: entry for first, *entry in entries(each)} for each in LOCKS)
    assert all(all_of_them[name] == hashes for name, hashes in few.items())
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    optional = {re.split(r"[\[>=<]", each)[0] for wanted in extras.values() for each in wanted} | {"triton"}
    assert optional <= all_of_them.keys()
    assert not optional & few.keys()


def test_installing_checks_the_hashes() -> None:
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)
