"""`video_opd.train`: train by a recipe, given as a name, a file or an object."""

from __future__ import annotations

import atexit
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from video_opd.config import Recipe
from video_opd.config.recipe_file import load_recipe, parse_recipe, set_keys
from video_opd.errors import ConfigurationError, require_path
from video_opd.files.dotted_keys import flatten_tables
from video_opd.files.toml_text import load_toml
from video_opd.ranks import leave_job


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """A run that has ended."""

    folder: Path
    """The run folder: report.html, metrics.jsonl, answers.jsonl, checkpoints. A model may be named by it."""
    steps: int
    train_seconds: float
    scores: Mapping[str, Mapping[str, float]]
    """`student_before` and `student_after` -> scores on the test manifest; empty where the recipe names none."""


def train(
    recipe: str | Path | Recipe,
    out: str | Path | None = None,
    *,
    restart: bool = False,
    accept_changed: str | Sequence[str] = (),
    **overrides: Any,
) -> TrainedRun:
    """Train by a recipe into the folder `out`, or go on where an earlier call stopped.

    Args:
        recipe: the name of a shipped recipe, the path of a recipe, or a `Recipe`.
        out: the run folder; by default `runs/NAME` of the recipe.
        restart: begin again at step 1 where the checkpoints of the run are lost; the old files are set aside.
        accept_changed: inputs of the run that may have changed since it was begun, such as `test` or `["teacher",
            "videos"]`.
        overrides: other values for keys of the recipe. A table is a dictionary: `training={"steps": 20}`,
            `method={"name": "grpo"}`, `seed=1`.

    Raises:
        UserError: anything that you can mend, in one sentence.
        Interrupted: a signal stopped the run; its state is saved, and the same call goes on.
    """
    resolved = _apply_overrides(recipe, as_overrides(overrides))

    from video_opd.train.run import run_recipe

    folder = Path("runs") / resolved.name if out is None else require_path("out", out)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(
            f"out = {str(folder)!r}", reason="this is a file, and a run needs a folder", remedy="give another path"
        )
    accept: Any = accept_changed  # what is neither a name nor names is refused as an unknown name
    accept = tuple(accept) if isinstance(accept, Iterable) and not isinstance(accept, str) else (accept,)
    results = run_recipe(resolved, folder, restart=restart, accept_changed=accept)
    atexit.register(leave_job)  # a script under torchrun may go on; at its end the other processes end, too
    scores = {name: found for name, found in results.items() if name.startswith("student_")}
    return TrainedRun(
        folder=Path(results["run"]), steps=results["steps"], train_seconds=results["train_seconds"], scores=scores
    )


def as_overrides(tables: Mapping[str, Any]) -> dict[str, str]:
    """Tables of keys and values -> dotted keys and TOML.

    Raises:
        ConfigurationError: a value that no recipe can hold.
    """
    return {key: _format_toml(key, value) for key, value in flatten_tables(tables).items()}


def _apply_overrides(recipe: str | Path | Recipe, overrides: dict[str, str]) -> Recipe:
    if not isinstance(recipe, Recipe):
        return load_recipe(require_path("recipe", recipe), overrides)
    if not overrides:
        return recipe
    tables = load_toml(recipe.to_toml())
    set_keys(tables, overrides)
    return parse_recipe(tables, where=f"recipe {recipe.name}")


def _format_toml(key: str, value: Any) -> str:
    try:
        return tomli_w.dumps({"value": _plain(value)}).removeprefix("value = ").strip()
    except TypeError:
        raise ConfigurationError(
            f"{key} = {value!r}",
            reason=f"a recipe holds texts, numbers, true or false, and lists of them; this is {type(value).__name__}",
            remedy="leave the key out for its default" if value is None else "give a value of one of these types",
        ) from None


def _plain(value: Any) -> Any:
    """A path as text, and a number of numpy as Python's own."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
