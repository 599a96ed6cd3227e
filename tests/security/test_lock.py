"""Every dependency is one version of known content, and no file says where from it must come."""

import re

from tests.conftest import ROOT


def test_every_requirement_has_one_version_and_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^\s*#.*\n", "", text).strip())
    assert len(entries) > 100
    for entry in entries:
        first, *rest = [line.strip().rstrip(" \\") for line in entry.splitlines()]
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+( ; .+)?", first), first
        assert rest, first
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in rest), first


def test_the_lock_names_no_index_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"(?m)^\s*(-|--)(i|e|f|index-url|extra-index-url|find-links|trusted-host)\b", text)
    assert "://" not in text
    assert " @ " not in text


def test_installing_checks_the_hashes() -> None:
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)
