"""Write the table of docs/RUNNING.md: what every recipe of the real size needs, by `video-opd plan`.

    python scripts/plan_recipes.py            # writes the table
    python scripts/plan_recipes.py --check    # status 1 if the table is not up to date

Only configurations are read. A test runs the check.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from video_opd.config.recipe_file import load_recipe
from video_opd.plan.cards import GIB, parse_gpus
from video_opd.plan.run_plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "RUNNING.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"

RELEASED, POOL = 2500, 96_586
"""Examples: the released ones, and the paper's pool."""
ANSWER_TOKENS = 20
"""Mean length of an answer."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A recipe with the cards that it is for."""

    recipe: str
    gpus: str
    examples: int = RELEASED

    def plan(self) -> Plan:
        """Plan the run, with prompts of the largest length."""
        return make_plan(
            load_recipe(Path(self.recipe)),
            parse_gpus(self.gpus),
            num_examples=self.examples,
            answer_tokens=ANSWER_TOKENS,
        )


ROWS = (
    Row(recipe="paper/video-opd-8b", gpus="8xH100-80GB"),
    Row(recipe="paper/op-rkd-8b", gpus="8xH100-80GB"),
    Row(recipe="paper/op-fkd-8b", gpus="8xH100-80GB"),
    Row(recipe="paper/grpo-8b", gpus="8xH100-80GB", examples=POOL),
    Row(recipe="paper/scc-8b", gpus="8xH100-80GB", examples=POOL),
    Row(recipe="two-nodes", gpus="16xH100-80GB"),
    Row(recipe="qwen3-vl-8b-lora", gpus="1xH100-80GB"),
    Row(recipe="qwen3-vl-2b-from-8b", gpus="1xH100-80GB"),
    Row(recipe="one-gpu-lora-80gb", gpus="1xH100-80GB"),
    Row(recipe="qwen3.5-lora", gpus="1xH100-80GB"),
    Row(recipe="one-gpu-lora-24gb", gpus="1xRTX4090-24GB"),
)


def main() -> int:
    for row in ROWS:
        p = row.plan()
        print(row.recipe, row.gpus, round(p.memory.peak / GIB, 1), round(p.room / GIB,1), p.fit, p.memory.is_checkpointed, p.memory.phase, p.num_steps, round(p.step_s, 1), p.selection_s, p.hours, p.largest_max_tokens, {k: round(v,1) for k,v in p.seconds.items()}, p.memory.describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
