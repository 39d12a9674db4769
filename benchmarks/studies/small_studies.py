"""Students that are smaller than their teacher, not spoiled: two layers of the tiny teacher, taught for a while."""

from __future__ import annotations

from pathlib import Path

from study import METHODS, Study

STEPS = 200
STUDENTS = ("small-240", "small-560")
ANSWERS = {"short": "tiny", "long": "tiny-long"}
"""The template of each form of answer."""


def names() -> list[str]:
    """The studies of all methods."""
    return [f"{student}-{answer}" for student in STUDENTS for answer in ANSWERS]


def studies(models: Path) -> dict[str, Study]:
    """All of them, in the order in which they are run."""
    found: dict[str, Study] = {}
    for student in STUDENTS:
        for answer, template in ANSWERS.items():
            found[f"{student}-{answer}"] = Study(
                methods=METHODS, seeds=(0, 1, 2), rates=(2e-4, 5e-4, 1e-3), student=str(models / student),
                template=template, steps=STEPS,
            )  # fmt: skip
    weak = str(models / "grpo-small")
    passing = {name: METHODS[name] for name in ("opd", "opd-exact")} | {"mixture": {"name": "mixture"}}
    found["small-passing"] = Study(
        methods=passing, seeds=(0, 1, 2), student=str(models / "small-240"), steps=STEPS,
        teachers=dict.fromkeys(passing, weak), rates_from="small-240-short", rate_of={"mixture": "opd"},
    )  # fmt: skip
    return found
