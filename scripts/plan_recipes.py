"""Write the table of docs/RUNNING.md: what every recipe of the real size needs, by `video-opd plan`.

    python scripts/plan_recipes.py            # writes the table
    python scripts/plan_recipes.py --check    # status 1 if the table is not up to date

Only configurations are read, so that this needs no weights, no videos and no GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from video_opd.config.recipe_file import load_recipe
from video_opd.plan.cards import GIB, parse_gpus
from video_opd.plan.run_plan import Plan, make_plan

PAGE = Path(__file__).resolve().parents[1] / "docs" / "RUNNING.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
COLUMNS = ("recipe", "student", "teacher", "GPUs", "GiB of a GPU", "s of a step", "hours", "hours to score the pool")

RELEASED, POOL = 2500, 96_586
"""Numbers of training examples: the released ones, and the paper's pool."""
ANSWER_TOKENS = 20
"""Mean length of an answer. `timelens` asks for one sentence."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe and the cards that it is for."""

    recipe: str
    gpus: str = "8xH100-80GB"
    num_examples: int = RELEASED

    def plan(self) -> Plan:
        """Plan the run. The manifests are not there, so every prompt is of the largest length."""
        recipe = load_recipe(Path(self.recipe))
        gpus = parse_gpus(self.gpus)
        return make_plan(recipe, gpus, num_examples=self.num_examples, answer_tokens=ANSWER_TOKENS)


RUNS = (
    Run(recipe="paper/video-opd-8b"),
    Run(recipe="paper/video-opd-8b-as-released", gpus="8xH200-141GB"),
    Run(recipe="paper/op-rkd-8b"),
    Run(recipe="paper/op-fkd-8b"),
    Run(recipe="paper/grpo-8b", num_examples=POOL),
    Run(recipe="paper/scc-8b", num_examples=POOL),
    Run(recipe="two-nodes", gpus="16xH100-80GB"),
    Run(recipe="qwen3-vl-8b-lora", gpus="1xH100-80GB"),
    Run(recipe="qwen3-vl-2b-from-8b", gpus="1xH100-80GB"),
    Run(recipe="one-gpu-lora-80gb", gpus="1xH100-80GB"),
    Run(recipe="qwen3.5-lora", gpus="1xH100-80GB"),
    Run(recipe="one-gpu-lora-24gb", gpus="1xRTX4090-24GB"),
)
"""In the order of the table."""


def write_row(run: Run, plan: Plan) -> str:
    """A line of the table.

    Args:
        run: what was planned.
        plan: what it needs.
    """
    assert plan.training_s is not None
    assert plan.selection_s is not None
    recipe = plan.recipe
    cells = (
        f"`{run.recipe}`",
        _name_model(recipe.student.model) + (", adapter" if recipe.student.lora else ""),
        _name_model(recipe.teacher.model) if recipe.teacher else "-",
        run.gpus.replace("x", " x ", 1),
        f"{ceil(plan.memory.peak / GIB)} of {plan.room / GIB:.1f}",
        f"{plan.step_s:.0f}",
        f"{plan.training_s / 3600:.1f}",
        f"{plan.selection_s / 3600:.0f}" if plan.selection_s else "-",
    )
    return f"| {' | '.join(cells)} |\n"


def _name_model(model: str) -> str:
    return (
        model.rpartition("/")[2].removesuffix("-Instruct").removeprefix("Video-opd-teacher-").replace("-Instruct", "")
    )


def write_table() -> Iterator[str]:
    """The lines of the table."""
    yield f"| {' | '.join(COLUMNS)} |\n"
    yield f"|{' --- |' * len(COLUMNS)}\n"
    for run in RUNS:
        yield write_row(run, run.plan())


def main() -> int:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(description="write the table of docs/RUNNING.md")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the table is not up to date")
    arguments = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    wanted = f"{before}{BEGIN}{''.join(write_table())}{END}{after}"
    if arguments.check:
        return int(wanted != text)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
