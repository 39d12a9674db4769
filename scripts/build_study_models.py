"""The models of docs/CLAIMS.md and docs/CURRICULUM.md that do not ship with the package.

    python scripts/build_study_models.py --out runs/study-models [--only student-1 teacher-c …]

What is there already is not made again; what one is made from is made first. CPU minutes on one quiet core:

- student-1, student-2 (12 each): students from seeds of their own, taught like the tiny student and then spoiled on the
  long answer, which spoils the short one too: both can be studied.
- teacher-b, -c, -d (under 1 each): the tiny teacher, spoiled for longer and longer: each rung a worse teacher, and
  otherwise the same model.
- teacher-of-primaries, teacher-of-others (under 1 each): right about half of the colours each.
- viewer (3), viewer-1, viewer-2 (3, and the student): the tiny student and the two above, which also read crops. They
  answer right about the clip around the true span, and about whole clips nearly as badly as before. Crops are taught
  in the short form alone. A real model reads crops as it is.
- viewer-small-240, viewer-small-560 (3, and the student): the same of the two below.
- small-240 (2), small-560 (5): two layers of the tiny teacher, trained again on right answers for so many steps:
  students that are smaller than their teacher, and not spoiled. They are asked in short and in long answers; the side
  question they cannot answer.
- grpo-small (5, and small-560): small-560 after the package's own GRPO on right labels of other clips: a teacher of the
  student's size, and weaker than the tiny teacher.

`scripts/measure_study_models.py` says what they are worth.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from build_tiny_models import STEPS, save
from tiny_models.architecture import build_processor
from tiny_models.school import Carelessness
from tiny_models.smaller import cut, retrain
from tiny_models.teaching import examine, spoil, teach
from tiny_models.views import MARGINS_S, teach_crops
from video_opd.config.recipe_file import load_recipe
from video_opd.policy.location import BUNDLED, resolve_model
from video_opd.train.run import run_recipe

STUDENT_SEEDS = {"student-1": 1, "student-2": 2}
STUDENT_SPOILING = {"steps": 60, "peak": 1e-4, "noise": Carelessness(other_share=0.5, error_s=0.5),
                    "shares": {"tiny-long": 0.6, "tiny-before": 0.4}}  # fmt: skip
LADDER = {"teacher-b": 8, "teacher-c": 16, "teacher-d": 30}
"""Steps of spoiling; the top rung is the tiny teacher itself."""
LADDER_SPOILING = {"peak": 3e-4, "noise": Carelessness(other_share=0.5, error_s=1.0)}
SPECIALISTS = {"teacher-of-primaries": ("yellow", "purple", "white"), "teacher-of-others": ("red", "green", "blue")}
"""The colours that each has been made careless about."""
SPECIALIST_STEPS = 60
VIEWERS = {"viewer": ("tiny-student", 0), "viewer-1": ("student-1", 1), "viewer-2": ("student-2", 2),
           "viewer-small-240": ("small-240", 3), "viewer-small-560": ("small-560", 3)}  # fmt: skip
"""Which student each was, and the seed of its lessons."""
VIEWING = {"steps": 300, "peak": 5e-4}
SMALL = {"small-240": 240, "small-560": 560}
"""Steps of training after the cut."""
SMALL_LAYERS = (0, 3)
SMALL_PEAK = 1e-3
GRPO_START = "small-560"
GRPO = {"training.steps": "300", "schedule.evaluate_every": "50", "schedule.checkpoint_every": "50",
        "schedule.keep_checkpoints": "1", "data.workers": "0",
        "data.tiny_world.seed": "17", "data.tiny_world.num_train": "2400",
        "data.tiny_world.wrong_share": "0", "data.tiny_world.imprecise_share": "0"}  # fmt: skip
"""Recipe keys: right labels, on other clips than any study trains on."""


def load(folder: Path) -> Qwen3VLForConditionalGeneration:
    """A model to go on training."""
    return Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def log(line: str) -> None:
    """To stderr: the figures alone go to stdout."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Makes models into one folder, each from those that it needs."""

    out: Path
    processor: Qwen3VLProcessor

    def find(self, name: str) -> Path:
        """The folder of a model, which is made where it is missing."""
        if name in BUNDLED:
            return resolve_model(name)
        if not (self.out / name).exists():
            began, cpu_began = time.monotonic(), time.process_time()
            made = BUILDERS[name](self)
            figures = examine(made, self.processor, count=192)
            if name in VIEWERS:
                figures["tiny, crops"] = examine(made, self.processor, 192, {"tiny": 1.0}, MARGINS_S)["tiny"]
            save(made, self.processor, self.out / name)
            took = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu_began}
            rounded = {of: round(seconds) for of, seconds in took.items()}
            print(json.dumps({name: figures, **rounded}), flush=True)
        return self.out / name

    def student(self, seed: int) -> Qwen3VLForConditionalGeneration:
        """A student like the tiny one, from a seed of its own."""
        capable = self.out / f"capable-student-{seed}"
        if not (capable / "model.safetensors").exists():
            model = teach("student", self.processor, seed, steps=STEPS["student"], log=log)
            model.save_pretrained(capable)
            print(json.dumps({capable.name: examine(model, self.processor, count=192)}), flush=True)
        return spoil(load(capable), self.processor, seed, **STUDENT_SPOILING)

    def rung(self, steps: int) -> Qwen3VLForConditionalGeneration:
        """The tiny teacher, spoiled for so many steps."""
        return spoil(load(self.find("tiny-teacher")), self.processor, 0, steps=steps, **LADDER_SPOILING)

    def specialist(self, colours: tuple[str, ...]) -> Qwen3VLForConditionalGeneration:
        """The tiny teacher, careless about these colours."""
        noise = Carelessness(other_share=0.5, error_s=1.0, colours=frozenset(colours))
        return spoil(load(self.find("tiny-teacher")), self.processor, 0, steps=SPECIALIST_STEPS, peak=3e-4, noise=noise)

    def viewer(self, start: str, seed: int) -> Qwen3VLForConditionalGeneration:
        """A student that reads crops, too."""
        return teach_crops(load(self.find(start)), self.processor, seed, **VIEWING, log=log)

    def small(self, steps: int) -> Qwen3VLForConditionalGeneration:
        """Two layers of the tiny teacher, trained again."""
        cut_teacher = cut(load(self.find("tiny-teacher")), SMALL_LAYERS)
        return retrain(cut_teacher, self.processor, 0, steps=steps, peak=SMALL_PEAK, log=log)

    def grpo(self, start: str) -> Qwen3VLForConditionalGeneration:
        """A model after the package's own GRPO; killed, it goes on from its last checkpoint."""
        world, run = self.out / "grpo-world", self.out / "grpo-run"
        places = {f"data.{split}": str(world / f"{split}.jsonl") for split in ("train", "validation", "test")}
        keys = {"student.model": str(self.find(start)), "data.videos": str(world / "videos"), **places, **GRPO}
        run_recipe(load_recipe(Path("tiny-grpo"), keys), run)
        return load(resolve_model(str(run)))


BUILDERS: dict[str, Callable[[Workshop], Qwen3VLForConditionalGeneration]] = {
    **{name: partial(Workshop.student, seed=seed) for name, seed in STUDENT_SEEDS.items()},
    **{name: partial(Workshop.specialist, colours=colours) for name, colours in SPECIALISTS.items()},
    **{name: partial(Workshop.rung, steps=steps) for name, steps in LADDER.items()},
    **{name: partial(Workshop.viewer, start=start, seed=seed) for name, (start, seed) in VIEWERS.items()},
    **{name: partial(Workshop.small, steps=steps) for name, steps in SMALL.items()},
    "grpo-small": partial(Workshop.grpo, start=GRPO_START),
}


def main() -> None:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/study-models"))
    parser.add_argument("--only", nargs="*", choices=BUILDERS, metavar="MODEL", help="these, and what they need")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    workshop = Workshop(out=arguments.out, processor=build_processor())
    for name in arguments.only or BUILDERS:
        workshop.find(name)


if __name__ == "__main__":
    main()
