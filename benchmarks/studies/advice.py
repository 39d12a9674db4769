"""docs/SHOULD_I_USE_THIS.md: ten lines for a reader who has to decide, with the figures of the studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
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
        """How many selections of examples were clearly better than the whole pool."""
        results = read_kept("curriculum", "main")
        if results is None:
            return MISSING
        apart = [each for each in results["differences"] if "whole-pool" in (each["one"], each["other"])]
        sign = [each["mean"] if each["other"] == "whole-pool" else -each["mean"] for each in apart]
        clear = [abs(each["mean"]) > (each["interval"][1] - each["interval"][0]) / 2 for each in apart]
        better = sum(is_clear and mean > 0 for is_clear, mean in zip(clear, sign, strict=True))
        return f"{better} of {len(apart)}"


def write_advice(found: Any) -> str:
    """The page."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((Path(__file__).parent / "advice.md.j2").read_text(encoding="utf-8"))
    return template.render(figures=Figures(found))
