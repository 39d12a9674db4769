"""docs/SHOULD_I_USE_THIS.md: ten lines for a reader who has to decide, with the figures of the studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from comparing import gap, verdict
from curriculum_findings import SETTINGS
from kept_results import read_kept

MISSING = "(not run)"


class Figures:
    """Figures of the studies as text; a figure that is missing says so."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def miou(self, study: str, method: str) -> str:
        """Test mIoU of a method, mean over seeds."""
        values = self.found.miou(study, method)
        return f"{sum(values) / len(values):.2f}" if values else MISSING

    def before(self, study: str) -> str:
        """Test mIoU of the student before training."""
        results = self.found.studies.get(study)
        return f"{results['student_before']['scores']['miou']:.2f}" if results else MISSING

    def teacher(self, study: str, method: str) -> str:
        """Test mIoU of the teacher of a method."""
        value = self.found.teacher_miou(study, method)
        return MISSING if value is None else f"{value:.2f}"

    def cost(self, how: str) -> str:
        """What Video-OPD costs of GRPO."""
        cost = self.found.measures["cost"]
        return MISSING if cost is None else f"{cost['opd_over_grpo'][how]:.2f}"

    @staticmethod
    def selections() -> str:
        """How many selections of examples were clearly better than the whole pool, over all studies."""
        kept = [results for study in SETTINGS if (results := read_kept("curriculum", study))]
        # `singly` changes the micro-batches and selects nothing, and GRPO is another method
        known = [
            apart
            for results in kept
            for name in results["methods"]
            if "singly" not in name and "grpo" not in name and (apart := gap(results, name, "whole-pool"))
        ]
        return f"{sum(each.is_clear and each.mean > 0 for each in known)} of {len(known)}" if known else MISSING

    def compare(self, study: str, one: str, other: str) -> str:
        """A sentence that compares two methods."""
        apart = gap(self.found.studies[study], one, other)
        return MISSING if apart is None else verdict(f"`{one}`", f"`{other}`", apart)


def write_advice(found: Any) -> str:
    """The page."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((Path(__file__).parent / "advice.md.j2").read_text(encoding="utf-8"))
    return template.render(figures=Figures(found))
