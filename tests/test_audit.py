"""`make audit`: what it says of a report, and that no answer is not a clean answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
import audit

CLEAN = {"name": "rich", "version": "15.0", "vulns": []}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found"}


def describe_vulnerable(**changes: Any) -> dict[str, Any]:
    advisory = {"id": "PYSEC-2030-1", "aliases": ["CVE-2030-7"], "fix_versions": ["13.0"]} | changes
    return {"name": "pillow", "version": "12.0", "vulns": [advisory]}


def test_an_advisory_fails() -> None:
    lines, status = audit.judge({"dependencies": [CLEAN, describe_vulnerable()]})
    assert status == 1
    assert lines == [
        "pillow 12.0: PYSEC-2030-1, mended in 13.0",
        "2 packages were looked up, 1 advisories concern them",
    ]


def test_an_advisory_without_a_mended_version() -> None:
    lines, status = audit.judge({"dependencies": [describe_vulnerable(fix_versions=[])]})
    assert (lines[0], status) == ("pillow 12.0: PYSEC-2030-1, mended in no version", 1)


def test_an_accepted_advisory_is_named_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(audit.ACCEPTED, "CVE-2030-7", "we never decode that format")
    lines, status = audit.judge({"dependencies": [describe_vulnerable()]})
    assert status == 0
    assert lines[0] == "pillow 12.0: PYSEC-2030-1, accepted: we never decode that format"


def test_an_index_that_knows_nothing_is_skipped_and_not_clean() -> None:
    lines, status = audit.judge({"dependencies": [UNKNOWN, UNKNOWN]})
    assert (lines, status) == (["skipped: none of 2 packages could be looked up (Dependency not found)"], 0)


def test_packages_that_were_not_looked_up_are_named() -> None:
    lines, status = audit.judge({"dependencies": [UNKNOWN, CLEAN]})
    assert status == 0
    assert lines == [
        "not looked up: torch (Dependency not found)",
        "1 packages were looked up, 0 advisories concern them",
    ]


@pytest.mark.parametrize("code", ["import sys; sys.exit('no route to host')", "pass"])
def test_no_answer_is_skipped_with_the_reason(code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pip_audit.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (line,), status = audit.audit()
    assert status == 0
    assert line.endswith("(no route to host)" if "exit" in code else "(it wrote nothing)")
