"""Teacher views: a frozen copy of the student that sees only the clip around the annotated span, and its controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from small_studies import STEPS as SMALL_STEPS
from study import EXACT, METHODS, OPD, Method, Study, Tables

from video_opd.config.recipe_file import overlay

MARGIN_S = 1.0


def view(**more: Any) -> Tables:
    """The teacher is the student before training, and sees a part of the clip."""
    return {"teacher": {"model": "student", "view": {"kind": "clip", "margin_s": MARGIN_S, **more}}}


ARMS: dict[str, tuple[Method, Tables]] = {
    "view": (EXACT, view()),
    "view-sampled": (OPD, view()),
    "view-random": (EXACT, view(spans="random")),
    "teacher": (EXACT, {}),
    "teacher-sampled": (OPD, {}),
    "sft": (METHODS["sft"], {}),
    "grpo": (METHODS["grpo"], {}),
}
READ_LABELS = ("view", "view-sampled", "sft", "grpo")
MARGINS_S = {"margin-0": 0.0, "margin-1": MARGIN_S, "margin-2": 2.0, "margin-4": 4.0}
CHANGING: dict[str, Tables] = {
    "refresh-20": {"teacher": {"refresh_every": 20}},
    "average-98": {"teacher": {"average": 0.98}},
    "average-90": {"teacher": {"average": 0.9}},
}
HINTS: dict[str, Tables] = {
    name: {"teacher": {"model": "student", "view": {"kind": "hint", "spans": spans}}}
    for name, spans in (("hint", "annotated"), ("hint-random", "random"))
}
EXPERIMENTS: dict[str, Tables] = (
    {"frozen": view()} | {name: overlay(view(), tables) for name, tables in CHANGING.items()} | HINTS
)
OTHER_STUDENTS = {"views-1": "viewer-1", "views-2": "viewer-2"}
"""Students from training runs of their own."""
SMALL_STUDENTS = {"views-small-240": "small-240", "views-small-560": "small-560"}
"""Students of section 10, which were then taught to read crops."""
ON_OTHERS = ("view", "view-random", "teacher", "sft", "grpo")
ON_SMALL = ("view", "view-random", "teacher", "sft")


def arms(*names: str) -> Tables:
    """The parts of a study that say what its methods are."""
    return {
        "methods": {name: ARMS[name][0] for name in names},
        "changes": {name: ARMS[name][1] for name in names},
    }


def studies(models: Path) -> dict[str, Study]:
    """All of them, in the order in which they are run."""
    viewer = str(models / "viewer")
    others = {
        study: Study(**arms(*ON_OTHERS), seeds=(0, 1, 2), student=str(models / student), rates_from="views")
        for study, student in OTHER_STUDENTS.items()
    }
    small = {
        study: Study(**arms(*ON_SMALL), seeds=(0, 1, 2), rates=(2e-4, 5e-4, 1e-3), steps=SMALL_STEPS,
                     student=str(models / f"viewer-{student}"))
        for study, student in SMALL_STUDENTS.items()
    }  # fmt: skip
    return {
        "views": Study(**arms(*ARMS), seeds=(0, 1, 2), rates=(2e-4, 5e-4, 1e-3), student=viewer),
        "views-experiments": Study(
            methods=dict.fromkeys(EXPERIMENTS, EXACT), changes=EXPERIMENTS, seeds=(0, 1, 2), student=viewer,
            rates_from="views", rate_of=dict.fromkeys(EXPERIMENTS, "view"),
        ),
        "views-margin": Study(
            methods=dict.fromkeys(MARGINS_S, EXACT), seeds=(0, 1, 2), student=viewer, rates_from="views",
            changes={name: view(margin_s=margin_s) for name, margin_s in MARGINS_S.items()},
            rate_of=dict.fromkeys(MARGINS_S, "view"),
        ),
        "views-120": Study(
            **arms("view", "view-random", "teacher", "sft"), seeds=(0, 1, 2), student=viewer, rates_from="views",
            steps=120,
        ),
        "views-clean": Study(**arms(*READ_LABELS), noise="clean", student=viewer, rates_from="views"),
        "views-heavy": Study(**arms(*READ_LABELS), noise="heavy", student=viewer, rates_from="views"),
        **others,
        **small,
    }  # fmt: skip
