"""The five-minute demonstration: render clips, load the tiny models, train by Video-OPD, show the result."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.errors import explain_write_errors
from video_opd.files.durable import write_durably
from video_opd.files.outputs import refuse_foreign
from video_opd.files.strict_json import load_json
from video_opd.train.run import run_recipe


def describe_next_steps(out: Path) -> str:
    """The next steps after the demonstration in the folder `out`, in three lines; each has a command that runs."""
    world = out / "tiny-world"
    with (world / "test.jsonl").open(encoding="utf-8") as file:
        first = load_json(file.readline())
    asked = f'video-opd ground {out} {world / "videos" / first["video"]} "{first["query"]}"'
    return (
        f"ask the student that was trained:  {asked}\n"
        "train on your own videos:          video-opd init --videos FOLDER --csv FILE --out NEW_FOLDER\n"
        "see what else can be trained:      video-opd recipes\n"
    )


def find_bundled_recipe(name: str) -> Path:
    """The path of a recipe that ships with the package."""
    return shipped_recipes()[name]


def _read_seconds(summary: Path) -> float | None:
    """The seconds that an earlier call took; None if it left no result."""
    try:
        found = load_json(summary.read_bytes())
    except (OSError, ValueError):
        return None
    return found.get("seconds") if isinstance(found, dict) and "student_after" in found else None


def run_demo(out: Path, *, seed: int | None = None, steps: int | None = None) -> dict[str, Any]:
    """Run the tiny Video-OPD recipe in one folder, clips included. A second call resumes the run or returns its result.

    Args:
        out: the folder of the demonstration.
        seed: seed of the run; None: the recipe's own.
        steps: optimiser steps; None: the recipe's own.

    Returns:
        The results of the run, and `seconds`: the wall time of the call that finished it.
    """
    began = time.monotonic()
    world = out / "tiny-world"
    overrides = {
        "name": "demo",
        "data.tiny_world.render": "true",
        "data.videos": str(world / "videos"),
        **{f"data.{split}": str(world / f"{split}.jsonl") for split in ("train", "validation", "test")},
    }
    if seed is not None:
        overrides["seed"] = str(seed)
    if steps is not None:
        overrides["training.steps"] = str(steps)
    recipe = load_recipe(find_bundled_recipe("tiny-opd"), overrides)
    summary = out / "result.json"
    with explain_write_errors(out):
        refuse_foreign(summary, lambda path: _read_seconds(path) is not None, "the result of a demo")
    results = run_recipe(recipe, out, evaluate_teacher=True)
    if (seconds := _read_seconds(summary)) is not None:
        results["seconds"] = seconds
    else:
        results["seconds"] = time.monotonic() - began
        write_durably(summary, (json.dumps(results, indent=2) + "\n").encode())
    return results
