"""Look up known vulnerabilities of every package in requirements.lock. `make audit` runs this with pip-audit.

The exit status is 1 where an advisory names a locked version. Where nothing could be looked up, it says why and ends
with 0: no network is no finding. pip-audit itself ends with 0 where an index knows none of the packages, so its report
is read here and its status is not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parent.parent / "requirements.lock"
ACCEPTED: dict[str, str] = {}
"""Advisories that do not concern us, by identifier, with the reason (SECURITY.md, "Dependencies")."""


def judge(report: dict[str, Any]) -> tuple[list[str], int]:
    """Lines for a reader and an exit status.

    Args:
        report: what `pip-audit --format json` writes: `dependencies`, each with `name` and either `version` and
            `vulns` or `skip_reason`.
    """
    asked = report["dependencies"]
    skipped = [package for package in asked if "skip_reason" in package]
    if len(skipped) == len(asked):
        reason = skipped[0]["skip_reason"] if skipped else "the lock names no package"
        return [f"skipped: none of {len(asked)} packages could be looked up ({reason})"], 0
    lines, num_found = [f"not looked up: {package['name']} ({package['skip_reason']})" for package in skipped], 0
    for package in asked:
        for advisory in package.get("vulns", ()):
            names = {advisory["id"], *advisory.get("aliases", ())}
            title = f"{package['name']} {package['version']}: {advisory['id']}"
            if reasons := [ACCEPTED[name] for name in sorted(names) if name in ACCEPTED]:
                lines.append(f"{title}, accepted: {reasons[0]}")
                continue
            num_found += 1
            lines.append(f"{title}, mended in {', '.join(advisory.get('fix_versions', ())) or 'no version'}")
    lines.append(f"{len(asked) - len(skipped)} packages were looked up, {num_found} advisories concern them")
    return lines, int(num_found > 0)


def audit() -> tuple[list[str], int]:
    """Ask pip-audit about the lock; returns lines and an exit status."""
    # No resolver and no download: the lock names every version.
    asked = [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        done = subprocess.run(asked, check=False, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return ["skipped: pip-audit did not answer in 300 s"], 0
    try:
        report = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip() or "it wrote nothing").splitlines()[-1]
        return [f"skipped: pip-audit could not look anything up ({last})"], 0
    return judge(report)


if __name__ == "__main__":
    lines, status = audit()
    print("\n".join(lines))
    sys.exit(status)
