"""Teacher views: a frozen copy of the student that sees only the clip around the annotated span, and its controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study import EXACT, METHODS, OPD, Method, Study, Tables

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


def arms(*names: str) -> Tables:
    """The parts of a study that say what its methods are."""
    return {
        "methods": {name: ARMS[name][0] for name in names},
        "changes": {name: ARMS[name][1] for name in names},
    }


def studies(models: Path) -> dict[str, Study]:
    """All of them, in the order in which they are run."""
    viewer = str(models / "viewer")
    return {
        "views": Study(**arms(*ARMS), seeds=(0, 1, 2), rates=(2e-4, 5e-4, 1e-3), student=viewer),
        "views-clean": Study(**arms(*READ_LABELS), noise="clean", student=viewer, rates_from="views"),
        "views-heavy": Study(**arms(*READ_LABELS), noise="heavy", student=viewer, rates_from="views"),
    }
