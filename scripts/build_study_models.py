"""The models of docs/CLAIMS.md and docs/CURRICULUM.md that do not ship with the package: more students, a ladder of
weaker teachers, and two that are right about half of the colours each.

    python scripts/build_study_models.py --out runs/study-models [--only student-1 teacher-c …]

Two students from seeds of their own, taught like the tiny student and then spoiled on the long answer, which spoils the
short one too: both can be studied. And the tiny teacher, spoiled for longer and longer: each rung a worse teacher, and
otherwise the same model. What is there already is not made again. About 12 minutes a student on one quiet core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from transformers import Qwen3VLForConditionalGeneration

from build_tiny_models import STEPS, save
from tiny_models.architecture import build_processor
from tiny_models.school import Carelessness
from tiny_models.teaching import examine, spoil, teach
from video_opd.policy.location import resolve_model

STUDENT_SEEDS = (1, 2)
STUDENT_SPOILING = {"steps": 60, "peak": 1e-4, "noise": Carelessness(other_share=0.5, error_s=0.5),
                    "shares": {"tiny-long": 0.6, "tiny-before": 0.4}}  # fmt: skip
LADDER = {"teacher-b": 8, "teacher-c": 16, "teacher-d": 30}
"""Steps of spoiling; the top rung is the tiny teacher itself."""
LADDER_SPOILING = {"peak": 3e-4, "noise": Carelessness(other_share=0.5, error_s=1.0)}
SPECIALISTS = {"teacher-of-primaries": ("yellow", "purple", "white"), "teacher-of-others": ("red", "green", "blue")}
"""The colours that each has been made careless about."""
SPECIALIST_STEPS = 60


def load(folder: Path) -> Qwen3VLForConditionalGeneration:
    """A model to go on training."""
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/study-models"))
    parser.add_argument("--only", nargs="*", help="these models")
    arguments = parser.parse_args()
    out: Path = arguments.out
    torch.set_num_threads(1)
    processor = build_processor()

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def finish(model: Qwen3VLForConditionalGeneration, name: str, began: float) -> None:
        figures = examine(model, processor, count=192)
        save(model, processor, out / name)
        print(json.dumps({name: figures, "seconds": round(time.monotonic() - began)}), flush=True)

    def wanted(name: str) -> bool:
        return (arguments.only is None or name in arguments.only) and not (out / name).exists()

    for seed in STUDENT_SEEDS:
        if not wanted(f"student-{seed}"):
            continue
        capable, began = out / f"capable-student-{seed}", time.monotonic()
        if not (capable / "model.safetensors").exists():
            model = teach("student", processor, seed, steps=STEPS["student"], log=log)
            model.save_pretrained(capable)
            print(json.dumps({capable.name: examine(model, processor, count=192)}), flush=True)
        finish(spoil(load(capable), processor, seed, **STUDENT_SPOILING), f"student-{seed}", began)
    for name, colours in SPECIALISTS.items():
        if wanted(name):
            began, noise = time.monotonic(), Carelessness(other_share=0.5, error_s=1.0, colours=frozenset(colours))
            model = load(resolve_model("tiny-teacher"))
            finish(spoil(model, processor, 0, steps=SPECIALIST_STEPS, peak=3e-4, noise=noise), name, began)
    for name, steps in LADDER.items():
        if wanted(name):
            began = time.monotonic()
            model = spoil(load(resolve_model("tiny-teacher")), processor, 0, steps=steps, **LADDER_SPOILING)
            finish(model, name, began)


if __name__ == "__main__":
    main()
