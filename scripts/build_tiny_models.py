"""Train the tiny student and the tiny teacher that ship with the package, from nothing.

    python scripts/build_tiny_models.py --out src/video_opd/models

Both are Qwen3-VL models with a small config and a small tokenizer. They learn with cross-entropy from rendered clips
(other seeds than any data set's), the teacher to the end, the student to a capable model whose policy is then spoiled
with wrong labels: it can see and answers badly, which is what distillation can mend in a minute. Two processes of one
thread each; see docs/LOG.md for how long and what came out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import time
from pathlib import Path

import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from tiny_models.architecture import BUDGET, build_processor
from tiny_models.school import Carelessness
from tiny_models.teaching import examine, spoil, teach
from video_opd.config import GROUNDING_FILE, AnswerSettings, GroundingDefaults, PromptSettings, VideoSettings

STEPS = {"teacher": 2200, "student": 2600}
SPOILING = {"steps": 60, "peak": 3e-4, "noise": Carelessness(other_share=0.5, error_s=1.0)}


def build(name: str, out: Path, seed: int, steps: int) -> None:
    """Train one model and save it with what it takes to ask it."""
    torch.set_num_threads(1)
    began, processor = time.monotonic(), build_processor()
    model = teach(name, processor, seed, steps=steps, log=lambda line: print(line, file=sys.stderr, flush=True))
    figures = {"capable": examine(model, processor, count=192)}
    if name == "student":
        spoil(model, processor, seed, **SPOILING)
        figures["spoiled"] = examine(model, processor, count=192)
    save(model, processor, out / f"tiny-{name}")
    figures["stored"] = examine(model.float(), processor, count=192)
    print(json.dumps({name: figures, "seconds": round(time.monotonic() - began)}), flush=True)


def save(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, folder: Path) -> None:
    """A model folder as the package ships it: bfloat16 (half the size, the same scores), and how to ask the model."""
    shutil.rmtree(folder, ignore_errors=True)
    model.bfloat16().save_pretrained(folder)
    processor.save_pretrained(folder)
    defaults = GroundingDefaults(
        prompt=PromptSettings(template="tiny"),
        video=VideoSettings(
            fps=BUDGET.fps,
            max_frames=BUDGET.max_frames,
            max_tokens=BUDGET.max_tokens,
            max_frame_tokens=BUDGET.max_frame_tokens,
        ),
        answers=AnswerSettings(max_new_tokens=32),
    )
    (folder / GROUNDING_FILE).write_text(defaults.model_dump_json(indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """One process a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("src/video_opd/models"))
    parser.add_argument("--only", choices=tuple(STEPS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="instead of the usual number, for a quick look")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(STEPS)
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=build, args=(name, arguments.out, arguments.seed, arguments.steps or STEPS[name]))
        for name in names
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(process.exitcode or 0 for process in processes))


if __name__ == "__main__":
    main()
