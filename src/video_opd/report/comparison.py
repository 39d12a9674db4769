"""The page of a comparison."""

from __future__ import annotations

from pathlib import Path


def write_comparison_report(folder: Path) -> Path:
    """From `comparison.json`."""
    return folder / "report.html"
